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

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(guided), cmocka_unit_test(true_cfg)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
