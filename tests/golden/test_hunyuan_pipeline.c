/* A small HunyuanVideoPipeline with redrawn weights: every stage and every frame against diffusers, on one rank and on more. SPDX-License-Identifier: Apache-2.0 */
#include "golden.h"

#define FOLDER(name) PARA_SOURCE_DIR "/tests/golden/" name

static void check(const char *name, bool print, int ranks, para_parallel_options mesh, bool parallel_vae) {
    char folder[512];
    snprintf(folder, sizeof folder, "%s/%s", FOLDER(""), name);
    golden_run g = {.print = print, .ranks = ranks, .parallel = mesh, .parallel_vae = parallel_vae};
    golden_run_chosen(&g, folder, FOLDER("hunyuan-video"));
    print_message("%s on %d ranks: worst stage %s at %.2f of its bound\n", name, ranks ? ranks : 1, g.worst_stage,
                  g.worst);
    assert_int_equal(g.failures, 0);
}

static const para_parallel_options alone = PARA_PARALLEL_OPTIONS_INIT;

static void guided(void **state) {
    (void)state;
    check("hunyuan-video", true, 0, alone, false);
}

static void true_cfg(void **state) {
    (void)state;
    check("hunyuan-video-cfg", true, 0, alone, false);
}

/* In bfloat16, with the timestep and guidance in float32, which diffusers rounds: relative L2 of the frames to float32's. Measured: 7.4e-3 and 6.0e-3; diffusers
 * has 1.8e-1. */
static const double bf16_bound = 1.5e-2;

static void bfloat16(void **state) {
    (void)state;
    static const char *const names[] = {"hunyuan-video", "hunyuan-video-cfg"};
    for (int i = 0; i < 2; i++) {
        char folder[512];
        golden_run g;
        para_world *world;
        para_pipeline *pipe;
        para_result *result;
        para_world_options w = PARA_WORLD_OPTIONS_INIT;
        para_pipeline_options o = PARA_PIPELINE_OPTIONS_INIT;
        w.threads = 2;
        o.dtype = PARA_BF16;
        test_choose_device(&w);
        snprintf(folder, sizeof folder, "%s/%s", FOLDER(""), names[i]);
        golden_open(&g, folder, false);
        para_request r = golden_request(&g);
        assert_int_equal(para_world_open(&world, &w), PARA_OK);
        assert_int_equal(para_pipeline_open(&pipe, world, FOLDER("hunyuan-video"), &o), PARA_OK);
        assert_int_equal(para_generate(pipe, &r, &result), PARA_OK);
        para_tensor want = para_safetensors_tensor(g.reference, para_safetensors_find(g.reference, "images"));
        assert_int_equal(para_tensor_count(&want), para_tensor_count(&result->images));
        double error = golden_relative_l2(result->images.data, want.data, para_tensor_count(&want));
        print_message("%s in bfloat16: frames within %.1e of float32's (bound %.1e)\n", names[i], error, bf16_bound);
        assert_true(error <= bf16_bound);
        para_result_close(&result);
        para_pipeline_close(&pipe);
        para_world_close(&world);
        golden_close(&g);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(guided), cmocka_unit_test(true_cfg),
                                       cmocka_unit_test(bfloat16)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
