/* First Block Cache on a GPU against the CPU in the same type, on the same latents at every step. SPDX-License-Identifier: Apache-2.0 */
#include "golden/golden.h"

#include <math.h>

enum { STEPS = 28, MOST_VALUES = 1 << 16 };
static const double F32_BOUND = 1e-4, BF16_BOUND = 0.01; /* relative, of d */
static const double NEAR = 0.02;    /* closer to the threshold than this, relative, a decision may go either way */

/* The latents after each step of the run on the CPU: kept there, put in the place of its own on the GPU. */
typedef struct teacher {
    para_device *dev;
    bool learns;
    int64_t values;
    float *latents; /* [STEPS][values] */
} teacher;

static para_status on_stage(void *user, const char *name, const para_tensor *t) {
    teacher *x = user;
    int step, end = 0;
    if (sscanf(name, "step.%d.latents%n", &step, &end) != 1 || name[end] != '\0') return PARA_OK;
    assert_true(t->dtype == PARA_F32 && para_tensor_contiguous(t) && step < STEPS);
    x->values = para_tensor_count(t);
    assert_true(x->values <= MOST_VALUES);
    float *at = x->latents + (int64_t)step * MOST_VALUES;
    return x->learns ? x->dev->ops->upload(x->dev, *t, at) : x->dev->ops->download(x->dev, at, t);
}

static para_result *run(teacher *x, bool gpu, para_dtype dtype, const para_cache_options *cache) {
    para_world_options w = PARA_WORLD_OPTIONS_INIT;
    para_pipeline_options o = PARA_PIPELINE_OPTIONS_INIT;
    para_request r = PARA_REQUEST_INIT;
    const para_trace trace = {on_stage, x};
    para_world *world;
    para_pipeline *pipe;
    para_result *result;
    if (gpu) test_choose_device(&w);
    o.dtype = dtype;
    r.prompt = "two yellow stars on a black background";
    r.num_inference_steps = STEPS;
    r.seed = 11;
    assert_int_equal(para_world_open(&world, &w), PARA_OK);
    assert_int_equal(para_pipeline_open(&pipe, world, PARA_SOURCE_DIR "/models/tiny-flux", &o), PARA_OK);
    assert_int_equal(para_apply_first_block_cache(pipe, cache), PARA_OK);
    x->dev = world->worker[0].rank.device;
    x->learns = gpu;
    pipe->trace = &trace;
    if (para_generate(pipe, &r, &result) != PARA_OK) fail_msg("%s", para_last_error());
    para_pipeline_close(&pipe);
    para_world_close(&world);
    return result;
}

/* Steps up to the first that decided otherwise; *worst: the largest relative difference of a d. */
static int compare(const para_result *cpu, const para_result *gpu, double threshold, double *worst) {
    int steps = 0;
    *worst = 0;
    assert_int_equal(cpu->num_cache_steps, gpu->num_cache_steps);
    for (int i = 0; i < cpu->num_cache_steps; i++) {
        const para_cache_step *a = &cpu->cache_steps[i], *b = &gpu->cache_steps[i];
        steps++;
        if (isnan(a->difference)) continue;
        double d = a->difference;
        *worst = fmax(*worst, fabs(b->difference / d - 1));
        if (a->hit == b->hit) continue;
        if (fabs(d - threshold) / threshold > NEAR) fail_msg("threshold %g, step %d: d is %g, and the GPU decides otherwise", threshold, i, d);
        break; /* from here on both compare with other steps */
    }
    return steps;
}

static void decides_as_the_cpu(para_dtype dtype, double bound) {
    static const float thresholds[] = {1e-6f, 0.05f, 0.1f, 0.15f, 0.2f, 0.3f};
    teacher x = {.latents = malloc(sizeof(float) * STEPS * MOST_VALUES)};
    double worst_of_all = 0;
    for (size_t i = 0; i < sizeof thresholds / sizeof *thresholds; i++) {
        para_cache_options cache = PARA_CACHE_OPTIONS_INIT;
        cache.residual_diff_threshold = thresholds[i];
        para_result *cpu = run(&x, false, dtype, &cache), *gpu = run(&x, true, dtype, &cache);
        double worst;
        int steps = compare(cpu, gpu, (double)thresholds[i], &worst);
        print_message("%s, threshold %g: %d hits, %d of %d steps compared, d differs by %.2e at most (bound %g)\n", para_dtype_name(dtype),
                      (double)thresholds[i], cpu->cache_hits, steps, STEPS, worst, bound);
        worst_of_all = fmax(worst_of_all, worst);
        para_result_close(&cpu);
        para_result_close(&gpu);
    }
    free(x.latents);
    if (worst_of_all > bound) fail_msg("d differs by %g", worst_of_all);
}

static void in_float32(void **state) {
    (void)state;
    decides_as_the_cpu(PARA_F32, F32_BOUND);
}

static void in_bfloat16(void **state) {
    (void)state;
    decides_as_the_cpu(PARA_BF16, BF16_BOUND);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(in_float32), cmocka_unit_test(in_bfloat16)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
