/* A small MochiPipeline with redrawn weights: every stage and every frame against diffusers. SPDX-License-Identifier: Apache-2.0 */
#include "golden.h"

#define FOLDER(name) PARA_SOURCE_DIR "/tests/golden/" name

static void check(const char *name) {
    char folder[512];
    snprintf(folder, sizeof folder, "%s/%s", FOLDER(""), name);
    golden_run g = {.print = true};
    golden_run_chosen(&g, folder, FOLDER("mochi-video"));
    print_message("%s: worst stage %s at %.2f of its bound\n", name, g.worst_stage, g.worst);
    assert_int_equal(g.failures, 0);
}

/* Texts of 20 and 5 tokens. */
static void guided(void **state) {
    (void)state;
    check("mochi-video");
}
/* 20 and none. */
static void no_negative_prompt(void **state) {
    (void)state;
    check("mochi-video-empty");
}
static void no_guidance(void **state) {
    (void)state;
    check("mochi-video-alone");
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(guided), cmocka_unit_test(no_negative_prompt),
                                       cmocka_unit_test(no_guidance)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
