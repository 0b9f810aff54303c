/* First Block Cache and TaylorSeer on a transformer whose blocks are sums. SPDX-License-Identifier: Apache-2.0 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#include "parallel/mesh.h"
#include "step/first_block_cache.h"

enum { TOKENS = 3, TEXT = 2, WIDTH = 5, BLOCKS = 4 };

#define OK(expr)                                                                                                       \
    do {                                                                                                               \
        if ((expr) != PARA_OK) fail_msg("%s: %s", #expr, para_last_error());                                           \
    } while (0)

/* Block i adds added[i] to every element; `ran` counts its calls. */
typedef struct sums {
    para_transformer base;
    float added[BLOCKS];
    int ran[BLOCKS];
} sums;

static para_status sums_embed(para_transformer *t, para_rank *rank, para_item *item, para_tensor latents) {
    (void)t;
    return rank->device->ops->copy(rank->device, para_item_hidden_states(item), latents);
}

static int sums_blocks(const para_transformer *t) {
    (void)t;
    return BLOCKS;
}

static para_status sums_block(para_transformer *t, para_rank *rank, para_item *item, int i) {
    sums *s = (sums *)t;
    (void)rank;
    float *x = item->residual_stream.data;
    for (int k = 0; k < (TOKENS + TEXT) * WIDTH; k++) x[k] += s->added[i];
    s->ran[i]++;
    return PARA_OK;
}

static para_status sums_head(para_transformer *t, para_rank *rank, para_item *item, para_tensor out) {
    (void)t;
    return rank->device->ops->copy(rank->device, out, para_item_hidden_states(item));
}

static const para_transformer_table sums_table = {
    .class_name = "Sums", .embed = sums_embed, .num_blocks = sums_blocks, .block = sums_block, .head = sums_head};

/* One item of one rank, with a cache. */
typedef struct fixture {
    sums t;
    para_rank rank;
    para_conditioning conditioning;
    para_item item;
    para_cache_options options;
    para_first_block_cache cache;
    para_cache_slot slot;
    para_tensor latents, out;
} fixture;

static const para_mesh alone = {1, 1, 1};

static para_cache_options options_with(float threshold) {
    para_cache_options o = PARA_CACHE_OPTIONS_INIT;
    o.residual_diff_threshold = threshold;
    return o;
}

static void fixture_open(fixture *f, para_cache_options options, int steps, bool negative) {
    para_device *dev;
    *f = (fixture){.options = options,
                   .t = {.base = {.table = &sums_table, .inner_dim = WIDTH}, .added = {1, 10, 100, 1000}}};
    f->conditioning.dtype = PARA_F32;
    f->conditioning.shard = (para_shard){.tokens = {TOKENS, TEXT}, .total = {TOKENS, TEXT}, .mesh = &alone};
    OK(para_cpu_open(&dev, 1));
    OK(para_device_reserve(dev, 1 << 20));
    OK(para_rank_open(&f->rank, dev, NULL));
    OK(PARA_NEW(dev, &f->latents, PARA_F32, TOKENS, WIDTH));
    OK(PARA_NEW(dev, &f->out, PARA_F32, TOKENS, WIDTH));
    memset(f->latents.data, 0, TOKENS * WIDTH * sizeof(float));
    OK(para_item_open(&f->rank, &f->t.base, &f->conditioning, NULL, &f->item));
    memset(f->item.residual_stream.data, 0, (TOKENS + TEXT) * WIDTH * sizeof(float));
    OK(para_cache_open(&f->cache, &f->options, &f->rank, &f->t.base, steps, &f->conditioning));
    OK(para_cache_slot_open(&f->cache, &f->conditioning, negative, &f->slot));
}

static void fixture_close(fixture *f) {
    para_cache_close(&f->cache);
    para_rank_close(&f->rank);
}

/* Runs a step; what comes out, which is the same everywhere. */
static float run_step(fixture *f, int step, para_cache_decision *d) {
    f->item.step = step;
    OK(para_cache_forward(&f->cache, &f->slot, &f->item, f->latents, f->out, d));
    const float *y = f->out.data;
    for (int i = 1; i < TOKENS * WIDTH; i++) assert_true(y[i] == y[0]);
    return y[0];
}

static void a_hit_adds_what_the_last_computed_step_added(void **state) {
    (void)state;
    fixture f;
    para_cache_decision d;
    fixture_open(&f, options_with(0.25f), 8, false);
    assert_true(run_step(&f, 0, &d) == 1111 && isnan(d.difference) && !d.hit);
    f.t.added[0] = 1.125f, f.t.added[1] = 20;
    assert_true(run_step(&f, 1, &d) == 1111.125f && d.difference == 0.125f && d.hit);
    assert_true(f.t.ran[0] == 2 && f.t.ran[1] == 1 && f.t.ran[3] == 1);
    f.t.added[0] = 1.25f; /* against 1, not 1.125 */
    assert_true(run_step(&f, 2, &d) == 1121.25f && d.difference == 0.25f && !d.hit);
    assert_true(run_step(&f, 3, &d) == 1121.25f && d.difference == 0 && d.hit);
    fixture_close(&f);
}

/* Bad first residuals are no hits, whatever the threshold. */
static void nothing_to_compare_with_is_no_hit(void **state) {
    (void)state;
    fixture f;
    para_cache_decision d;
    fixture_open(&f, options_with(100.0f), 8, false);
    f.t.added[0] = 0;
    run_step(&f, 0, &d);
    run_step(&f, 1, &d);
    assert_true(!d.hit && isnan(d.difference)); /* 0 / 0 */
    f.t.added[0] = 1;
    run_step(&f, 2, &d);
    assert_true(!d.hit && isinf(d.difference));
    run_step(&f, 3, &d);
    assert_true(d.hit);
    fixture_close(&f);
}

static void only_the_negative_half_skips_and_only_in_range(void **state) {
    (void)state;
    static const int layers[] = {2};
    para_cache_options o = options_with(0.0f);
    o.skip_layers = layers, o.num_skip_layers = 1, o.skip_start = 0.25f, o.skip_end = 0.75f;
    for (int negative = 0; negative < 2; negative++) {
        fixture f;
        para_cache_decision d;
        fixture_open(&f, o, 4, negative);
        for (int step = 0; step < 4; step++)
            assert_true(run_step(&f, step, &d) == (negative && (step == 1 || step == 2) ? 1011 : 1111) && !d.hit);
        assert_int_equal(f.t.ran[2], negative ? 2 : 4);
        fixture_close(&f);
    }
}

/* What an item keeps: one first residual and, with n derivatives, n + 1 of the rest. */
static void memory_is_as_promised(void **state) {
    (void)state;
    for (int n = 0; n <= 2; n++) {
        for (int k = 1; k <= 2; k++) {
            fixture f;
            para_cache_options o = options_with(0.1f);
            o.taylorseer_derivatives = n, o.downsample_factor = k;
            fixture_open(&f, o, 8, false);
            const para_arena *arena = &f.rank.device->arena;
            size_t before = para_arena_mark(arena);
            para_cache_slot other;
            OK(para_cache_slot_open(&f.cache, &f.conditioning, false, &other));
            assert_int_equal(para_arena_mark(arena) - before, (1 + n + 1) * PARA_ARENA_ALIGN); /* each is below that */
            assert_int_equal(other.first.dim[1], (WIDTH + k - 1) / k);
            fixture_close(&f);
        }
    }
}

static void a_dry_run_decides_as_it_is_told(void **state) {
    (void)state;
    for (int hits = 0; hits < 2; hits++) {
        fixture f;
        para_cache_decision d;
        para_device *dry;
        para_rank rank;
        fixture_open(&f, options_with(0.1f), 8, false);
        OK(para_dry_open(&dry));
        OK(para_rank_open(&rank, dry, NULL));
        f.cache.rank = &rank;
        f.cache.assumed = hits ? 0 : INFINITY;
        f.item.step = 1;
        OK(para_cache_forward(&f.cache, &f.slot, &f.item, f.latents, f.out, &d));
        assert_int_equal(d.hit, hits);
        para_rank_close(&rank);
        fixture_close(&f);
    }
}

/* A straight line is known from two steps on, a parabola from three. */
static void taylorseer_follows_polynomials(void **state) {
    (void)state;
    para_device *dev;
    OK(para_cpu_open(&dev, 1));
    OK(para_device_reserve(dev, 1 << 16));
    para_tensor y, x;
    para_taylorseer s;
    OK(PARA_NEW(dev, &y, PARA_F32, 1));
    OK(PARA_NEW(dev, &x, PARA_F32, 1));
    OK(para_taylorseer_open(&s, dev, 1, y));
    static const int known[] = {0, 2, 5};
    for (int i = 0; i < 3; i++) {
        ((float *)y.data)[0] = 3.0f * (float)known[i] - 7;
        OK(para_taylorseer_update(&s, dev, known[i], &y));
    }
    for (int step = 6; step < 9; step++) {
        ((float *)x.data)[0] = 100;
        OK(para_taylorseer_add(&s, dev, step, x));
        assert_true(fabsf(((float *)x.data)[0] - (100 + 3.0f * (float)step - 7)) < 1e-4f);
    }
    /* Of t² at 2, 3 and 4: 16, its difference 7 and the second one 2, so 16 + 7 · 2 + 2 · 2² / 2 at 6. */
    OK(para_taylorseer_open(&s, dev, 2, y));
    for (int step = 2; step < 5; step++) {
        ((float *)y.data)[0] = (float)(step * step);
        OK(para_taylorseer_update(&s, dev, step, &y));
    }
    ((float *)x.data)[0] = 0;
    OK(para_taylorseer_add(&s, dev, 6, x));
    assert_true(((float *)x.data)[0] == 34);
    para_device_close(&dev);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_hit_adds_what_the_last_computed_step_added),
        cmocka_unit_test(nothing_to_compare_with_is_no_hit),
        cmocka_unit_test(only_the_negative_half_skips_and_only_in_range),
        cmocka_unit_test(memory_is_as_promised),
        cmocka_unit_test(a_dry_run_decides_as_it_is_told),
        cmocka_unit_test(taylorseer_follows_polynomials),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
