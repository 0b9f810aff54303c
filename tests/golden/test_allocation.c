/* A whole run with each of the project's allocations failing in turn: a clean error, and the next run works.
 * SPDX-License-Identifier: Apache-2.0 */
#include <time.h>

#include <paraattn/paraattn.h>

#include "core/alloc.h"
#include "core/error.h"
#include "unit/temp_folder.h"

#define MODEL PARA_SOURCE_DIR "/tests/golden/flux-dev"

/* Every allocation with PARA_FULL=1, else as many as the time allows, spread over the run. */
static const double sampled_seconds = 20;

static double seconds(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* Both halves of classifier-free guidance, tiles, two pictures: as many paths as one request takes. */
static para_request request(void) {
    para_request r = PARA_REQUEST_INIT;
    r.prompt = "a red heart on a blue background";
    r.negative_prompt = "blurred";
    r.true_cfg_scale = 2;
    r.height = r.width = 32;
    r.num_inference_steps = 1;
    r.num_images = 2;
    r.max_sequence_length = 8;
    r.vae_tiling = true;
    return r;
}

static para_status open_both(para_world **world, para_pipeline **flux) {
    para_world_options w = PARA_WORLD_OPTIONS_INIT;
    w.threads = 1;
    *world = NULL;
    *flux = NULL;
    para_status status = para_world_open(world, &w);
    return status == PARA_OK ? para_pipeline_open(flux, *world, MODEL, NULL) : status;
}

static para_status whole_run(void) {
    para_world *world;
    para_pipeline *flux;
    para_result *result = NULL;
    para_request r = request();
    const char *const text[] = {"prompt", r.prompt, NULL};
    para_status status = open_both(&world, &flux);
    if (status == PARA_OK) status = para_generate(flux, &r, &result);
    if (status == PARA_OK) status = para_save_images(result, temp_path("x.png"), text);
    if (status == PARA_OK) status = para_save_images(result, temp_path("x.safetensors"), text);
    if (status == PARA_OK) status = para_save_tensor(&result->latents, "latents", temp_path("l.safetensors"));
    para_result_close(&result);
    para_pipeline_close(&flux);
    para_world_close(&world);
    return status;
}

/* The n-th allocation of `body` fails. */
static void fail_at(long n, para_status (*body)(void)) {
    para_clear_error();
    para_alloc_fail_after(n);
    para_status status = body();
    para_alloc_fail_after(0);
    if (status != PARA_ERR_MEMORY || !strstr(para_last_error(), "memory"))
        fail_msg("allocation %ld failed: %s \"%s\"", n, para_status_name(status), para_last_error());
}

/* Makes allocations of `body` fail, in an order that spreads early and ends anywhere; `after` follows each. */
static void fail_many(const char *what, para_status (*body)(void), void (*after)(void), double limit) {
    para_alloc_fail_after(0);
    assert_int_equal(body(), PARA_OK);
    para_alloc_fail_after(0); /* starts the count: what ran first may have left caches */
    assert_int_equal(body(), PARA_OK);
    long count = para_alloc_count(), tried = 0;
    bool all = getenv("PARA_FULL") != NULL;
    double start = seconds();
    assert_true(count > 50);
    long stride = (long)((double)count * 0.618) | 1;
    for (; stride > 1; stride -= 2) { /* coprime to count: every allocation has its turn, far from the one before */
        long a = count, b = stride;
        while (b) {
            long rest = a % b;
            a = b;
            b = rest;
        }
        if (a == 1) break;
    }
    for (long i = 0; i < count && (all || seconds() - start < limit); i++, tried++) {
        fail_at((long)((__int128)i * stride % count) + 1, body);
        if (after) after();
    }
    print_message("  %s: %ld of %ld allocations failed, each with a clean error\n", what, tried, count);
}

static void nothing_saved(void) {
    DIR *dir = opendir(temp_folder);
    assert_non_null(dir);
    for (const struct dirent *d; (d = readdir(dir));)
        if (strstr(d->d_name, ".tmp")) fail_msg("%s was left behind", d->d_name);
    closedir(dir);
}

static void each_allocation_of_a_run_fails(void **state) {
    (void)state;
    fail_many("open, generate, save, close", whole_run, nothing_saved, sampled_seconds);
}

/* ---- videos */

static para_status put_frame(void *user, int image, int frame, const para_tensor *pixels) {
    (void)frame;
    return para_video_writer_put(user, image, pixels);
}

/* Two videos with guidance, to numbered pictures as they come, then whole to a tensor. */
static para_status whole_film(void) {
    para_world_options w = PARA_WORLD_OPTIONS_INIT;
    para_world *own = NULL;
    para_pipeline *pipe = NULL;
    para_video_writer *writer = NULL;
    para_result *result = NULL;
    para_request r = request();
    r.width = 16;
    r.num_frames = 5;
    w.threads = 1;
    para_status status = para_world_open(&own, &w);
    if (status == PARA_OK) status = para_pipeline_open(&pipe, own, PARA_SOURCE_DIR "/tests/golden/hunyuan-video", NULL);
    if (status == PARA_OK) status = para_video_writer_open(&writer, temp_path("f-%02d.png"), 2, NULL);
    r.on_frame = put_frame;
    r.user = writer;
    if (status == PARA_OK) status = para_generate(pipe, &r, &result);
    if (status == PARA_OK) status = para_video_writer_finish(&writer);
    para_result_close(&result);
    r.on_frame = NULL;
    if (status == PARA_OK) status = para_generate(pipe, &r, &result);
    if (status == PARA_OK) status = para_save_images(result, temp_path("f.safetensors"), NULL);
    para_video_writer_abort(&writer);
    para_result_close(&result);
    para_pipeline_close(&pipe);
    para_world_close(&own);
    return status;
}

/* Nor a frame of a video that failed before its end; one that had its end is whole. */
static void no_part_of_a_film(void) {
    int frames = 0;
    DIR *dir = opendir(temp_folder);
    assert_non_null(dir);
    for (const struct dirent *d; (d = readdir(dir));) {
        if (strncmp(d->d_name, "f-", 2) != 0) continue;
        char path[600];
        snprintf(path, sizeof path, "%.300s/%.200s", temp_folder, d->d_name);
        unlink(path);
        frames++;
    }
    closedir(dir);
    if (frames != 0 && frames != 10) fail_msg("%d of 10 frames were left behind", frames);
    nothing_saved();
}

static void each_allocation_of_a_film_fails(void **state) {
    (void)state;
    fail_many("open, film, save, close", whole_film, no_part_of_a_film, sampled_seconds * 0.3);
}

/* ---- the same pipeline afterwards */

static para_world *world;
static para_pipeline *flux;
static float *wanted;

static para_status generate_again(void) {
    para_result *result = NULL;
    para_request r = request();
    para_status status = para_generate(flux, &r, &result);
    if (status == PARA_OK) {
        size_t bytes = (size_t)para_tensor_count(&result->images) * sizeof(float);
        if (!wanted) {
            wanted = malloc(bytes);
            memcpy(wanted, result->images.data, bytes);
        }
        assert_memory_equal(wanted, result->images.data, bytes);
    } else {
        assert_null(result);
    }
    para_result_close(&result);
    return status;
}

static void still_works(void) {
    assert_int_equal(generate_again(), PARA_OK);
}

static void a_pipeline_survives_failures(void **state) {
    (void)state;
    assert_int_equal(open_both(&world, &flux), PARA_OK);
    fail_many("generate on one pipeline", generate_again, still_works, sampled_seconds / 2);
    para_pipeline_close(&flux);
    /* With weights not loaded yet: the load itself fails, and the next one loads. */
    for (long n = 1;; n += getenv("PARA_FULL") ? 1 : 37) {
        assert_int_equal(para_pipeline_open(&flux, world, MODEL, NULL), PARA_OK);
        para_alloc_fail_after(n);
        para_status status = para_pipeline_load(flux);
        bool reached = para_alloc_count() >= n;
        para_alloc_fail_after(0);
        assert_int_equal(status, reached ? PARA_ERR_MEMORY : PARA_OK);
        assert_int_equal(para_pipeline_load(flux), PARA_OK);
        still_works();
        para_pipeline_close(&flux);
        if (!reached) break;
    }
    para_world_close(&world);
    free(wanted);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(each_allocation_of_a_run_fails), cmocka_unit_test(each_allocation_of_a_film_fails),
                                       cmocka_unit_test(a_pipeline_survives_failures)};
    return cmocka_run_group_tests(tests, temp_folder_setup, temp_folder_teardown);
}
