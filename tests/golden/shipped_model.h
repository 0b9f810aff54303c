/* A model that ships against diffusers: the pixels after all steps, from the library and from the program. Scripts in tools/reference drew the others.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef PARA_TESTS_SHIPPED_MODEL_H
#define PARA_TESTS_SHIPPED_MODEL_H

#include <png.h>

#include <paraattn/output.h>

#include "cli/program.h"
#include "golden.h"

typedef struct shipped_model {
    const char *folder, *drawn; /* the model; the reference: case.json, NAME.png, latents.safetensors */
    int side, frames;           /* its own size, which the program is not told */
    int largest, differ;        /* bounds: of a value's difference, of 255; of how many values differ */
    double latents;             /* bound: their relative L2 */
} shipped_model;

/* A picture, or a video's frames one below the other. */
typedef struct shipped_pixels {
    int side, frames;
    uint8_t *rgb; /* [frames * side, side, 3] */
} shipped_pixels;

static inline shipped_pixels shipped_room(int side, int frames) {
    shipped_pixels p = {side, frames, malloc((size_t)frames * side * side * 3)};
    assert_non_null(p.rgb);
    return p;
}

static inline void shipped_read_file(const char *path, int width, int height, uint8_t *rgb) {
    png_image image = {.version = PNG_IMAGE_VERSION};
    if (!png_image_begin_read_from_file(&image, path)) fail_msg("%s: %s", path, image.message);
    assert_true((int)image.width == width && (int)image.height == height && image.format == PNG_FORMAT_RGB);
    assert_true(png_image_finish_read(&image, NULL, rgb, 0, NULL));
}

/* What was saved as shipped_output(), one file for each frame of a video. */
static inline void shipped_read(const shipped_pixels *p, const char *stem) {
    char file[64];
    for (int i = 0; i < p->frames; i++) {
        if (p->frames == 1) snprintf(file, sizeof file, "%s.png", stem);
        else snprintf(file, sizeof file, "%s-%04d.png", stem, i + 1);
        shipped_read_file(temp_path(file), p->side, p->side, p->rgb + (size_t)i * p->side * p->side * 3);
    }
}

static inline const char *shipped_output(const shipped_pixels *p, const char *stem) {
    char file[64];
    snprintf(file, sizeof file, p->frames == 1 ? "%s.png" : "%s-%%04d.png", stem);
    return temp_path(file);
}

static inline void shipped_compare(const shipped_model *m, const char *name, const shipped_pixels *got,
                                   const shipped_pixels *want) {
    int largest = 0, differ = 0, values = want->frames * want->side * want->side * 3;
    for (int i = 0; i < values; i++) {
        int d = abs(got->rgb[i] - want->rgb[i]);
        differ += d > 0;
        if (d > largest) largest = d;
    }
    print_message("    %s: largest difference %d of 255 (bound %d), %d of %d values differ (bound %d)\n", name, largest,
                  m->largest, differ, values, m->differ);
    assert_true(largest <= m->largest && differ <= m->differ);
}

static inline void shipped_compare_latents(const shipped_model *m, const char *name, const golden_run *g,
                                           const para_tensor *got) {
    char path[512];
    para_safetensors *finals;
    snprintf(path, sizeof path, "%s/latents.safetensors", m->drawn);
    assert_int_equal(para_safetensors_open(&finals, path), PARA_OK);
    int64_t at = para_safetensors_find(finals, name);
    assert_true(at >= 0);
    para_tensor want = para_safetensors_tensor(finals, at);
    assert_true(want.dtype == PARA_F32 && para_tensor_count(&want) == para_tensor_count(got));
    double error = golden_relative_l2(got->data, want.data, para_tensor_count(&want));
    double spread = json_number_value(json_object_get(json_object_get(g->settings.root, "spread"), "latents"));
    print_message("    %s: latents' relative L2 %.2e (bound %.0e, reference's spread %.1e)\n", name, error, m->latents,
                  spread);
    assert_true(error <= m->latents);
    para_safetensors_close(&finals);
}

/* The library's pixels, by way of files, and its latents against diffusers'. */
static inline void shipped_by_library(const shipped_model *m, const char *name, const golden_run *g,
                                      const para_request *request, const shipped_pixels *out) {
    para_world_options w = PARA_WORLD_OPTIONS_INIT;
    w.threads = 2;
    para_world *world;
    para_pipeline *pipe;
    para_result *result;
    const char *path = shipped_output(out, "library");
    test_choose_device(&w);
    assert_int_equal(para_world_open(&world, &w), PARA_OK);
    assert_int_equal(para_pipeline_open(&pipe, world, m->folder, NULL), PARA_OK);
    assert_int_equal(para_generate(pipe, request, &result), PARA_OK);
    if (out->frames == 1) assert_int_equal(para_save_images(result, path, NULL), PARA_OK);
    else assert_int_equal(para_save_videos(result, path, NULL), PARA_OK);
    shipped_compare_latents(m, name, g, &result->latents);
    para_result_close(&result);
    para_pipeline_close(&pipe);
    para_world_close(&world);
    shipped_read(out, "library");
}

/* The program's, which takes size and frames from the model where the request has the model's own. */
static inline void shipped_by_program(const shipped_model *m, const para_request *r, const shipped_pixels *out) {
    static program p;
    char steps[16], seed[32], length[16], guidance[32], scale[32], frames[16];
    snprintf(steps, sizeof steps, "%d", r->num_inference_steps);
    snprintf(seed, sizeof seed, "%llu", (unsigned long long)r->seed);
    snprintf(length, sizeof length, "%d", r->max_sequence_length);
    snprintf(guidance, sizeof guidance, "%.9g", (double)r->guidance_scale);
    snprintf(scale, sizeof scale, "%.9g", (double)r->true_cfg_scale);
    snprintf(frames, sizeof frames, "%d", out->frames);
    const char *argv[PROGRAM_ARGUMENTS] = {PARA,
                                           "generate",
                                           m->folder,
                                           "--prompt",
                                           r->prompt,
                                           "--steps",
                                           steps,
                                           "--seed",
                                           seed,
                                           "--max-sequence-length",
                                           length,
                                           "--guidance",
                                           guidance,
                                           "--threads",
                                           "2",
                                           "-o",
                                           shipped_output(out, "program")};
    size_t n = 0;
    while (argv[n]) n++;
    if (out->frames != m->frames) argv[n++] = "--frames", argv[n++] = frames;
    if (getenv("PARA_TEST_DEVICE")) argv[n++] = "--device", argv[n++] = getenv("PARA_TEST_DEVICE");
    if (r->negative_prompt) {
        argv[n++] = "--negative-prompt", argv[n++] = r->negative_prompt;
        argv[n++] = "--true-cfg", argv[n++] = scale;
    }
    program_start(&p, NULL, argv);
    program_finish(&p, NULL);
    program_expect(&p, 0, "");
    shipped_read(out, "program");
}

/* The case `name` by both; the program's pixels are the library's. */
static inline void shipped_check(const shipped_model *m, const char *name) {
    golden_run g = {0};
    para_config all = {0};
    char path[512];
    snprintf(path, sizeof path, "%s/case.json", m->drawn);
    assert_int_equal(para_config_read(&all, path), PARA_OK);
    g.settings = (para_config){.root = json_object_get(all.root, name), .path = all.path};
    para_request request = golden_request(&g);
    int frames = request.num_frames ? request.num_frames : 1;
    assert_true(request.height == m->side && request.width == m->side);
    shipped_pixels want = shipped_room(m->side, frames), library = shipped_room(m->side, frames),
                   drawn = shipped_room(m->side, frames);
    snprintf(path, sizeof path, "%s/%s.png", m->drawn, name);
    shipped_read_file(path, m->side, frames * m->side, want.rgb);
    shipped_by_library(m, name, &g, &request, &library);
    shipped_compare(m, name, &library, &want);
    shipped_by_program(m, &request, &drawn);
    assert_memory_equal(drawn.rgb, library.rgb, (size_t)frames * m->side * m->side * 3);
    free(want.rgb);
    free(library.rgb);
    free(drawn.rgb);
    para_config_close(&all);
}

#endif
