/* A request's on_frame on one rank and on three with a parallel VAE: the frames of the result, in order, while it decodes; progress; failures and cancelling
 * in between. SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>

#include "rank_checks.h"

#define MODEL PARA_SOURCE_DIR "/tests/golden/hunyuan-video"

enum { FRAMES = 33, VIDEOS = 2, ALL = VIDEOS * FRAMES };

/* What a request's callbacks see. */
typedef struct watch {
    para_pipeline *pipe;
    const float *wanted;            /* [ALL, 3, height, width], or NULL */
    int frames, cancel_at, fail_at; /* handed out; 0: never */
    int decoded;                    /* as the progress says */
} watch;

static para_status on_frame(void *user, int image, int frame, const para_tensor *pixels) {
    watch *w = user;
    size_t values = (size_t)para_tensor_count(pixels);
    assert_int_equal(image * FRAMES + frame, w->frames);
    assert_int_equal(w->decoded, w->frames); /* of those before it was told already */
    if (w->wanted) assert_memory_equal(pixels->data, w->wanted + (size_t)w->frames * values, values * sizeof(float));
    w->frames++;
    if (w->frames == w->cancel_at) para_cancel(w->pipe);
    return w->frames == w->fail_at ? PARA_ERR_IO : PARA_OK;
}

static void on_progress(void *user, const para_progress *p) {
    watch *w = user;
    if (strcmp(p->stage, "decode") != 0) return;
    assert_int_equal(p->total, ALL);
    if (p->done > 0) assert_int_equal(p->done, w->decoded + 1);
    w->decoded = p->done;
}

static para_request request(watch *w) {
    para_request r = PARA_REQUEST_INIT;
    r.prompt = "a red heart";
    r.width = 48;
    r.height = 32;
    r.num_frames = FRAMES;
    r.num_images = VIDEOS;
    r.num_inference_steps = 1;
    r.on_progress = on_progress;
    r.user = w;
    return r;
}

static void frames_on(int ranks) {
    para_world *world = open_world(ranks, 60);
    watch w = {0};
    para_result *whole, *result;
    assert_int_equal(para_pipeline_open(&w.pipe, world, MODEL, NULL), PARA_OK);
    if (ranks > 1) {
        assert_int_equal(para_parallelize(w.pipe, NULL), PARA_OK);
        assert_int_equal(para_parallelize_vae(w.pipe, NULL), PARA_OK);
    }
    para_request r = request(&w);
    assert_int_equal(para_generate(w.pipe, &r, &whole), PARA_OK);
    assert_int_equal(w.decoded, ALL);
    w.decoded = 0;
    w.wanted = whole->images.data;
    r.on_frame = on_frame;
    assert_int_equal(para_generate(w.pipe, &r, &result), PARA_OK);
    assert_true(w.frames == ALL && w.decoded == ALL && !result->images.data);
    assert_int_equal(result->arena_bytes, whole->arena_bytes);
    para_result_close(&result);

    w.frames = w.decoded = 0;
    w.cancel_at = FRAMES + 14; /* in the middle of the frames that a tile in time gives */
    assert_int_equal(para_generate(w.pipe, &r, &result), PARA_ERR_CANCELLED);
    assert_int_equal(w.frames, w.cancel_at);
    w.frames = w.decoded = w.cancel_at = 0;
    w.fail_at = 20;
    assert_int_equal(para_generate(w.pipe, &r, &result), PARA_ERR_IO);
    assert_int_equal(w.frames, w.fail_at);
    w.frames = w.decoded = w.fail_at = 0;
    assert_int_equal(para_generate(w.pipe, &r, &result), PARA_OK); /* the world is as before */
    assert_int_equal(w.frames, ALL);
    para_result_close(&result);
    para_result_close(&whole);
    para_pipeline_close(&w.pipe);
    para_world_close(&world);
}

static void on_one_rank(void **state) {
    (void)state;
    frames_on(1);
}

static void on_three_ranks(void **state) {
    (void)state;
    frames_on(3);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(on_one_rank),
        cmocka_unit_test(on_three_ranks),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
