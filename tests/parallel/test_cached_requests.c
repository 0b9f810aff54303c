/* The First Block Cache over ranks, batches and requests: every item decides as alone on one rank, and nothing stays behind.
 * SPDX-License-Identifier: Apache-2.0 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "cached_machine.h"
#include "sampling.h"

enum { STEPS = 12, PIXELS = 3 * 128 * 128 };

/* Pixels of N ranks against one, and d, relative. Measured: 3.0e-6 and 7.6e-7. */
static const double pixel_bound = 1e-4, difference_bound = 1e-4;
/* A decision nearer to the threshold than this, relative, would be rounding's. */
static const double margin = 1e-3;

static para_request request_of(bool cfg) {
    para_request r = small_request(STEPS, cfg);
    r.seed = 7;
    return r;
}

static double largest(const float *a, const float *b, int64_t n) {
    double worst = 0;
    for (int64_t i = 0; i < n; i++) worst = fmax(worst, fabs((double)a[i] - b[i]));
    return worst;
}

/* The same decisions; the largest relative error of d. */
static double same_decisions(const para_result *got, const para_result *want) {
    double worst = 0;
    assert_int_equal(got->num_cache_steps, want->num_cache_steps);
    for (int i = 0; i < want->num_cache_steps; i++) {
        const para_cache_step *g = &got->cache_steps[i], *w = &want->cache_steps[i];
        assert_true(g->step == w->step && g->picture == w->picture && g->negative == w->negative && g->hit == w->hit);
        assert_true(isnan(g->difference) == isnan(w->difference));
        if (!isnan(w->difference)) worst = fmax(worst, fabs(g->difference / (double)w->difference - 1));
    }
    return worst;
}

/* Otherwise the test would ask rounding. */
static void decisions_are_clear(const para_result *r, const para_cache_options *c) {
    for (int i = 0; i < r->num_cache_steps; i++) {
        double d = r->cache_steps[i].difference, t = c->residual_diff_threshold;
        assert_true(isnan(d) || fabs(d - t) / t > margin);
    }
    assert_true(r->cache_hits > r->num_cache_steps / 5 && r->cache_hits < r->num_cache_steps * 4 / 5);
}

static void ranks_decide_as_one(const para_request *r, const para_cache_options *c, const int (*mesh)[3], int meshes) {
    machine one = open_machine(1, c);
    para_result *want;
    OK(para_generate(one.pipe, r, &want));
    decisions_are_clear(want, c);
    for (int i = 0; i < meshes; i += sample_each(1)) {
        para_parallel_options p = PARA_PARALLEL_OPTIONS_INIT;
        p.batch = mesh[i][0], p.ring = mesh[i][1], p.ulysses = mesh[i][2];
        machine m = open_machine(p.batch * p.ring * p.ulysses, c);
        para_result *got;
        OK(para_parallelize(m.pipe, &p));
        OK(para_generate(m.pipe, r, &got));
        double d = same_decisions(got, want), pixels = largest(got->images.data, want->images.data, PIXELS);
        print_message("  %d x %d x %d%s: %d of %d hits, d differs by %.1e, pixels by %.1e\n", p.batch, p.ring,
                      p.ulysses, c->joint ? " joint" : "", got->cache_hits, got->num_cache_steps, d, pixels);
        assert_true(d <= difference_bound && pixels <= pixel_bound);
        para_result_close(&got);
        close_machine(&m);
    }
    para_result_close(&want);
    close_machine(&one);
}

static void every_mesh_decides_as_one_rank(void **state) {
    (void)state;
    static const int meshes[][3] = {{1, 1, 2}, {1, 2, 1}, {1, 1, 3}, {1, 2, 2}, {1, 5, 1},
                                    {1, 3, 2}, {1, 1, 7}, {1, 2, 4}, {1, 8, 1}};
    para_request r = request_of(false);
    para_cache_options c = cache_of(0.15f);
    ranks_decide_as_one(&r, &c, meshes, sizeof meshes / sizeof *meshes);
    c.taylorseer_derivatives = 2, c.downsample_factor = 3;
    ranks_decide_as_one(&r, &c, meshes + 3, 2);
}

static void halves_decide_as_on_one_rank(void **state) {
    (void)state;
    static const int meshes[][3] = {{2, 1, 1}, {1, 1, 2}, {2, 1, 2}, {1, 2, 2}, {2, 2, 2}};
    para_request r = request_of(true);
    para_cache_options c = cache_of(0.15f);
    ranks_decide_as_one(&r, &c, meshes, 5);
    c.joint = true;
    ranks_decide_as_one(&r, &c, meshes, 5);
}

/* Joint halves hit together, and what they have in common is not what the first has alone. */
static void joint_halves_decide_together(void **state) {
    (void)state;
    para_request r = request_of(true);
    para_cache_options c = cache_of(0.15f);
    machine m = open_machine(1, &c);
    para_result *apart, *joint;
    OK(para_generate(m.pipe, &r, &apart));
    c.joint = true;
    OK(para_apply_first_block_cache(m.pipe, &c));
    OK(para_generate(m.pipe, &r, &joint));
    for (int i = 0; i < joint->num_cache_steps; i += 2) {
        const para_cache_step *s = &joint->cache_steps[i];
        assert_true(!s[0].negative && s[1].negative && s[0].hit == s[1].hit);
        if (i == 0) continue;
        assert_true(s[0].difference == s[1].difference);
    }
    /* At the second step both see the same pictures. */
    float a = apart->cache_steps[2].difference, b = apart->cache_steps[3].difference,
          d = joint->cache_steps[2].difference;
    assert_true(a != b && d > fminf(a, b) && d < fmaxf(a, b));
    para_result_close(&apart);
    para_result_close(&joint);
    close_machine(&m);
}

/* Picture i of a batch is, bit for bit, the one that its latents give alone, wherever in the batch it is. */
static void pictures_of_a_batch_come_out_as_alone(void **state) {
    (void)state;
    static const int orders[][3] = {{0, 1, 2}, {2, 0, 1}};
    enum { TOKENS = 64, CHANNELS = 64, EACH = TOKENS * CHANNELS };
    para_cache_options c = cache_of(0.15f);
    machine m = open_machine(1, &c);
    para_request r = request_of(false);
    float *latents = malloc(3 * EACH * sizeof *latents), *batch = malloc(3 * EACH * sizeof *batch);
    para_tensor given = para_tensor_make(batch, PARA_F32, 3, (int64_t[]){3, TOKENS, CHANNELS});
    para_result *alone[3], *together;
    for (int i = 0; i < 3 * EACH; i++) latents[i] = 1.7f * sinf((float)i * (float)i * 0.37f); /* looks like noise */
    r.latents = &given;
    given.dim[0] = 1;
    for (int i = 0; i < 3; i++) {
        given.data = latents + i * EACH;
        OK(para_generate(m.pipe, &r, &alone[i]));
    }
    given.dim[0] = r.num_images = 3;
    given.data = batch;
    for (int k = 0; k < 2; k++) {
        for (int i = 0; i < 3; i++) memcpy(batch + i * EACH, latents + orders[k][i] * EACH, EACH * sizeof *batch);
        OK(para_generate(m.pipe, &r, &together));
        for (int i = 0; i < 3; i++) {
            const para_result *want = alone[orders[k][i]];
            assert_memory_equal((float *)together->images.data + i * PIXELS, want->images.data, PIXELS * sizeof(float));
            for (int s = 0; s < STEPS; s++)
                assert_int_equal(together->cache_steps[3 * s + i].hit, want->cache_steps[s].hit);
        }
        para_result_close(&together);
    }
    for (int i = 0; i < 3; i++) para_result_close(&alone[i]);
    free(latents), free(batch);
    close_machine(&m);
}

static void cancel_at_step_6(void *user, const para_progress *p) {
    if (strcmp(p->stage, "denoise") == 0 && p->done == 6) para_cancel(user);
}

/* A, B, A and a cancelled request between: both A are the same bits. */
static void nothing_passes_to_the_next_request(void **state) {
    (void)state;
    para_cache_options c = cache_of(0.15f);
    c.taylorseer_derivatives = 1;
    machine m = open_machine(1, &c);
    para_request a = request_of(true), b = request_of(false);
    para_result *first, *other, *again;
    b.prompt = "a red heart", b.seed = 3, b.num_inference_steps = 5;
    OK(para_generate(m.pipe, &a, &first));
    OK(para_generate(m.pipe, &b, &other));
    para_result_close(&other);
    b.on_progress = cancel_at_step_6, b.user = m.pipe, b.num_inference_steps = 9;
    assert_int_equal(para_generate(m.pipe, &b, &other), PARA_ERR_CANCELLED);
    OK(para_generate(m.pipe, &a, &again));
    assert_memory_equal(first->images.data, again->images.data, PIXELS * sizeof(float));
    assert_true(same_decisions(again, first) == 0);
    para_result_close(&first);
    para_result_close(&again);
    close_machine(&m);
}

/* A request has one prompt, so a batch of prompts is so many requests: each comes out, bit for bit, as it does first and alone, whatever was before. */
static void prompts_in_any_order_come_out_as_alone(void **state) {
    (void)state;
    static const char *const prompts[] = {"three small crabs on a turquoise background", "a red heart",
                                          "fox, large, pink background"};
    static const int order[] = {2, 0, 1, 0, 2, 1};
    para_cache_options c = cache_of(0.15f);
    para_request r = request_of(false);
    para_result *alone[3], *again;
    for (int i = 0; i < 3; i++) {
        machine m = open_machine(1, &c);
        r.prompt = prompts[i];
        OK(para_generate(m.pipe, &r, &alone[i]));
        close_machine(&m);
    }
    for (int i = 0; i < 3; i++) assert_true(alone[i]->cache_hits > 0);
    machine m = open_machine(1, &c);
    for (int i = 0; i < 6; i++) {
        r.prompt = prompts[order[i]];
        OK(para_generate(m.pipe, &r, &again));
        assert_memory_equal(again->images.data, alone[order[i]]->images.data, PIXELS * sizeof(float));
        assert_true(same_decisions(again, alone[order[i]]) == 0);
        para_result_close(&again);
    }
    for (int i = 0; i < 3; i++) para_result_close(&alone[i]);
    close_machine(&m);
}

static void threshold_0_is_no_cache(void **state) {
    (void)state;
    machine m = open_machine(1, NULL);
    para_request r = request_of(true);
    para_cache_options c = cache_of(0.0f);
    para_result *without, *off;
    OK(para_generate(m.pipe, &r, &without));
    OK(para_apply_first_block_cache(m.pipe, &c));
    OK(para_generate(m.pipe, &r, &off));
    assert_memory_equal(without->images.data, off->images.data, PIXELS * sizeof(float));
    assert_true(off->num_cache_steps == 0 && off->arena_bytes == without->arena_bytes);
    para_result_close(&without);
    para_result_close(&off);
    close_machine(&m);
}

static void hits_are_bounded(void **state) {
    (void)state;
    para_request r = request_of(false);
    para_cache_options c = cache_of(0.4f);
    c.max_consecutive_hits = 2;
    machine m = open_machine(1, &c);
    para_result *got;
    OK(para_generate(m.pipe, &r, &got));
    int row = 0, longest = 0;
    for (int i = 0; i < got->num_cache_steps; i++) {
        row = got->cache_steps[i].hit ? row + 1 : 0;
        if (row > longest) longest = row;
    }
    assert_int_equal(longest, 2);
    para_result_close(&got);
    c.max_consecutive_hits = -1, c.max_hits = 3;
    OK(para_apply_first_block_cache(m.pipe, &c));
    OK(para_generate(m.pipe, &r, &got));
    assert_int_equal(got->cache_hits, 3);
    para_result_close(&got);
    close_machine(&m);
}

static void bad_options_are_refused_by_name(void **state) {
    (void)state;
    static const int first[] = {0}, beyond[] = {14};
    static const struct {
        const char *word;
        para_cache_options o;
    } bad[] = {
        {"size", {.size = 8}},
        {"--cache)", {sizeof(para_cache_options), -0.1f, -1, 0, -1, -1, 1, 0, false, NULL, 0, 0, 0.1f}},
        {"--cache)", {sizeof(para_cache_options), NAN, -1, 0, -1, -1, 1, 0, false, NULL, 0, 0, 0.1f}},
        {"--cache-negative", {sizeof(para_cache_options), 0.1f, -2, 0, -1, -1, 1, 0, false, NULL, 0, 0, 0.1f}},
        {"--cache-joint", {sizeof(para_cache_options), 0.1f, 0.1f, 0, -1, -1, 1, 0, true, NULL, 0, 0, 0.1f}},
        {"--cache-warmup", {sizeof(para_cache_options), 0.1f, -1, -1, -1, -1, 1, 0, false, NULL, 0, 0, 0.1f}},
        {"--cache-max-consecutive", {sizeof(para_cache_options), 0.1f, -1, 0, -2, -1, 1, 0, false, NULL, 0, 0, 0.1f}},
        {"--cache-max-hits", {sizeof(para_cache_options), 0.1f, -1, 0, -1, 0, 1, 0, false, NULL, 0, 0, 0.1f}},
        {"--cache-downsample", {sizeof(para_cache_options), 0.1f, -1, 0, -1, -1, 0, 0, false, NULL, 0, 0, 0.1f}},
        {"--cache-taylorseer", {sizeof(para_cache_options), 0.1f, -1, 0, -1, -1, 1, 9, false, NULL, 0, 0, 0.1f}},
        {"block 0", {sizeof(para_cache_options), 0.1f, -1, 0, -1, -1, 1, 0, false, first, 1, 0, 0.1f}},
        {"1 to 13", {sizeof(para_cache_options), 0.1f, -1, 0, -1, -1, 1, 0, false, beyond, 1, 0, 0.1f}},
        {"--cache-skip-range", {sizeof(para_cache_options), 0.1f, -1, 0, -1, -1, 1, 0, false, first, 1, 0.5f, 0.5f}},
        {"num_skip_layers", {sizeof(para_cache_options), 0.1f, -1, 0, -1, -1, 1, 0, false, NULL, 1, 0, 0.1f}},
    };
    machine m = open_machine(1, NULL);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        assert_int_equal(para_apply_first_block_cache(m.pipe, &bad[i].o), PARA_ERR_ARGUMENT);
        if (!strstr(para_last_error(), bad[i].word)) fail_msg("%s: %s", bad[i].word, para_last_error());
    }
    para_cache_options c = cache_of(0.1f);
    para_request r = request_of(false);
    para_result *result;
    c.warmup_steps = STEPS;
    OK(para_apply_first_block_cache(m.pipe, &c));
    assert_int_equal(para_generate(m.pipe, &r, &result), PARA_ERR_ARGUMENT);
    assert_non_null(strstr(para_last_error(), "--cache-warmup"));
    close_machine(&m);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_mesh_decides_as_one_rank),
        cmocka_unit_test(halves_decide_as_on_one_rank),
        cmocka_unit_test(joint_halves_decide_together),
        cmocka_unit_test(pictures_of_a_batch_come_out_as_alone),
        cmocka_unit_test(nothing_passes_to_the_next_request),
        cmocka_unit_test(prompts_in_any_order_come_out_as_alone),
        cmocka_unit_test(threshold_0_is_no_cache),
        cmocka_unit_test(hits_are_bounded),
        cmocka_unit_test(bad_options_are_refused_by_name),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
