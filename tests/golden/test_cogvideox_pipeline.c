/* Small CogVideoXPipelines with redrawn weights, of both schedulers: every stage and every frame against diffusers.
 * SPDX-License-Identifier: Apache-2.0 */
#include "golden.h"

#define FOLDER(name) PARA_SOURCE_DIR "/tests/golden/" name

static void check(const char *folder, const char *model) {
    golden_run g = {.print = true};
    print_message("%s\n", folder);
    golden_run_chosen(&g, folder, model);
    print_message("worst stage %s at %.2f of its bound\n", g.worst_stage, g.worst);
    assert_int_equal(g.failures, 0);
}

static void ddim(void **state) {
    (void)state;
    check(FOLDER("cogvideox-video"), FOLDER("cogvideox-video"));
}

static void dynamic_cfg(void **state) {
    (void)state;
    check(FOLDER("cogvideox-video-dynamic"), FOLDER("cogvideox-video"));
}

static void dpm(void **state) {
    (void)state;
    check(FOLDER("cogvideox-video-dpm"), FOLDER("cogvideox-video-dpm"));
}

static void no_guidance(void **state) {
    (void)state;
    check(FOLDER("cogvideox-video-dpm-plain"), FOLDER("cogvideox-video-dpm"));
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(ddim), cmocka_unit_test(dynamic_cfg), cmocka_unit_test(dpm),
                                       cmocka_unit_test(no_guidance)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
