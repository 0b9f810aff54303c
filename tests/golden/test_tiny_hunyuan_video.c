/* models/tiny-hunyuan-video against diffusers' HunyuanVideoPipeline: all frames after all steps, from the library and from the program.
 * tools/reference/tiny_hunyuan_video.py drew the other ones. SPDX-License-Identifier: Apache-2.0 */
#include "sampling.h"
#include "shipped_model.h"

static const shipped_model tiny_hunyuan_video = {
    .folder = PARA_SOURCE_DIR "/models/tiny-hunyuan-video",
    .drawn = PARA_SOURCE_DIR "/tests/golden/tiny-hunyuan-video",
    .side = 128,
    .frames = 17,
    .largest = 2, /* measured: 1, in 27 and 13 of the values, as between diffusers' own runs */
    .differ = 300,
    .latents = 1e-5, /* measured: 1.5e-7 and 3.7e-7 */
};

/* 20 steps from seed 7. */
static void heart_is_that_of_diffusers(void **state) {
    (void)state;
    if (SANITIZED && !getenv("PARA_FULL")) return; /* the fox's steps are the same, and a quarter of these */
    shipped_check(&tiny_hunyuan_video, "heart");
}

/* Fewer frames than the model's own. */
static void fox_is_that_of_diffusers(void **state) {
    (void)state;
    shipped_check(&tiny_hunyuan_video, "fox");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(heart_is_that_of_diffusers),
        cmocka_unit_test(fox_is_that_of_diffusers),
    };
    return cmocka_run_group_tests(tests, temp_folder_setup, temp_folder_teardown);
}
