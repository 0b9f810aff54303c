/* The model that ships against diffusers' FluxPipeline: the picture after all steps, from the library and from the program.
 * tools/reference/tiny_flux.py drew the other ones. SPDX-License-Identifier: Apache-2.0 */
#include <png.h>

#include <paraattn/output.h>

#include "cli/program.h"
#include "golden.h"

#define MODEL PARA_SOURCE_DIR "/models/tiny-flux"
#define DRAWN PARA_SOURCE_DIR "/tests/golden/tiny-flux"

/* Of 255. Measured: 1, in 8 and 3 of the values, as between diffusers' own runs on 1 and 2 threads, where float32 moves a value over a
 * half. A picture cut instead of rounded would differ in half of them. */
static const int picture_bound = 2, differ_bound = 100;
static const double latents_bound = 1e-5; /* measured: 2.3e-6 and 5.9e-7 */

enum { SIDE = 256, VALUES = SIDE * SIDE * 3 };

static void read_picture(const char *path, uint8_t *rgb) {
    png_image image = {.version = PNG_IMAGE_VERSION};
    assert_true(png_image_begin_read_from_file(&image, path));
    assert_true(image.width == SIDE && image.height == SIDE && image.format == PNG_FORMAT_RGB);
    assert_true(png_image_finish_read(&image, NULL, rgb, 0, NULL));
}

static void compare_pictures(const char *name, const uint8_t *got, const uint8_t *want) {
    int largest = 0;
    long differ = 0;
    for (int i = 0; i < VALUES; i++) {
        int d = abs(got[i] - want[i]);
        differ += d > 0;
        if (d > largest) largest = d;
    }
    print_message("    %s: picture's max difference %d of 255 (bound %d), %ld of %d values differ\n", name, largest,
                  picture_bound, differ, VALUES);
    assert_true(largest <= picture_bound && differ <= differ_bound);
}

/* The library's picture in a file, and its latents against diffusers'. */
static void draw_by_library(const char *name, const para_request *request, double spread, const char *path) {
    para_world_options w = PARA_WORLD_OPTIONS_INIT;
    w.threads = 2;
    para_world *world;
    para_pipeline *pipe;
    para_result *result;
    test_choose_device(&w);
    assert_int_equal(para_world_open(&world, &w), PARA_OK);
    assert_int_equal(para_pipeline_open(&pipe, world, MODEL, NULL), PARA_OK);
    assert_int_equal(para_generate(pipe, request, &result), PARA_OK);
    assert_int_equal(para_save_images(result, path, NULL), PARA_OK);
    para_safetensors *finals;
    assert_int_equal(para_safetensors_open(&finals, DRAWN "/latents.safetensors"), PARA_OK);
    int64_t at = para_safetensors_find(finals, name);
    assert_true(at >= 0);
    para_tensor want = para_safetensors_tensor(finals, at);
    assert_true(want.dtype == PARA_F32 && para_tensor_count(&want) == para_tensor_count(&result->latents));
    double error = golden_relative_l2(result->latents.data, want.data, para_tensor_count(&want));
    print_message("    %s: latents' relative L2 %.2e (bound %.0e, reference's spread %.1e)\n", name, error,
                  latents_bound, spread);
    assert_true(error <= latents_bound);
    para_safetensors_close(&finals);
    para_result_close(&result);
    para_pipeline_close(&pipe);
    para_world_close(&world);
}

static void draw_by_program(const para_request *r, const char *path) {
    static program p;
    char steps[16], seed[32], length[16], guidance[32], scale[32];
    snprintf(steps, sizeof steps, "%d", r->num_inference_steps);
    snprintf(seed, sizeof seed, "%llu", (unsigned long long)r->seed);
    snprintf(length, sizeof length, "%d", r->max_sequence_length);
    snprintf(guidance, sizeof guidance, "%.9g", (double)r->guidance_scale);
    snprintf(scale, sizeof scale, "%.9g", (double)r->true_cfg_scale);
    const char *argv[PROGRAM_ARGUMENTS] = {PARA,      "generate",   MODEL,    "--prompt",  r->prompt,
                                           "--steps", steps,        "--seed", seed,        "--max-sequence-length",
                                           length,    "--guidance", guidance, "--threads", "2",
                                           "-o",      path};
    size_t n = 0;
    while (argv[n]) n++;
    if (getenv("PARA_TEST_DEVICE")) argv[n++] = "--device", argv[n++] = getenv("PARA_TEST_DEVICE");
    if (r->negative_prompt) {
        argv[n++] = "--negative-prompt", argv[n++] = r->negative_prompt;
        argv[n++] = "--true-cfg", argv[n++] = scale;
    }
    program_start(&p, NULL, argv);
    program_finish(&p, NULL);
    program_expect(&p, 0, "");
}

static void check(const char *name) {
    static uint8_t want[VALUES], library[VALUES], of_program[VALUES];
    golden_run g = {0};
    para_config all = {0};
    assert_int_equal(para_config_read(&all, DRAWN "/case.json"), PARA_OK);
    g.settings = (para_config){.root = json_object_get(all.root, name), .path = all.path};
    para_request request = golden_request(&g);
    assert_true(request.height == SIDE && request.width == SIDE);
    double spread = json_number_value(json_object_get(json_object_get(g.settings.root, "spread"), "latents"));
    char path[512];
    snprintf(path, sizeof path, "%s/%s.png", DRAWN, name);
    read_picture(path, want);
    draw_by_library(name, &request, spread, temp_path("library.png"));
    read_picture(temp_path("library.png"), library);
    compare_pictures(name, library, want);
    draw_by_program(&request, temp_path("program.png"));
    read_picture(temp_path("program.png"), of_program);
    assert_memory_equal(of_program, library, VALUES);
    para_config_close(&all);
}

/* 20 steps from seed 7. */
static void heart_is_that_of_diffusers(void **state) {
    (void)state;
    check("heart");
}

/* True CFG with a negative prompt. */
static void crabs_are_those_of_diffusers(void **state) {
    (void)state;
    check("crabs");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(heart_is_that_of_diffusers),
        cmocka_unit_test(crabs_are_those_of_diffusers),
    };
    return cmocka_run_group_tests(tests, temp_folder_setup, temp_folder_teardown);
}
