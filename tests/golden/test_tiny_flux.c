/* models/tiny-flux against diffusers' FluxPipeline: the picture after all steps, from the library and from the program.
 * tools/reference/tiny_flux.py drew the other ones. SPDX-License-Identifier: Apache-2.0 */
#include "shipped_model.h"

static const shipped_model tiny_flux = {
    .folder = PARA_SOURCE_DIR "/models/tiny-flux",
    .drawn = PARA_SOURCE_DIR "/tests/golden/tiny-flux",
    .side = 256,
    .frames = 1,
    /* Measured: 1, in 8 and 3 of the values, as between diffusers' own runs on 1 and 2 threads, where float32 moves a value over a half. A picture cut
     * instead of rounded would differ in half of them. */
    .largest = 2,
    .differ = 100,
    .latents = 1e-5, /* measured: 2.3e-6 and 5.9e-7 */
};

/* 20 steps from seed 7. */
static void heart_is_that_of_diffusers(void **state) {
    (void)state;
    shipped_check(&tiny_flux, "heart");
}

/* True CFG with a negative prompt. */
static void crabs_are_those_of_diffusers(void **state) {
    (void)state;
    shipped_check(&tiny_flux, "crabs");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(heart_is_that_of_diffusers),
        cmocka_unit_test(crabs_are_those_of_diffusers),
    };
    return cmocka_run_group_tests(tests, temp_folder_setup, temp_folder_teardown);
}
