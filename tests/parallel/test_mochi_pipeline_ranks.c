/* A MochiPipeline on 1 to 8 ranks and every mesh of them, halves in groups of their own included: each stage as diffusers has it, the frames those of one
 * rank, with the VAE on one rank and on all. SPDX-License-Identifier: Apache-2.0 */
#include "golden_meshes.h"

/* Halves whose texts have 20 and 5 tokens. */
static void halves(void **state) {
    (void)state;
    golden_on_meshes("mochi-video", "mochi-video", 2, 1, true);
}
/* Two videos of 3 tokens, with 20 tokens of text and with none: many ranks have nothing. */
static void no_negative_prompt(void **state) {
    (void)state;
    golden_on_meshes("mochi-video-empty", "mochi-video", 4, 2, true);
}
static void one_half(void **state) {
    (void)state;
    golden_on_meshes("mochi-video-alone", "mochi-video", 1, 2, true);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(halves), cmocka_unit_test(no_negative_prompt),
                                       cmocka_unit_test(one_half)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
