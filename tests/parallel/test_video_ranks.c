/* Video pipelines on 1 to 8 ranks and every mesh of them: each stage as diffusers has it, the frames those of one rank, with the VAE on one rank and on all.
 * SPDX-License-Identifier: Apache-2.0 */
#include "golden_meshes.h"

static void hunyuan_video(void **state) {
    (void)state;
    golden_on_meshes("hunyuan-video", "hunyuan-video", 2, 1, true);
}

/* Halves whose texts have 40 and 6 tokens. */
static void hunyuan_video_cfg(void **state) {
    (void)state;
    golden_on_meshes("hunyuan-video-cfg", "hunyuan-video", 2, 1, true);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(hunyuan_video), cmocka_unit_test(hunyuan_video_cfg)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
