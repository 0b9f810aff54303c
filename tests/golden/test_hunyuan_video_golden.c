/* Small HunyuanVideo transformers with redrawn weights, on text without its padding: every stage against diffusers, which masks it.
 * SPDX-License-Identifier: Apache-2.0 */
#include "hunyuan_case.h"
#include "parallel/mesh.h"
#include "unit/io_checks.h"

static void stages_are_those_of_diffusers(void **state) {
    (void)state;
    for (int i = 0; i < HUNYUAN_CASES; i++) {
        hunyuan_case c = {.print = true};
        print_message("%s, relative L2 of each stage:\n", hunyuan_cases[i]);
        hunyuan_case_run(&c, hunyuan_cases[i], NULL);
        print_message("%s: worst stage %s at %.2f of its bound\n", hunyuan_cases[i], c.g.worst_stage, c.g.worst);
        assert_int_equal(c.g.failures, 0);
        hunyuan_case_close(&c);
    }
}

/* diffusers' own errors of its prediction in bfloat16, one a run. */
static void read_errors(const char *name, double *errors) {
    char path[512];
    snprintf(path, sizeof path, "%s/tests/golden/%s/case.json", PARA_SOURCE_DIR, name);
    json_t *root = json_load_file(path, 0, NULL);
    const json_t *list = json_object_get(root, "bf16");
    for (size_t k = 0; k < json_array_size(list); k++) errors[k] = json_number_value(json_array_get(list, k));
    json_decref(root);
}

/* Our error over diffusers', both pooled over the runs of all cases, with time and guidance exact. Measured: 0.518. Far below, the run would not be in
 * bfloat16. */
static const double bf16_bound = 0.6, bf16_least = 0.2;

static void bfloat16_errs_no_more_than_diffusers(void **state) {
    (void)state;
    double ours = 0, theirs = 0;
    for (int i = 0; i < HUNYUAN_CASES; i++) {
        hunyuan_case c = {.dtype = PARA_BF16};
        double errors[HUNYUAN_MOST_RUNS] = {0};
        hunyuan_case_run(&c, hunyuan_cases[i], NULL);
        read_errors(hunyuan_cases[i], errors);
        for (int k = 0; k < c.runs; k++) {
            assert_non_null(c.head[k]);
            print_message("    %-14s %d: %.5f, diffusers %.5f\n", hunyuan_cases[i], k, c.head_error[k], errors[k]);
            ours += c.head_error[k] * c.head_error[k];
            theirs += errors[k] * errors[k];
        }
        hunyuan_case_close(&c);
    }
    double ratio = sqrt(ours / theirs);
    print_message("    pooled: %.3f of diffusers' error\n", ratio);
    assert_true(ratio >= bf16_least && ratio <= bf16_bound);
}

/* ---- eps: too small to be seen in values of ordinary size */

static const para_ops *as_it_is;
static int norms;

static void expect_eps(float eps) {
    if (eps != 1e-6f) fail_msg("eps is %g, not 1e-6", (double)eps);
    norms++;
}
static para_status norm(para_device *dev, const para_norm_args *a) {
    expect_eps(a->eps);
    return as_it_is->norm(dev, a);
}
static para_status residual(para_device *dev, const para_residual_args *a) {
    if (a->norm) expect_eps(a->norm->eps);
    return as_it_is->residual(dev, a);
}
static para_status head(para_device *dev, const para_head_args *a) {
    if (a->weight.data) expect_eps(a->eps);
    return as_it_is->head(dev, a);
}

static void norms_get_their_eps(void **state) {
    (void)state;
    para_device *cpu;
    assert_int_equal(para_cpu_open(&cpu, 1), PARA_OK);
    as_it_is = cpu->ops;
    para_ops spy = *as_it_is;
    spy.norm = norm;
    spy.residual = residual;
    spy.head = head;
    hunyuan_case c = {.ops = &spy};
    hunyuan_case_run(&c, "hunyuan-text", NULL);
    assert_int_equal(c.g.failures, 0);
    /* Two runs of the refiner's 2 x 2, the dual block's 2 x 2 and its 2 x 2 of heads, the single block's 1 (which the dual block's streams
     * end with) and 2, and the head's. */
    assert_int_equal(norms, 2 * (4 + 4 + 4 + 4 + 1));
    hunyuan_case_close(&c);
    para_device_close(&cpu);
}

/* ---- memory */

/* The case's runs on a device with the arena that it has: the most of it that was used. */
static size_t run_on(hunyuan_case *c, para_device *dev) {
    const para_pipeline_options options = PARA_PIPELINE_OPTIONS_INIT;
    para_rank rank = {.device = dev, .size = 1};
    para_instance instance;
    assert_ok(para_instance_open(&instance, &c->component, dev, &options, (para_offloading){0}));
    para_hunyuan_video_patch(instance.model, &c->patch_t, &c->patch);
    assert_ok(hunyuan_runs(c, instance.model, &rank));
    para_instance_close(&instance);
    return dev->arena.peak;
}

static void a_dry_run_tells_the_memory(void **state) {
    (void)state;
    for (int i = 0; i < HUNYUAN_CASES; i++) {
        hunyuan_case c = {.dtype = i % 2 ? PARA_BF16 : PARA_F32, .untraced = true};
        para_mesh mesh = {1, 1, 1};
        para_device *dry, *cpu;
        char folder[512];
        snprintf(folder, sizeof folder, "%s/tests/golden/%s", PARA_SOURCE_DIR, hunyuan_cases[i]);
        hunyuan_case_open(&c, hunyuan_cases[i]);
        c.mesh = &mesh;
        assert_ok(para_component_open(&c.component, folder, "transformer", "HunyuanVideoTransformer3DModel"));
        assert_ok(para_dry_open(&dry));
        assert_ok(para_cpu_open(&cpu, 2));
        dry->threads = 2;
        size_t peak = run_on(&c, dry);
        assert_ok(para_device_reserve(cpu, peak));
        assert_int_equal(run_on(&c, cpu), peak);
        para_device_close(&cpu);
        para_device_close(&dry);
        para_component_close(&c.component);
        golden_close(&c.g);
    }
}

static void each_allocation_fails_cleanly(void **state) {
    (void)state;
    hunyuan_case c = {.untraced = true};
    hunyuan_case_open(&c, "hunyuan-text");
    assert_survives_alloc_failure(150, hunyuan_compute(&c, PARA_SOURCE_DIR "/tests/golden/hunyuan-text"));
    golden_close(&c.g);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(stages_are_those_of_diffusers),
        cmocka_unit_test(bfloat16_errs_no_more_than_diffusers),
        cmocka_unit_test(norms_get_their_eps),
        cmocka_unit_test(a_dry_run_tells_the_memory),
        cmocka_unit_test(each_allocation_fails_cleanly),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
