/* Choosing the cache's threshold for a quality: the pictures have it, on any number of ranks, and what fails changes nothing.
 * SPDX-License-Identifier: Apache-2.0 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "rank_checks.h"

#define MODEL PARA_SOURCE_DIR "/models/tiny-flux"

enum { PIXELS = 3 * 64 * 64 };

#define OK(expr)                                                                                                       \
    do {                                                                                                               \
        if ((expr) != PARA_OK) fail_msg("%s: %s", #expr, para_last_error());                                           \
    } while (0)

static char said[1 << 13]; /* the log */

static void on_log(void *user, para_log_level level, const char *message) {
    (void)user;
    size_t n = strlen(said);
    snprintf(said + n, sizeof said - n, "%d: %s\n", (int)level, message);
}

static void expect_said(const char *text, bool wanted) {
    if ((strstr(said, text) != NULL) != wanted) fail_msg("%s \"%s\": %s", wanted ? "no" : "there is", text, said);
}

typedef struct machine {
    para_world *world;
    para_pipeline *pipe;
} machine;

static machine open_machine(int ranks) {
    machine m;
    para_world_options o = PARA_WORLD_OPTIONS_INIT;
    o.ranks = o.threads = ranks;
    o.log = on_log;
    test_choose_device(&o);
    said[0] = '\0';
    OK(para_world_open(&m.world, &o));
    OK(para_pipeline_open(&m.pipe, m.world, MODEL, NULL));
    if (ranks > 1) OK(para_parallelize(m.pipe, NULL));
    return m;
}

static void close_machine(machine *m) {
    para_pipeline_close(&m->pipe);
    para_world_close(&m->world);
}

static para_request small_request(void) {
    para_request r = PARA_REQUEST_INIT;
    r.prompt = "three small crabs on a turquoise background";
    r.height = r.width = 64;
    r.num_inference_steps = 12;
    r.max_sequence_length = 24;
    r.seed = 7;
    return r;
}

/* The request's picture against that without a cache, which there then is no more. */
static double psnr_of(const machine *m, const para_request *r, int *hits) {
    para_cache_options off = PARA_CACHE_OPTIONS_INIT;
    para_result *cached, *uncached;
    para_quality q;
    off.residual_diff_threshold = 0;
    OK(para_generate(m->pipe, r, &cached));
    OK(para_apply_first_block_cache(m->pipe, &off));
    OK(para_generate(m->pipe, r, &uncached));
    para_tensor a = para_tensor_make(cached->images.data, PARA_F32, 3, &cached->images.dim[1]),
                b = para_tensor_make(uncached->images.data, PARA_F32, 3, &uncached->images.dim[1]);
    OK(para_compare_pictures(&a, &b, &q));
    *hits = cached->cache_hits;
    para_result_close(&cached);
    para_result_close(&uncached);
    return q.psnr;
}

static void the_request_has_the_quality(void **state) {
    (void)state;
    static const double targets[] = {28, 34, 42};
    para_request r = small_request();
    para_cache_calibration_options o = PARA_CACHE_CALIBRATION_OPTIONS_INIT;
    machine m = open_machine(1);
    float before = INFINITY;
    for (int i = 0; i < 3; i++) {
        para_cache_calibration c;
        int hits;
        o.psnr = targets[i];
        OK(para_calibrate_first_block_cache(m.pipe, &r, &o, &c));
        double psnr = psnr_of(&m, &r, &hits);
        print_message("  %g dB: threshold %g after %d trials, %d hits, %.2f dB, worst %.2f, %.2f times\n", targets[i],
                      (double)c.residual_diff_threshold, c.trials, hits, psnr, c.psnr, c.speed_up);
        assert_true(c.residual_diff_threshold > 0 && c.residual_diff_threshold < before && hits > 0);
        assert_true(c.psnr >= targets[i] && psnr >= c.psnr - 1e-9 && c.trials <= o.trials && c.speed_up > 1);
        before = c.residual_diff_threshold;
    }
    expect_said("calibrating the cache for 28 dB: 3 pictures without it", true);
    expect_said("which is too little", true);
    expect_said("chosen: residual_diff_threshold", true);
    expect_said("never hit", false); /* a trial's warnings are not the request's */
    close_machine(&m);
}

/* What else the cache is told holds while it is tried, and after. */
static void the_rest_of_the_cache_stays(void **state) {
    (void)state;
    para_request r = small_request();
    para_cache_options cache = PARA_CACHE_OPTIONS_INIT;
    para_cache_calibration_options o = PARA_CACHE_CALIBRATION_OPTIONS_INIT;
    para_cache_calibration c;
    para_result *result;
    machine m = open_machine(1);
    cache.max_hits = 2;
    o.cache = &cache;
    o.psnr = 5;
    OK(para_calibrate_first_block_cache(m.pipe, &r, &o, &c));
    OK(para_generate(m.pipe, &r, &result));
    assert_int_equal(result->cache_hits, 2);
    para_result_close(&result);
    close_machine(&m);
}

static void too_much_to_ask_is_no_cache(void **state) {
    (void)state;
    para_request r = small_request();
    para_cache_calibration_options o = PARA_CACHE_CALIBRATION_OPTIONS_INIT;
    para_cache_calibration c;
    para_result *result;
    machine m = open_machine(1);
    OK(para_apply_first_block_cache(m.pipe, NULL));
    o.psnr = 150;
    o.pictures = 1;
    OK(para_calibrate_first_block_cache(m.pipe, &r, &o, &c));
    assert_true(c.residual_diff_threshold == 0 && c.trials == o.trials && isinf(c.psnr) && c.speed_up == 1);
    expect_said("there will be no cache", true);
    OK(para_generate(m.pipe, &r, &result));
    assert_int_equal(result->num_cache_steps, 0);
    para_result_close(&result);
    close_machine(&m);
}

static void ranks_choose_as_one(void **state) {
    (void)state;
    para_request r = small_request();
    para_cache_calibration alone, together;
    machine m = open_machine(1);
    OK(para_calibrate_first_block_cache(m.pipe, &r, NULL, &alone));
    close_machine(&m);
    for (int ranks = 2; ranks <= 3; ranks++) {
        m = open_machine(ranks);
        OK(para_calibrate_first_block_cache(m.pipe, &r, NULL, &together));
        print_message("  %d ranks: %.6f dB, one: %.6f dB\n", ranks, together.psnr, alone.psnr);
        assert_true(together.residual_diff_threshold == alone.residual_diff_threshold);
        assert_true(together.trials == alone.trials && fabs(together.psnr - alone.psnr) < 0.01);
        close_machine(&m);
    }
}

/* Counts down the runs, whose denoising begins with step 0. */
typedef struct cancelling {
    para_pipeline *pipe;
    int runs;
} cancelling;

static void cancel_in_time(void *user, const para_progress *p) {
    cancelling *c = user;
    if (strcmp(p->stage, "denoise") == 0 && p->done == 3 && --c->runs == 0) para_cancel(c->pipe);
}

static void a_cancelled_one_leaves_the_cache_as_it_was(void **state) {
    (void)state;
    static const int layers[] = {3};
    para_cache_options cache = PARA_CACHE_OPTIONS_INIT;
    para_request r = small_request(), cancelled = r;
    para_result *first, *again;
    machine m = open_machine(1);
    cache.residual_diff_threshold = 0.15f;
    cache.skip_layers = layers, cache.num_skip_layers = 1;
    OK(para_apply_first_block_cache(m.pipe, &cache));
    OK(para_generate(m.pipe, &r, &first));
    for (int runs = 1; runs <= 3; runs++) { /* without a cache, and with the first two thresholds */
        cancelling how = {m.pipe, runs};
        para_cache_calibration c;
        cancelled.on_progress = cancel_in_time;
        cancelled.user = &how;
        assert_int_equal(para_calibrate_first_block_cache(m.pipe, &cancelled, NULL, &c), PARA_ERR_CANCELLED);
        OK(para_generate(m.pipe, &r, &again));
        assert_true(again->cache_hits == first->cache_hits && again->cache_hits > 0);
        assert_memory_equal(again->images.data, first->images.data, PIXELS * sizeof(float));
        para_result_close(&again);
    }
    para_result_close(&first);
    close_machine(&m);
}

static void refused(para_pipeline *pipe, const para_request *r, const para_cache_calibration_options *o,
                    const char *text) {
    para_cache_calibration c;
    assert_int_equal(para_calibrate_first_block_cache(pipe, r, o, &c), PARA_ERR_ARGUMENT);
    if (!strstr(para_last_error(), text)) fail_msg("no \"%s\" in: %s", text, para_last_error());
}

static void bad_options_are_refused(void **state) {
    (void)state;
    static const double bad[] = {0, -32, NAN, INFINITY};
    para_request r = small_request();
    para_cache_options cache = PARA_CACHE_OPTIONS_INIT;
    para_cache_calibration_options o;
    machine m = open_machine(1);
    for (int i = 0; i < 4; i++) {
        o = (para_cache_calibration_options)PARA_CACHE_CALIBRATION_OPTIONS_INIT;
        o.psnr = bad[i];
        refused(m.pipe, &r, &o, "psnr (--cache-psnr) is ");
    }
    o = (para_cache_calibration_options)PARA_CACHE_CALIBRATION_OPTIONS_INIT;
    o.pictures = 0;
    refused(m.pipe, &r, &o, "pictures is 0");
    o.pictures = 1, o.trials = 0;
    refused(m.pipe, &r, &o, "trials 0");
    o.trials = 1, o.cache = &cache;
    cache.warmup_steps = 12;
    refused(m.pipe, &r, &o, "leaves none of the 12 steps");
    cache.warmup_steps = 0, cache.downsample_factor = 0;
    refused(m.pipe, &r, &o, "downsample_factor");
    cache = (para_cache_options)PARA_CACHE_OPTIONS_INIT;
    r.prompt = NULL;
    refused(m.pipe, &r, &o, "prompt");
    refused(m.pipe, NULL, &o, "must not be NULL");
    refused(NULL, &r, &o, "must not be NULL");
    o.size = 8;
    refused(m.pipe, &r, &o, "options.size is 8");
    close_machine(&m);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_request_has_the_quality),
        cmocka_unit_test(the_rest_of_the_cache_stays),
        cmocka_unit_test(too_much_to_ask_is_no_cache),
        cmocka_unit_test(ranks_choose_as_one),
        cmocka_unit_test(a_cancelled_one_leaves_the_cache_as_it_was),
        cmocka_unit_test(bad_options_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
