/* CogVideoXPipelines on 1 to 8 ranks and meshes of them, halves in groups of their own included: each stage as diffusers has it, the frames those of one
 * rank, with the VAE on one rank and on all. SPDX-License-Identifier: Apache-2.0 */
#include "golden_meshes.h"

/* 6 tokens of video and 14 of text, DDIM. */
static void halves(void **state) {
    (void)state;
    golden_on_meshes("cogvideox-video", "cogvideox-video", 2, 2, true);
}
/* 4 and 9, DPM: every rank draws the noise of all and takes its own. */
static void noise_at_each_step(void **state) {
    (void)state;
    golden_on_meshes("cogvideox-video-dpm", "cogvideox-video-dpm", 2, 2, true);
}
/* Two videos of 2 tokens, four halves. */
static void two_videos(void **state) {
    (void)state;
    golden_on_meshes("cogvideox-video-dynamic", "cogvideox-video", 4, 3, true);
}
static void one_half(void **state) {
    (void)state;
    golden_on_meshes("cogvideox-video-dpm-plain", "cogvideox-video-dpm", 2, 3, true);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(halves), cmocka_unit_test(noise_at_each_step),
                                       cmocka_unit_test(two_videos), cmocka_unit_test(one_half)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
