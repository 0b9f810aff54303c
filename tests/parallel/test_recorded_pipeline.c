/* Requests whose steps ranks record as one, on CPUs that record: pictures, decisions and bytes are those of ops one by one, to the bit. SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>

#include <paraattn/bench.h>

#include "pipeline/pipeline_state.h"
#include "rank_checks.h"
#include "recording_device.h"
#include "same_results.h"
#include "sampling.h"

enum { RANKS = 4 };

typedef struct setting {
    const char *name;
    int batch, ring, ulysses; /* 0: 1 */
    int head_groups;
    para_exchange_way exchange;
    float cfg, threshold;
    int images; /* 0: 1 */
    int derivatives;
    bool joint;
    int steps;
    const char *model; /* NULL: models/tiny-flux */
    int frames;        /* of a video's */
} setting;

static setting filled(setting s) {
    int *one[] = {&s.batch, &s.ring, &s.ulysses, &s.images};
    for (size_t i = 0; i < sizeof one / sizeof *one; i++)
        if (*one[i] == 0) *one[i] = 1;
    return s;
}

static int ranks_of(const setting *s) {
    return s->batch * s->ring * s->ulysses;
}

static para_world *world;
static para_pipeline *pipe;

static int cancel_at;

static void on_progress(void *user, const para_progress *p) {
    (void)user;
    if (cancel_at > 0 && strcmp(p->stage, "denoise") == 0 && p->done == cancel_at) para_cancel(pipe);
}

static void open_all(const setting *s) {
    para_device *dev[RANKS];
    int ranks = ranks_of(s);
    para_parallel_options o = PARA_PARALLEL_OPTIONS_INIT;
    para_cache_options cache = PARA_CACHE_OPTIONS_INIT;
    world = open_world(ranks, 60);
    for (int i = 0; i < ranks; i++) dev[i] = world->worker[i].rank.device;
    recorders_begin(ranks, dev);
    o.batch = s->batch, o.ring = s->ring, o.ulysses = s->ulysses, o.head_groups = s->head_groups,
    o.exchange = s->exchange;
    cache.residual_diff_threshold = s->threshold, cache.taylorseer_derivatives = s->derivatives, cache.joint = s->joint;
    const char *model = s->model ? s->model : PARA_SOURCE_DIR "/models/tiny-flux";
    para_status status = para_pipeline_open(&pipe, world, model, NULL);
    if (status == PARA_OK) status = para_parallelize(pipe, &o);
    if (status == PARA_OK && s->threshold > 0) status = para_apply_first_block_cache(pipe, &cache);
    if (status != PARA_OK) fail_msg("%s: %s", s->name, para_last_error());
}

static void close_all(void) {
    para_pipeline_close(&pipe);
    recorders_end();
    para_world_close(&world);
}

static para_status draw(const setting *s, bool compiled, bool profile, para_result **out) {
    para_request r = PARA_REQUEST_INIT;
    r.prompt = "a red heart on a blue background";
    r.negative_prompt = s->cfg > 1 ? "a green tree" : NULL;
    if (s->cfg > 0) r.true_cfg_scale = s->cfg;
    r.width = r.height = 64;
    if (s->frames) r.num_frames = s->frames;
    r.max_sequence_length = s->model ? 14 : 16; /* the small CogVideoX models take no other number */
    r.num_inference_steps = s->steps;
    r.num_images = s->images;
    r.latents_only = true;
    r.profile = profile;
    r.on_progress = on_progress;
    pipe->compiled = pipe->compiled_ranks = compiled; /* para_compile wants a GPU */
    recorders.played = recorders.recorded = 0;
    return para_generate(pipe, &r, out);
}

static para_result *drawn(const setting *s, bool compiled, bool profile) {
    para_result *result;
    if (draw(s, compiled, profile, &result) != PARA_OK) fail_msg("%s: %s", s->name, para_last_error());
    recorders_check();
    return result;
}

static void same(const setting *s, const para_result *a, const para_result *b) {
    same_results(s->name, a, b);
    if (a->exchanged_bytes == 0 && ranks_of(s) > 1) fail_msg("%s: nothing was exchanged", s->name);
}

/* At least so many parts of a request are played: without a cache all steps but two. */
static int least_played(const setting *s, const para_result *result) {
    int parts = s->images * (s->cfg > 1 ? 2 : 1);
    return s->threshold > 0 ? result->cache_hits > 0 ? s->steps - 2 : 0 : parts * (s->steps - 2);
}

static void check_all(const setting *settings, size_t count) {
    for (size_t i = 0; i < count; i += (size_t)sample_each(1)) {
        const setting now = filled(settings[i]), *s = &now;
        open_all(s);
        para_result *a = drawn(s, false, false);
        assert_int_equal(recorders.recorded + recorders.played, 0);
        para_result *b = drawn(s, true, false);
        same(s, a, b);
        if (s->threshold > 0 && a->cache_hits == 0) fail_msg("%s: the cache never hit", s->name);
        print_message("%s: %d parts played, %d ops recorded, %d hits\n", s->name, (int)recorders.played,
                      (int)recorders.recorded, a->cache_hits);
        if (recorders.played < least_played(s, a))
            fail_msg("%s: only %d parts were played", s->name, (int)recorders.played);
        para_result_close(&a);
        para_result_close(&b);
        close_all();
    }
}

static void as_op_by_op(void **unused) {
    static const setting settings[] = {
        {"ulysses 2, direct", .ulysses = 2, .exchange = PARA_EXCHANGE_DIRECT, .steps = 4},
        {"ulysses 2", .ulysses = 2, .steps = 4},
        {"ulysses 2, two groups of heads", .ulysses = 2, .head_groups = 2, .steps = 4},
        {"ring 2, ulysses 2, direct", .ring = 2, .ulysses = 2, .exchange = PARA_EXCHANGE_DIRECT, .steps = 3},
        {"ring 2", .ring = 2, .steps = 4},
        {"ring 3, cache", .ring = 3, .threshold = 0.3f, .steps = 8},
        {"batch 2, ulysses 2, cache, halves together", .batch = 2, .ulysses = 2, .exchange = PARA_EXCHANGE_DIRECT, .cfg = 3, .threshold = 0.3f,
         .joint = true, .steps = 8},
        {"ulysses 2, cache, TaylorSeer, CFG", .ulysses = 2, .cfg = 3, .threshold = 0.3f, .derivatives = 1, .steps = 8},
        {"batch 2, ulysses 2, CFG, three pictures", .batch = 2, .ulysses = 2, .cfg = 3, .images = 3, .steps = 3},
    };
    (void)unused;
    check_all(settings, sizeof settings / sizeof *settings);
}

#define GOLDEN PARA_SOURCE_DIR "/tests/golden/"

static void videos(void **unused) {
    static const setting settings[] = {
        {"HunyuanVideo", .steps = 4, .model = GOLDEN "hunyuan-video", .frames = 9},
        {"HunyuanVideo, ulysses 2", .ulysses = 2, .steps = 4, .model = GOLDEN "hunyuan-video", .frames = 9},
        {"Mochi", .steps = 4, .model = GOLDEN "mochi-video", .frames = 7},
        {"Mochi, ring 2", .ring = 2, .steps = 4, .model = GOLDEN "mochi-video", .frames = 7},
        {"CogVideoX, DDIM", .steps = 4, .model = GOLDEN "cogvideox-video", .frames = 9},
        {"CogVideoX, DPM, ulysses 2", .ulysses = 2, .steps = 4, .model = GOLDEN "cogvideox-video-dpm", .frames = 9},
    };
    (void)unused;
    check_all(settings, sizeof settings / sizeof *settings);
}

/* The last step of a profiled request is not played, by any rank. */
static void profiled(void **unused) {
    const setting s = filled((setting){"profiled", .ulysses = 2, .steps = 4});
    (void)unused;
    open_all(&s);
    para_result *a = drawn(&s, false, false), *b = drawn(&s, true, true);
    same(&s, a, b);
    assert_int_equal(recorders.played, 1);
    assert_true(b->num_step_ops > 0);
    para_result_close(&a);
    para_result_close(&b);
    close_all();
}

/* Steps without what ranks exchange: as much is recorded and played, nothing is sent, and the next request is as ever. */
static void exchange_left_out(void **unused) {
    static const setting settings[] = {
        {"ulysses 2, direct", .ulysses = 2, .exchange = PARA_EXCHANGE_DIRECT, .steps = 4},
        {"ulysses 4, copy", .ulysses = 4, .exchange = PARA_EXCHANGE_COPY, .steps = 4},
        {"ring 2, ulysses 2", .ring = 2, .ulysses = 2, .exchange = PARA_EXCHANGE_DIRECT, .steps = 4},
        {"ring 3", .ring = 3, .steps = 4},
        {"batch 2, CFG", .batch = 2, .cfg = 3, .steps = 4},
    };
    (void)unused;
    for (size_t i = 0; i < sizeof settings / sizeof *settings; i += (size_t)sample_each(1)) {
        const setting now = filled(settings[i]), *s = &now;
        open_all(s);
        para_result *a = drawn(s, true, false);
        int played = recorders.played;
        for (int compiled = 0; compiled < 2; compiled++) {
            para_bench_leave_out_exchange(pipe, true);
            para_result *b = drawn(s, compiled, false);
            assert_int_equal(b->exchanged_bytes, 0);
            assert_int_equal(recorders.played, compiled ? played : 0);
            para_result_close(&b);
        }
        para_bench_leave_out_exchange(pipe, false);
        para_result *c = drawn(s, true, false);
        same(s, a, c);
        para_result_close(&a);
        para_result_close(&c);
        close_all();
    }
}

/* Three ranks do not share 64 x 64 pixels evenly: what one would store has no room at home. */
static void unevenly_left_out(void **unused) {
    const setting s = filled((setting){"ulysses 3, direct", .ulysses = 3, .exchange = PARA_EXCHANGE_DIRECT, .steps = 2});
    para_result *none = NULL;
    (void)unused;
    open_all(&s);
    para_result *a = drawn(&s, false, false);
    para_bench_leave_out_exchange(pipe, true);
    assert_int_equal(draw(&s, false, false, &none), PARA_ERR_ARGUMENT);
    assert_non_null(strstr(para_last_error(), "share evenly, or --exchange copy"));
    para_bench_leave_out_exchange(pipe, false);
    para_result *b = drawn(&s, false, false);
    same(&s, a, b);
    para_result_close(&a);
    para_result_close(&b);
    close_all();
}

/* After a request that fails, or is cancelled, while ranks record or play, the next one is as ever. */
static void after_failures(void **unused) {
    const setting s = filled((setting){"failures", .ring = 2, .steps = 4});
    static const struct {
        moment at;
        int from, step;
    } cases[] = {{AT_RECORD, 0, 1},  {AT_OP, 150, 37}, {AT_FETCH, 20, 9}, {AT_MARK, 40, 31},
                 {AT_AFTER, 30, 41}, {AT_END, 0, 1},   {AT_PLAY, 1, 1}};
    (void)unused;
    open_all(&s);
    para_result *a = drawn(&s, false, false);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i += (size_t)sample_each(1))
        for (int who = 0, n = cases[i].from; who < 2; who++, n += cases[i].step) {
            para_result *failed = NULL;
            recorders.at = cases[i].at, recorders.who = who, recorders.fails = PARA_ERR_DEVICE;
            recorders.happened = -n;
            para_status status = draw(&s, true, false, &failed);
            bool happened = recorders.happened > 0;
            recorders.at = NEVER;
            recorders_check();
            para_result_close(&failed);
            if (happened != (status == PARA_ERR_DEVICE))
                fail_msg("%s: %s: %s", moment_names[cases[i].at], para_status_name(status), para_last_error());
            if (!happened && who == 0) fail_msg("%s: nothing happened", moment_names[cases[i].at]);
            para_result *b = drawn(&s, true, false);
            same(&s, a, b);
            para_result_close(&b);
        }
    for (cancel_at = 1; cancel_at < s.steps; cancel_at++) {
        para_result *none = NULL;
        int at = cancel_at;
        assert_int_equal(draw(&s, true, false, &none), PARA_ERR_CANCELLED);
        recorders_check();
        cancel_at = 0;
        para_result *b = drawn(&s, true, false);
        same(&s, a, b);
        para_result_close(&b);
        cancel_at = at;
    }
    cancel_at = 0;
    para_result_close(&a);
    close_all();
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(as_op_by_op), cmocka_unit_test(videos), cmocka_unit_test(profiled),
                                       cmocka_unit_test(exchange_left_out), cmocka_unit_test(unevenly_left_out),
                                       cmocka_unit_test(after_failures)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
