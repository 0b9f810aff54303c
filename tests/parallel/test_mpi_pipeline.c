/* One pipeline over the processes that mpirun starts, one or two ranks in each: the pictures of one rank, and what is refused by all. Every case is
 * collective. SPDX-License-Identifier: Apache-2.0 */
#include <math.h>
#include <pthread.h>
#include <stdlib.h>
#include <unistd.h>

#include "model_copy.h"
#include "pipeline/pipeline_state.h"
#include "unit/io_checks.h"

#define DEV  PARA_SOURCE_DIR "/tests/golden/flux-dev"
#define TINY PARA_SOURCE_DIR "/models/tiny-flux"
#define CFG  PARA_SOURCE_DIR "/tests/golden/flux-cfg"

static const double pixel_bound = 1e-4; /* measured: 1.1e-6 */

static para_world *world;
static int me, all;

enum { TOKENS = 5 * 7, CHANNELS = 16 };
static float noise[3 * TOKENS * CHANNELS];
static const double sigmas[] = {0.9, 0.5, 0.2};

/* Every field that a request can have. */
static para_request request(const para_tensor *latents) {
    para_request r = PARA_REQUEST_INIT;
    r.prompt = "a red heart on a blue background";
    r.prompt_2 = "a heart";
    r.negative_prompt = "blurred";
    r.negative_prompt_2 = "";
    r.true_cfg_scale = 2;
    r.height = 80;
    r.width = 112;
    r.num_inference_steps = 3;
    r.sigmas = sigmas;
    r.guidance_scale = 2;
    r.num_images = latents ? 3 : 1;
    r.seed = 11;
    r.rng = PARA_SEED_CUDA;
    r.latents = latents;
    r.max_sequence_length = 9;
    return r;
}

static para_pipeline *open_pipeline(void) {
    para_pipeline *pipe;
    assert_ok(para_pipeline_open(&pipe, world, DEV, NULL));
    assert_ok(para_parallelize(pipe, NULL));
    return pipe;
}

/* What one rank makes of it. */
static para_result *alone(const para_request *r, bool tiling) {
    para_request own = *r;
    para_world *w;
    para_pipeline *pipe;
    para_result *result;
    own.vae_tiling = tiling;
    assert_ok(para_world_open(&w, NULL));
    assert_ok(para_pipeline_open(&pipe, w, DEV, NULL));
    assert_ok(para_generate(pipe, &own, &result));
    para_pipeline_close(&pipe);
    para_world_close(&w);
    return result;
}

static void compare(const para_result *got, const para_request *r, bool tiling) {
    para_result *want = alone(r, tiling);
    int64_t n = para_tensor_count(&want->images);
    assert_true(n == para_tensor_count(&got->images));
    for (int64_t i = 0; i < n; i++)
        if (!(fabs((double)((float *)got->images.data)[i] - (double)((float *)want->images.data)[i]) <= pixel_bound))
            fail_msg("pixel %lld differs", (long long)i);
    para_result_close(&want);
}

/* Process 0 generates, the others follow. */
static void others_follow(void **state) {
    (void)state;
    para_pipeline *pipe = open_pipeline();
    para_tensor given = para_tensor_make(noise, PARA_F32, 3, (int64_t[]){3, TOKENS, CHANNELS});
    if (me) {
        assert_ok(para_pipeline_follow(pipe));
    } else {
        para_request requests[] = {request(&given), request(NULL)};
        assert_ok(para_pipeline_load(pipe));
        for (int i = 0; i < 2; i++) {
            para_result *result;
            assert_ok(para_generate(pipe, &requests[i], &result));
            assert_int_equal(result->ranks, para_world_size(world));
            assert_true(result->exchanged_bytes > 0);
            compare(result, &requests[i], false);
            para_result_close(&result);
            /* What is wrong with a request, all learn; the others still follow. */
            requests[i].num_inference_steps = 0;
            assert_fails(PARA_ERR_ARGUMENT, "num_inference_steps", para_generate(pipe, &requests[i], &result));
            assert_fails(PARA_ERR_ARGUMENT, "NULL", para_generate(pipe, NULL, &result));
        }
        assert_fails(PARA_ERR_ARGUMENT, "process 0 leads", para_pipeline_follow(pipe));
    }
    para_pipeline_close(&pipe);
}

/* All make the same calls, with the same request or none; the result is process 0's. */
static void all_call(void **state) {
    (void)state;
    para_pipeline *pipe = open_pipeline();
    para_request r = request(NULL);
    para_result *result;
    assert_ok(para_pipeline_load(pipe));
    assert_ok(para_parallelize_vae(pipe, NULL));
    for (int round = 0; round < 2; round++) {
        assert_ok(para_generate(pipe, me && round ? NULL : &r, &result));
        assert_true((result != NULL) == (me == 0));
        if (me == 0) compare(result, &r, true);
        para_result_close(&result);
    }
    para_pipeline_close(&pipe);
}

/* Refused by all with one sentence, and the next request works. */
static void what_differs(void **state) {
    (void)state;
    para_pipeline *pipe = open_pipeline();
    para_request r = request(NULL);
    para_result *result;
    char sentence[64];
    snprintf(sentence, sizeof sentence, "process %d was started with another ", all - 1);
    if (me == all - 1) r.seed++;
    assert_fails(PARA_ERR_ARGUMENT, sentence, para_generate(pipe, &r, &result));
    assert_non_null(strstr(para_last_error(), "request"));
    r = request(NULL);
    para_parallel_options o = PARA_PARALLEL_OPTIONS_INIT;
    o.off = me == all - 1;
    assert_ok(para_parallelize(pipe, &o));
    assert_fails(PARA_ERR_ARGUMENT, sentence, para_generate(pipe, &r, &result));
    assert_non_null(strstr(para_last_error(), "mesh"));
    assert_ok(para_parallelize(pipe, NULL));
    assert_ok(para_generate(pipe, &r, &result));
    para_result_close(&result);
    para_pipeline_close(&pipe);
    assert_ok(para_pipeline_open(&pipe, world, me == all - 1 ? CFG : DEV, NULL));
    assert_fails(PARA_ERR_ARGUMENT, sentence, para_generate(pipe, &r, &result));
    assert_non_null(strstr(para_last_error(), "model"));
    para_pipeline_close(&pipe);
}

/* What is wrong on one process, in opening or in loading, all learn. */
static void what_fails_on_one(void **state) {
    (void)state;
    para_pipeline *pipe;
    model_copy m;
    para_request r = request(NULL);
    para_result *result;
    model_copy_open(&m, DEV, "model");
    if (me == all - 1) model_copy_remove(&m, "transformer/diffusion_pytorch_model.safetensors");
    assert_ok(para_pipeline_open(&pipe, world, m.folder, NULL));
    assert_ok(para_generate(pipe, &r, &result)); /* process 0 computes alone */
    para_result_close(&result);
    assert_ok(para_parallelize(pipe, NULL));
    assert_fails(PARA_ERR_NOT_FOUND, "transformer", para_generate(pipe, &r, &result));
    assert_fails(PARA_ERR_NOT_FOUND, "transformer", para_pipeline_load(pipe));
    para_pipeline_close(&pipe);
    if (me == all - 1) model_copy_remove(&m, "model_index.json");
    assert_fails(PARA_ERR_NOT_FOUND, "model_index.json", para_pipeline_open(&pipe, world, m.folder, NULL));
    assert_null(pipe);
    model_copy_close(&m);
}

/* What the cache decides, and which threshold a calibration finds, on a pipeline. */
static para_result *run_cached(para_pipeline *pipe, para_cache_calibration *found) {
    para_request r = PARA_REQUEST_INIT;
    para_cache_calibration_options how = PARA_CACHE_CALIBRATION_OPTIONS_INIT;
    para_cache_options cache = PARA_CACHE_OPTIONS_INIT;
    para_result *result;
    r.prompt = "a red heart";
    r.negative_prompt = "a pink background";
    r.true_cfg_scale = 1.5f;
    r.height = r.width = 64;
    r.num_inference_steps = 8;
    r.max_sequence_length = 16;
    how.psnr = 35;
    how.pictures = 2;
    how.trials = 3;
    assert_ok(para_calibrate_first_block_cache(pipe, &r, &how, found));
    cache.residual_diff_threshold = 0.5f;
    cache.taylorseer_derivatives = 1;
    assert_ok(para_apply_first_block_cache(pipe, &cache));
    assert_ok(para_generate(pipe, &r, &result));
    return result;
}

static void the_cache_decides_as_on_one_rank(void **state) {
    (void)state;
    para_cache_calibration found, wanted;
    para_pipeline *pipe;
    para_world *w;
    assert_ok(para_world_open(&w, NULL));
    assert_ok(para_pipeline_open(&pipe, w, TINY, NULL));
    para_result *want = run_cached(pipe, &wanted);
    para_pipeline_close(&pipe);
    para_world_close(&w);
    assert_ok(para_pipeline_open(&pipe, world, TINY, NULL));
    assert_ok(para_parallelize(pipe, NULL));
    para_result *got = run_cached(pipe, &found);
    assert_true(wanted.residual_diff_threshold > 0 && found.residual_diff_threshold == wanted.residual_diff_threshold);
    assert_int_equal(found.trials, wanted.trials); /* on every process */
    assert_true((got != NULL) == (me == 0));
    for (int i = 0; got && i < want->num_cache_steps; i++)
        assert_true(got->cache_steps[i].hit == want->cache_steps[i].hit);
    if (got) assert_true(got->cache_hits == want->cache_hits && got->cache_hits > 0);
    para_result_close(&got);
    para_result_close(&want);
    para_pipeline_close(&pipe);
}

/* Two videos with guidance: texts of other lengths, which process 0 finds, halves and videos shared out, the VAE on all. */
static void two_videos(const char *model, const char *negative_prompt, float true_cfg_scale, int num_frames) {
    para_pipeline *pipe;
    para_world *w;
    para_result *got, *want;
    para_request r = PARA_REQUEST_INIT;
    r.prompt = "a red heart moving left";
    r.negative_prompt = negative_prompt;
    r.true_cfg_scale = true_cfg_scale;
    r.height = 32;
    r.width = 48;
    r.num_frames = num_frames;
    r.num_images = 2;
    r.num_inference_steps = 2;
    r.max_sequence_length = 64;
    r.vae_tiling = true; /* as para_parallelize_vae has it */
    assert_ok(para_world_open(&w, NULL));
    assert_ok(para_pipeline_open(&pipe, w, model, NULL));
    assert_ok(para_generate(pipe, &r, &want));
    para_pipeline_close(&pipe);
    para_world_close(&w);
    assert_ok(para_pipeline_open(&pipe, world, model, NULL));
    assert_ok(para_parallelize(pipe, NULL));
    assert_ok(para_parallelize_vae(pipe, NULL));
    assert_ok(para_generate(pipe, me ? NULL : &r, &got));
    assert_true((got != NULL) == (me == 0));
    int64_t n = para_tensor_count(&want->images);
    assert_int_equal(n, 2 * num_frames * 3 * 32 * 48);
    for (int64_t i = 0; got && i < n; i++)
        if (!(fabs((double)((float *)got->images.data)[i] - (double)((float *)want->images.data)[i]) <= pixel_bound))
            fail_msg("pixel %lld differs", (long long)i);
    para_result_close(&got);
    para_result_close(&want);
    para_pipeline_close(&pipe);
}

static void videos(void **state) {
    (void)state;
    two_videos(PARA_SOURCE_DIR "/tests/golden/hunyuan-video", "x", 2, 9);
    two_videos(PARA_SOURCE_DIR "/tests/golden/mochi-video", NULL, 1, 7); /* the second half has no token */
    two_videos(PARA_SOURCE_DIR "/tests/golden/cogvideox-video-dpm", "x", 1, 9); /* noise at each step */
}

static void *cancel_soon(void *pipe) {
    usleep(50000);
    para_cancel(pipe);
    return NULL;
}

/* Any process may end it. */
static void cancel(void **state) {
    (void)state;
    para_pipeline *pipe = open_pipeline();
    para_request r = request(NULL);
    para_result *result;
    pthread_t thread;
    assert_ok(para_generate(pipe, &r, &result));
    para_result_close(&result);
    r.num_inference_steps = 5000;
    r.sigmas = NULL;
    if (me == all - 1) pthread_create(&thread, NULL, cancel_soon, pipe);
    assert_fails(PARA_ERR_CANCELLED, "cancelled", para_generate(pipe, &r, &result));
    if (me == all - 1) pthread_join(thread, NULL);
    r.num_inference_steps = 2;
    assert_ok(para_generate(pipe, &r, &result));
    para_result_close(&result);
    para_pipeline_close(&pipe);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(others_follow),
        cmocka_unit_test(all_call),
        cmocka_unit_test(what_differs),
        cmocka_unit_test(what_fails_on_one),
        cmocka_unit_test(the_cache_decides_as_on_one_rank), cmocka_unit_test(videos),
        cmocka_unit_test(cancel),
    };
    para_world_options o = PARA_WORLD_OPTIONS_INIT;
    const char *place = getenv("OMPI_COMM_WORLD_RANK") ? getenv("OMPI_COMM_WORLD_RANK") : getenv("RANK");
    o.mpi = true;
    o.timeout = 20;
    o.ranks = o.threads = 1 + (place && atoi(place) % 2); /* 1, 2, 1, 2, … */
    for (int i = 0; i < 3 * TOKENS * CHANNELS; i++) noise[i] = 0.01f * (float)(i * 37 % 211 - 105);
    if (para_world_open(&world, &o) != PARA_OK) {
        fprintf(stderr, "%s\n", para_last_error());
        return 1;
    }
    me = para_world_process(world);
    all = para_world_processes(world);
    int failed = cmocka_run_group_tests(tests, temp_folder_setup, temp_folder_teardown);
    para_world_close(&world);
    return failed;
}
