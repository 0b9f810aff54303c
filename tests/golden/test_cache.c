/* First Block Cache against ParaAttention's: how much each step differs, what is decided, and the picture. tools/reference/first_block_cache.py
 * ran it with models/tiny-flux. SPDX-License-Identifier: Apache-2.0 */
#include <math.h>
#include <png.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "test_device.h"
#include <cmocka.h>
#include <jansson.h>
#include <paraattn/paraattn.h>

#define FOLDER PARA_SOURCE_DIR "/tests/golden/cache"

enum { SIZES = 2, MOST_LAYERS = 16 };

/* The pictures of a size, one below the other, and how many have been compared. */
typedef struct sheet {
    int side, count, next;
    uint8_t *rgb;
} sheet;

/* Relative, of each step's d. Measured: 1.0e-5. */
static const double difference_bound = 1e-4;
/* Of 255. Measured: 1. */
static const int picture_bound = 2;

#define OK(expr)                                                                                                       \
    do {                                                                                                               \
        if ((expr) != PARA_OK) fail_msg("%s: %s", #expr, para_last_error());                                           \
    } while (0)

static double number(const json_t *o, const char *key, double otherwise) {
    const json_t *v = json_object_get(o, key);
    return json_is_number(v) ? json_number_value(v) : otherwise;
}

static para_request request_of(const json_t *o) {
    para_request r = PARA_REQUEST_INIT;
    r.prompt = json_string_value(json_object_get(o, "prompt"));
    r.negative_prompt = json_string_value(json_object_get(o, "negative_prompt"));
    r.true_cfg_scale = (float)number(o, "true_cfg_scale", 1);
    r.height = (int)number(o, "height", 0);
    r.width = (int)number(o, "width", 0);
    r.num_inference_steps = (int)number(o, "num_inference_steps", 0);
    r.guidance_scale = (float)number(o, "guidance_scale", 0);
    r.max_sequence_length = (int)number(o, "max_sequence_length", 0);
    r.seed = (uint64_t)number(o, "seed", 0);
    return r;
}

/* ParaAttention's options as ours; layers: room for the list. */
static para_cache_options options_of(const json_t *o, int layers[MOST_LAYERS]) {
    para_cache_options c = PARA_CACHE_OPTIONS_INIT;
    const json_t *list = json_object_get(o, "slg_layers");
    c.residual_diff_threshold = (float)number(o, "residual_diff_threshold", 0);
    c.negative_residual_diff_threshold = (float)number(o, "alter_residual_diff_threshold", -1);
    c.warmup_steps = (int)number(o, "warmup_steps", 0);
    c.downsample_factor = (int)number(o, "downsample_factor", 1);
    c.taylorseer_derivatives = (int)number(json_object_get(o, "taylorseer_kwargs"), "n_derivatives", 0);
    c.num_skip_layers = (int)json_array_size(list);
    for (int i = 0; i < c.num_skip_layers; i++) layers[i] = (int)json_integer_value(json_array_get(list, (size_t)i));
    c.skip_layers = layers;
    c.skip_start = (float)number(o, "slg_start", 0);
    c.skip_end = (float)number(o, "slg_end", 0.1);
    return c;
}

/* Whether all went as with ParaAttention; the largest relative error of a d. */
static bool same_steps(const json_t *run, const para_result *got, double *worst) {
    const json_t *d = json_object_get(run, "d"), *hit = json_object_get(run, "hit");
    bool same = (size_t)got->num_cache_steps == json_array_size(d);
    *worst = 0;
    for (int i = 0; same && i < got->num_cache_steps; i++) {
        const para_cache_step *s = &got->cache_steps[i];
        const json_t *want = json_array_get(d, (size_t)i);
        same = s->hit == (json_integer_value(json_array_get(hit, (size_t)i)) != 0) &&
               isnan(s->difference) == json_is_null(want);
        if (!json_is_null(want)) *worst = fmax(*worst, fabs(s->difference / json_number_value(want) - 1));
    }
    return same;
}

/* From the next picture of its size. */
static int largest_difference(const para_result *got, sheet sheets[SIZES]) {
    const float *x = got->images.data; /* [1, 3, side, side] */
    sheet *s = &sheets[got->images.dim[2] != sheets[0].side];
    assert_true(got->images.dim[2] == s->side && got->images.dim[3] == s->side && s->next < s->count);
    int plane = s->side * s->side, largest = 0;
    const uint8_t *want = s->rgb + 3 * plane * s->next++;
    for (int i = 0; i < 3 * plane; i++) {
        float v = fminf(fmaxf(x[i % 3 * plane + i / 3], 0), 1);
        int d = abs((int)lrintf(v * 255) - want[i]);
        if (d > largest) largest = d;
    }
    return largest;
}

static sheet read_pictures(const char *path) {
    png_image image = {.version = PNG_IMAGE_VERSION};
    assert_true(png_image_begin_read_from_file(&image, path));
    assert_true(image.height % image.width == 0 && image.format == PNG_FORMAT_RGB);
    sheet s = {
        .side = (int)image.width, .count = (int)(image.height / image.width), .rgb = malloc(PNG_IMAGE_SIZE(image))};
    assert_true(png_image_finish_read(&image, NULL, s.rgb, 0, NULL));
    return s;
}

static void open_model(para_world **world, para_pipeline **pipe) {
    para_world_options w = PARA_WORLD_OPTIONS_INIT;
    w.threads = 2;
    test_choose_device(&w);
    OK(para_world_open(world, &w));
    OK(para_pipeline_open(pipe, *world, PARA_SOURCE_DIR "/models/tiny-flux", NULL));
}

static void steps_and_pictures_are_those_of_para_attention(void **state) {
    (void)state;
    json_t *root = json_load_file(FOLDER "/case.json", 0, NULL), *runs = json_object_get(root, "runs"), *run;
    size_t i, count = json_array_size(runs);
    sheet want[SIZES] = {read_pictures(FOLDER "/pictures-128.png"), read_pictures(FOLDER "/pictures-256.png")};
    para_world *world;
    para_pipeline *pipe;
    int failures = 0;
    open_model(&world, &pipe);
    json_array_foreach(runs, i, run) {
        para_request request = request_of(json_object_get(run, "request"));
        int layers[MOST_LAYERS];
        para_cache_options cache = options_of(json_object_get(run, "options"), layers);
        para_result *got;
        double worst;
        OK(para_apply_first_block_cache(pipe, &cache));
        OK(para_generate(pipe, &request, &got));
        bool same = same_steps(run, got, &worst);
        int picture = largest_difference(got, want);
        print_message("  %-14s %2d of %2d hits%s, d differs by %.1e, the picture by %d of 255\n",
                      json_string_value(json_object_get(run, "name")), got->cache_hits, got->num_cache_steps,
                      same ? "" : " (not the same steps)", worst, picture);
        failures += !same || !(worst <= difference_bound) || picture > picture_bound;
        para_result_close(&got);
    }
    assert_int_equal(count, 34);
    for (int k = 0; k < SIZES; k++) assert_int_equal(want[k].next, want[k].count);
    assert_int_equal(failures, 0);
    para_pipeline_close(&pipe);
    para_world_close(&world);
    for (int k = 0; k < SIZES; k++) free(want[k].rgb);
    json_decref(root);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(steps_and_pictures_are_those_of_para_attention)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
