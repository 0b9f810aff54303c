/* Two ranks whose steps are recorded as one, on one GPU and on two: to the bit what ops one by one give, and as many bytes; requests after failures;
 * memory that is freed behind a gather. Wants PARA_TEST_DEVICE, "cuda" or "cuda:N,M". SPDX-License-Identifier: Apache-2.0 */
#include <paraattn/paraattn.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "core/error.h"
#include "parallel/same_results.h"
#include "pipeline/pipeline_state.h"
#include "test_device.h"

#define OK(call) check_ok((call), #call)

static void check_ok(para_status status, const char *call) {
    if (status != PARA_OK) fail_msg("%s: %s", call, para_last_error());
}

enum { RANKS = 2 };

typedef struct setting {
    const char *name;
    para_dtype dtype;
    int ring, ulysses, batch;
    para_exchange_way exchange;
    float cfg, threshold;
    int steps;
    bool tunes;
} setting;

static para_world *world;
static para_pipeline *pipe;

/* ---- the GPUs' tables: counted, and failing on request */

static const para_ops *own;
static para_ops table;
static atomic_int recorded, played, attended; /* recordings that were made, plays, calls of attention */
static int attention_fails, play_fails;       /* the n-th from 1; 0: none */
static int cancel_at;                         /* step; 0: none */

static para_status counted_record_end(para_device *dev, para_recording **out) {
    para_status status = own->record_end(dev, out);
    if (out && status == PARA_OK) atomic_fetch_add(&recorded, 1);
    return status;
}

static para_status counted_play(para_device *dev, const para_recording *recording) {
    if (atomic_fetch_add(&played, 1) + 1 == play_fails) return para_fail(PARA_ERR_DEVICE, "the play failed");
    return own->play(dev, recording);
}

static para_status counted_attention(para_device *dev, const para_attention_args *a) {
    if (atomic_fetch_add(&attended, 1) + 1 == attention_fails)
        return para_fail(PARA_ERR_DEVICE, "the attention failed");
    return own->attention(dev, a);
}

static void on_log(void *user, para_log_level level, const char *message) {
    (void)user;
    if (level == PARA_LOG_WARNING) print_message("%s\n", message);
}

static void on_progress(void *user, const para_progress *p) {
    (void)user;
    if (cancel_at && strcmp(p->stage, "denoise") == 0 && p->done == cancel_at) para_cancel(pipe);
}

static void open_on(const int *gpu) {
    para_world_options w = PARA_WORLD_OPTIONS_INIT;
    w.device = PARA_CUDA;
    w.ranks = w.num_device_indices = RANKS;
    w.device_indices = gpu;
    w.device_index = gpu[0];
    w.log = on_log;
    w.timeout = 60;
    OK(para_world_open(&world, &w));
    own = world->worker[0].rank.device->ops;
    table = *own;
    table.record_end = counted_record_end;
    table.play = counted_play;
    table.attention = counted_attention;
    for (int i = 0; i < RANKS; i++) world->worker[i].rank.device->ops = &table;
}

static void close_world(void) {
    for (int i = 0; i < RANKS; i++) world->worker[i].rank.device->ops = own;
    para_world_close(&world);
}

static void open_pipeline(const setting *s) {
    para_pipeline_options o = PARA_PIPELINE_OPTIONS_INIT;
    para_cache_options cache = PARA_CACHE_OPTIONS_INIT;
    para_parallel_options p = PARA_PARALLEL_OPTIONS_INIT;
    o.dtype = s->dtype;
    p.batch = s->batch, p.ring = s->ring, p.ulysses = s->ulysses, p.exchange = s->exchange;
    cache.residual_diff_threshold = s->threshold;
    OK(para_pipeline_open(&pipe, world, PARA_SOURCE_DIR "/models/tiny-flux", &o));
    OK(para_parallelize(pipe, &p));
    if (s->threshold > 0) OK(para_apply_first_block_cache(pipe, &cache));
}

static para_status draw(const setting *s, bool compiled, para_result **out) {
    para_compile_options c = PARA_COMPILE_OPTIONS_INIT;
    para_request r = PARA_REQUEST_INIT;
    c.no_recording = !compiled;
    c.no_tuning = !s->tunes; /* either way both sides take the same kernels */
    r.prompt = "a red heart on a blue background";
    r.negative_prompt = s->cfg > 1 ? "a green tree" : NULL;
    r.true_cfg_scale = s->cfg;
    r.num_inference_steps = s->steps;
    r.latents_only = true;
    r.on_progress = on_progress;
    OK(para_compile(pipe, &c));
    recorded = played = attended = 0;
    return para_generate(pipe, &r, out);
}

static para_result *drawn(const setting *s, bool compiled) {
    para_result *result = NULL;
    if (draw(s, compiled, &result) != PARA_OK)
        fail_msg("%s, %s: %s", s->name, compiled ? "compiled" : "op by op", para_last_error());
    return result;
}

static void as_op_by_op(void) {
    static const setting settings[] = {
        {"ulysses 2, f32", PARA_F32, 1, 2, 1, PARA_EXCHANGE_COPY, 1, 0, 4, false},
        {"ulysses 2, bf16", PARA_BF16, 1, 2, 1, PARA_EXCHANGE_COPY, 1, 0, 4, false},
        {"ulysses 2, bf16, tuned", PARA_BF16, 1, 2, 1, PARA_EXCHANGE_COPY, 1, 0, 4, true},
        {"ulysses 2, bf16, direct", PARA_BF16, 1, 2, 1, PARA_EXCHANGE_DIRECT, 1, 0, 4, false},
        {"ring 2, bf16", PARA_BF16, 2, 1, 1, PARA_EXCHANGE_COPY, 1, 0, 4, false},
        {"ring 2, f32, CFG", PARA_F32, 2, 1, 1, PARA_EXCHANGE_COPY, 3, 0, 4, false},
        {"ulysses 2, bf16, cache", PARA_BF16, 1, 2, 1, PARA_EXCHANGE_COPY, 1, 0.3f, 10, false},
        {"ring 2, f32, cache, CFG", PARA_F32, 2, 1, 1, PARA_EXCHANGE_COPY, 3, 0.3f, 10, false},
    };
    for (size_t i = 0; i < sizeof settings / sizeof *settings; i++) {
        const setting *s = &settings[i];
        open_pipeline(s);
        para_result *a = drawn(s, false);
        assert_int_equal(played, 0);
        para_result *b = drawn(s, true);
        same_results(s->name, a, b);
        print_message("%s: %d recordings, %d times played, %d hits, %lld bytes\n", s->name, recorded, played,
                      b->cache_hits, (long long)b->exchanged_bytes);
        assert_true(a->exchanged_bytes > 0 && recorded > 0 && played > 0);
        if (s->threshold == 0) assert_int_equal(played, (s->cfg > 1 ? 2 : 1) * (s->steps - 2));
        else assert_true(b->cache_hits > 0);
        para_result_close(&a);
        para_result_close(&b);
        para_pipeline_close(&pipe);
    }
}

/* A rank fails in the first steps, while they record, and when they play; a request is cancelled; the next one is as ever. */
static void after_failures(void) {
    static const setting s = {"failures", PARA_BF16, 2, 1, 1, PARA_EXCHANGE_COPY, 1, 0, 4, false};
    open_pipeline(&s);
    para_result *a = drawn(&s, false), *b = drawn(&s, true);
    int calls = attended; /* of two steps, and of the recording */
    same_results(s.name, a, b);
    para_result_close(&b);
    for (int i = 0; i < 8; i++) {
        para_result *none = NULL;
        attention_fails = i < 6 ? 1 + i * (calls - 1) / 5 : 0;
        play_fails = i == 6 ? 2 : 0;
        cancel_at = i == 7 ? 2 : 0;
        para_status status = draw(&s, true, &none);
        const char *sentence = cancel_at ? "cancelled" : play_fails ? "the play failed" : "the attention failed";
        if (status != (cancel_at ? PARA_ERR_CANCELLED : PARA_ERR_DEVICE) || !strstr(para_last_error(), sentence))
            fail_msg("failure %d: %s: %s", i, para_status_name(status), para_last_error());
        attention_fails = play_fails = cancel_at = 0;
        b = drawn(&s, true);
        same_results(s.name, a, b);
        para_result_close(&b);
    }
    print_message("requests after 8 failures, 6 of them among %d calls of attention, are as ever\n", calls);
    para_result_close(&a);
    para_pipeline_close(&pipe);
}

static int first_gpu, second_gpu; /* second_gpu -1: there is none */

/* As a trace gathers a stage: in memory that is freed as soon as copies into it are started, while the other GPU is still at what they will copy. */
static para_status gather_and_free(para_rank *rank, void *unused) {
    para_device *dev = rank->device;
    para_comm comm = para_world_comm(rank);
    const int64_t rows = 2048, columns = 8192;
    para_tensor part, other, parts[RANKS];
    (void)unused;
    PARA_TRY(PARA_NEW(dev, &part, PARA_BF16, rows, columns));
    PARA_TRY(PARA_NEW(dev, &other, PARA_BF16, rows, columns));
    for (int round = 0; round < 40; round++) {
        para_tensor whole = para_tensor_make(NULL, PARA_BF16, 2, (int64_t[]){RANKS * rows, columns});
        para_exchange x;
        for (int i = 0; round % RANKS == rank->index && i < 200; i++) PARA_TRY(dev->ops->copy(dev, i % 2 ? part : other, i % 2 ? other : part));
        PARA_TRY(dev->ops->alloc(dev, (size_t)para_tensor_count(&whole) * 2, &whole.data));
        for (int i = 0; i < RANKS; i++) parts[i] = para_slice(whole, 0, i * rows, rows);
        para_status status = para_comm_all_gather(comm, part, parts, &x);
        if (status == PARA_OK) status = para_comm_wait(&x);
        dev->ops->free(dev, whole.data);
        PARA_TRY(status);
    }
    return PARA_OK;
}

static void gathered_and_freed(void **state) {
    (void)state;
    open_on((int[]){first_gpu, second_gpu < 0 ? first_gpu : second_gpu});
    OK(para_world_run(world, gather_and_free, NULL));
    OK(para_world_run(world, gather_and_free, NULL)); /* would find what the first left */
    close_world();
}

static void both_on_one_gpu(void **state) {
    (void)state;
    open_on((int[]){first_gpu, first_gpu});
    as_op_by_op();
    after_failures();
    close_world();
}

static void on_two_gpus(void **state) {
    (void)state;
    if (second_gpu < 0) skip();
    open_on((int[]){first_gpu, second_gpu});
    as_op_by_op();
    after_failures();
    close_world();
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(gathered_and_freed), cmocka_unit_test(both_on_one_gpu),
                                       cmocka_unit_test(on_two_gpus)};
    para_world_options w = PARA_WORLD_OPTIONS_INIT;
    w.ranks = 2;
    test_choose_device(&w);
    if (w.device != PARA_CUDA) {
        printf("skipped: PARA_TEST_DEVICE names no GPU\n");
        return 77;
    }
    first_gpu = w.device_indices[0], second_gpu = w.device_indices[1];
    if (second_gpu == first_gpu) second_gpu = para_cuda_count() > 1 ? (first_gpu == 0 ? 1 : 0) : -1;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
