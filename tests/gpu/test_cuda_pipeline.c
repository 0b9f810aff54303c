/* Requests on a GPU: a compiled step draws what the ops one by one draw, to the bit. SPDX-License-Identifier: Apache-2.0 */
#include <paraattn/paraattn.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "test_device.h"

#define OK(call) check_ok((call), #call)

static void check_ok(para_status status, const char *call) {
    if (status != PARA_OK) fail_msg("%s: %s", call, para_last_error());
}

static para_world *world;

static int open_world(void **state) {
    (void)state;
    para_world_options w = PARA_WORLD_OPTIONS_INIT;
    test_choose_device(&w);
    return para_world_open(&world, &w) == PARA_OK ? 0 : -1;
}

static int close_world(void **state) {
    (void)state;
    para_world_close(&world);
    return 0;
}

typedef struct setting {
    const char *name;
    para_dtype dtype;
    float cfg, threshold;
    int images, derivatives;
    bool joint;
} setting;

static para_result *draw(const setting *s, bool compiled) {
    para_pipeline *pipe;
    para_pipeline_options o = PARA_PIPELINE_OPTIONS_INIT;
    para_compile_options c = PARA_COMPILE_OPTIONS_INIT;
    para_cache_options cache = PARA_CACHE_OPTIONS_INIT;
    para_request r = PARA_REQUEST_INIT;
    para_result *result;
    o.dtype = s->dtype;
    c.off = !compiled;
    c.no_tuning = true; /* both sides take the same kernels */
    cache.residual_diff_threshold = s->threshold;
    cache.taylorseer_derivatives = s->derivatives;
    cache.joint = s->joint;
    r.prompt = "a red heart on a blue background";
    r.negative_prompt = s->cfg > 1 ? "a green tree" : NULL;
    r.true_cfg_scale = s->cfg;
    r.num_inference_steps = 10;
    r.num_images = s->images;
    OK(para_pipeline_open(&pipe, world, PARA_SOURCE_DIR "/models/tiny-flux", &o));
    OK(para_compile(pipe, &c));
    if (s->threshold > 0) OK(para_apply_first_block_cache(pipe, &cache));
    OK(para_generate(pipe, &r, &result));
    if (s->threshold > 0 && result->cache_hits == 0) fail_msg("%s: the cache never hit", s->name);
    para_pipeline_close(&pipe);
    return result;
}

static void compiled_as_op_by_op(void **state) {
    static const setting settings[] = {
        {"f32", PARA_F32, 1, 0, 1, 0, false},
        {"bf16", PARA_BF16, 1, 0, 1, 0, false},
        {"bf16, CFG, two pictures", PARA_BF16, 3, 0, 2, 0, false},
        {"f32, cache", PARA_F32, 1, 0.3f, 1, 0, false},
        {"bf16, cache, TaylorSeer, CFG", PARA_BF16, 3, 0.3f, 1, 1, false},
        {"bf16, cache, halves together", PARA_BF16, 3, 0.3f, 2, 0, true},
    };
    (void)state;
    for (size_t i = 0; i < sizeof settings / sizeof *settings; i++) {
        para_result *a = draw(&settings[i], false), *b = draw(&settings[i], true);
        size_t bytes = (size_t)para_tensor_count(&a->images) * sizeof(float);
        int64_t off = 0;
        for (size_t k = 0; k < bytes / sizeof(float); k++)
            off += ((const uint32_t *)a->images.data)[k] != ((const uint32_t *)b->images.data)[k];
        if (off) fail_msg("%s: %lld of %zu values differ", settings[i].name, (long long)off, bytes / sizeof(float));
        assert_int_equal(a->cache_hits, b->cache_hits);
        para_result_close(&a);
        para_result_close(&b);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(compiled_as_op_by_op)};
    return cmocka_run_group_tests(tests, open_world, close_world);
}
