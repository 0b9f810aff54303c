/* First Block Cache against ParaAttention's: how much each step differs, what is decided, and the picture. tools/reference/first_block_cache.py
 * ran it with models/tiny-flux. SPDX-License-Identifier: Apache-2.0 */
#include <png.h>

#include "cache_case.h"
#include "sampling.h"

#define FOLDER PARA_SOURCE_DIR "/tests/golden/cache"

enum { SIZES = 2 };

/* The pictures of a size, one below the other, and how many have been compared. */
typedef struct sheet {
    int side, count, next;
    uint8_t *rgb;
} sheet;

/* Relative, of each step's d. Measured: 1.0e-5. */
static const double difference_bound = 1e-4;
/* Of 255. Measured: 1. */
static const int picture_bound = 2;

/* The next picture of a run's size. */
static sheet *next_picture(sheet sheets[SIZES], const para_request *r) {
    sheet *s = &sheets[r->height && r->height != sheets[0].side];
    assert_true(s->next < s->count);
    s->next++;
    return s;
}

static int largest_difference(const para_result *got, const sheet *s) {
    const float *x = got->images.data; /* [1, 3, side, side] */
    assert_true(got->images.dim[2] == s->side && got->images.dim[3] == s->side);
    int plane = s->side * s->side, largest = 0;
    const uint8_t *want = s->rgb + 3 * plane * (s->next - 1);
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
        const sheet *picture_of = next_picture(want, &request);
        if (i % (size_t)sample_each(1)) continue;
        OK(para_apply_first_block_cache(pipe, &cache));
        OK(para_generate(pipe, &request, &got));
        bool same = same_steps(run, got, &worst);
        int picture = largest_difference(got, picture_of);
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
