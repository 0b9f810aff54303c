/* Attention against its double-precision twin: sizes, strides, masks, rows without keys. SPDX-License-Identifier: Apache-2.0 */
#include "backend/cpu/cpu_scratch.h"
#include "backend/cuda_scratch.h"
#include "ops/ops_case.h"
#include "ops/twin_ops.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static const para_dtype types[] = {PARA_F32, PARA_BF16, PARA_F16};
enum { TYPES = sizeof types / sizeof types[0] };

typedef enum mask_kind { MASK_NONE, MASK_BOOL, MASK_ADDED } mask_kind;

/* A mask whose sizes of 1 among `real` are broadcast by strides of 0. */
static ops_tensor make_mask(para_device *dev, mask_kind kind, const twin_attention_sizes *s, para_tensor *view,
                            double **all) {
    int64_t full[] = {s->b, s->h, s->sq, s->skv}, real[4];
    for (int i = 0; i < 4; i++) real[i] = i < 3 && ops_chance(0.4) ? 1 : full[i];
    ops_tensor mask =
        OPS_MAKE(dev, kind == MASK_BOOL ? PARA_BOOL : PARA_F32, OPS_ANY, 1, real[0], real[1], real[2], real[3]);
    for (int64_t i = 0; i < ops_count(&mask); i++) {
        if (kind == MASK_ADDED && ops_chance(0.2)) mask.value[i] = -INFINITY;
        int64_t row = real[3] ? i / real[3] : 0;
        if (row % 7 == 3) mask.value[i] = kind == MASK_BOOL ? 0 : -INFINITY; /* a row that attends nothing */
    }
    ops_write(dev, &mask);
    *view = mask.view;
    *all = malloc((size_t)(s->b * s->h * s->sq * s->skv + 1) * sizeof **all);
    for (int64_t i = 0; i < s->b * s->h * s->sq * s->skv; i++) {
        int64_t rest = i, at = 0, step = 1;
        for (int j = 3; j >= 0; j--) {
            int64_t index = rest % full[j];
            rest /= full[j];
            if (real[j] > 1 || full[j] == 1) at += index * step;
            step *= real[j];
        }
        (*all)[i] = mask.value[at];
    }
    for (int i = 0; i < 4; i++) {
        if (real[i] != full[i]) view->stride[i] = 0;
        view->dim[i] = full[i];
    }
    return mask;
}

/* A GPU's matrix units take the weights in the type of the values, as in FlashAttention and cuDNN: measured relative L2 on an H200 are 1.4e-3 (BF16)
 * and 1.7e-4 (F16) before the output is rounded. */
static double looseness(const para_device *dev, para_dtype type, double spread) {
    bool rounds = strcmp(dev->ops->name, "cuda") == 0 && type != PARA_F32;
    return !rounds ? 1 + spread : type == PARA_BF16 ? 2000 : 250;
}

/* The same again, queries in three ranges whose results change places. */
static void attention_in_parts(para_device *dev, para_attention_args a, const ops_tensor *out, double loose) {
    int64_t n = out->view.dim[2], d = out->view.dim[3], first = ops_int(0, (int)n), second = ops_int(0, (int)(n - first));
    ops_tensor turned = OPS_MAKE(dev, out->view.dtype, OPS_TURNED, 1, out->view.dim[0], out->view.dim[1], n, d);
    const int64_t from[] = {0, first, first + second}, count[] = {first, second, n - first - second}, to[] = {n - first, 0, second};
    para_attention_args part[3];
    for (int i = 0; i < 3; i++) {
        part[i] = a;
        part[i].lse = (para_tensor){0};
        part[i].q = para_slice(a.q, 2, from[i], count[i]);
        part[i].out = para_slice(turned.view, 2, to[i], count[i]);
    }
    ops_ok(dev, dev->ops->attention_parts(dev, 3, part));
    ops_took(dev, para_cpu_attention_scratch(&a, dev->threads));
    for (int64_t i = 0; i < ops_count(out); i++) turned.value[i] = out->value[(i / d / n * n + (i / d % n + first) % n) * d + i % d];
    ops_check(dev, &turned, turned.value, loose, "attention in parts");
    ops_free(dev, &turned);
}

static void attention_case(para_device *dev, para_dtype type, twin_attention_sizes s, mask_kind kind, ops_layout layout,
                           double spread) {
    ops_tensor q = OPS_MAKE(dev, type, layout, spread, s.b, s.h, s.sq, s.d),
               k = OPS_MAKE(dev, type, layout, spread, s.b, s.hkv, s.skv, s.d);
    ops_tensor v = OPS_MAKE(dev, type, layout, 1, s.b, s.hkv, s.skv, s.dv),
               out = OPS_MAKE(dev, ops_chance(0.3) ? PARA_F32 : type, layout, 1, s.b, s.h, s.sq, s.dv);
    ops_tensor lse = OPS_MAKE(dev, PARA_F32, OPS_ANY, 1, s.b, s.h, s.sq), mask = ops_none();
    para_tensor mask_view = {0};
    double *mask_all = NULL;
    s.mask_is_bool = kind == MASK_BOOL;
    if (kind != MASK_NONE) mask = make_mask(dev, kind, &s, &mask_view, &mask_all);
    bool with_lse = ops_chance(0.8);
    para_attention_args a = {.q = q.view,
                             .k = k.view,
                             .v = v.view,
                             .out = out.view,
                             .mask = mask_view,
                             .scale = (float)s.scale,
                             .causal = s.causal,
                             .causal_offset = s.causal_offset,
                             .lse = with_lse ? lse.view : (para_tensor){0}};
    ops_ok(dev, dev->ops->attention(dev, &a));
    ops_took(dev, para_cpu_attention_scratch(&a, dev->threads));
    if (strcmp(dev->ops->name, "cuda") == 0) assert_true(dev->arena.peak <= para_cuda_attention_scratch(&a));
    double *want_lse = malloc((size_t)(ops_count(&lse) + 1) * sizeof *want_lse);
    s.scale = (float)s.scale;
    twin_attention(out.value, want_lse, q.value, k.value, v.value, mask_all, &s);
    ops_check(dev, &out, out.value, looseness(dev, type, spread), "attention%s%s",
              kind == MASK_BOOL    ? " bool mask"
              : kind == MASK_ADDED ? " added mask"
                                   : "",
              s.causal ? " causal" : "");
    ops_check(dev, &lse, with_lse ? want_lse : lse.value, 1, "attention's lse");
    if (kind == MASK_NONE && !s.causal) attention_in_parts(dev, a, &out, looseness(dev, type, spread));
    free(want_lse);
    free(mask_all);
    ops_free(dev, &q);
    ops_free(dev, &k);
    ops_free(dev, &v);
    ops_free(dev, &out);
    ops_free(dev, &lse);
    ops_free(dev, &mask);
}

/* All queries at once, and in parts whose results lie by themselves, a token's heads side by side. On Hopper both are one launch, whose tiles are the same; where it cuts
 * the last of them along the keys, launches by parts would round otherwise. Other GPUs, and F32 on all of them, have those. */
static void whole_and_parts(para_device *dev, para_dtype type, int64_t h, int64_t d, int64_t keys, int parts, const int64_t *count) {
    const bool hopper = strstr(dev->name, " H100") || strstr(dev->name, " H200") || strstr(dev->name, "GH200");
    const bool exact = strcmp(dev->ops->name, "cpu") == 0 || (hopper && type != PARA_F32);
    int64_t n = 0;
    for (int i = 0; i < parts; i++) n += count[i];
    ops_tensor q = OPS_MAKE(dev, type, OPS_PLAIN, 1, 1, h, n, d), k = OPS_MAKE(dev, type, OPS_PLAIN, 1, 1, h, keys, d), v = OPS_MAKE(dev, type, OPS_PLAIN, 1, 1, h, keys, d),
               out = OPS_MAKE(dev, type, OPS_PLAIN, 1, 1, n, h, d), lse = OPS_MAKE(dev, PARA_F32, OPS_PLAIN, 1, 1, h, n), lses = OPS_MAKE(dev, PARA_F32, OPS_PLAIN, 1, 1, h, n),
               own[PARA_MOST_PLACES];
    para_attention_args part[PARA_MOST_PLACES], a = {.q = q.view, .k = k.view, .v = v.view, .out = PARA_PERMUTE(out.view, 0, 2, 1, 3), .lse = lse.view, .scale = 0.1f};
    ops_ok(dev, dev->ops->attention(dev, &a));
    int64_t first = 0;
    for (int i = 0; i < parts; first += count[i++]) {
        own[i] = OPS_MAKE(dev, type, OPS_PLAIN, 1, 1, count[i], h, d);
        part[i] = a;
        part[i].q = para_slice(q.view, 2, first, count[i]);
        part[i].out = PARA_PERMUTE(own[i].view, 0, 2, 1, 3);
        part[i].lse = para_slice(lses.view, 2, first, count[i]);
    }
    ops_ok(dev, dev->ops->attention_parts(dev, parts, part));
    double *want = ops_read(dev, &out), *want_lse = ops_read(dev, &lse), *got_lse = ops_read(dev, &lses), *at = want;
    for (int i = 0; i < parts; at += count[i++] * h * d) {
        double *got = ops_read(dev, &own[i]);
        if (exact) assert_memory_equal(got, at, (size_t)ops_count(&own[i]) * sizeof *got);
        free(got);
        ops_check(dev, &own[i], at, looseness(dev, type, 1), "attention's parts and whole");
        ops_free(dev, &own[i]);
    }
    if (exact) assert_memory_equal(got_lse, want_lse, (size_t)(h * n) * sizeof *got_lse);
    ops_check(dev, &lses, want_lse, 1, "the lse of attention's parts");
    free(want);
    free(want_lse);
    free(got_lse);
    ops_free(dev, &q);
    ops_free(dev, &k);
    ops_free(dev, &v);
    ops_free(dev, &out);
    ops_free(dev, &lse);
    ops_free(dev, &lses);
}

/* Around the edges of tiles, single tokens, none; and sizes that leave an H200's last wave of tiles ragged, which only GPUs get done in time. */
static void parts_and_whole(void **state) {
    (void)state;
    static const struct {
        int64_t count[PARA_MOST_PLACES];
        int parts;
    } cases[] = {{{1, 1}, 2},          {{127, 1}, 2},          {{1, 128}, 2},   {{128, 128}, 2},  {{129, 65, 63}, 3},      {{0, 100, 0, 29}, 4}, {{9, 8, 7, 6, 5, 4, 3, 2, 1, 2, 3, 4, 5, 6, 7, 8}, 16},
                 {{70}, 1},            {{576, 576}, 2},        {{1153, 1164}, 2}, {{2304, 2304}, 2}, {{1, 4607}, 2},          {{4607, 1}, 2},       {{1000, 2001, 1607}, 3},
                 {{1152, 1152, 1153, 1151}, 4}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        para_device *dev = ops_device((int)i);
        int64_t n = 0;
        for (int p = 0; p < cases[i].parts; p++) n += cases[i].count[p];
        if (n > 300 && strcmp(dev->ops->name, "cuda") != 0) continue;
        for (int t = n > 300; t < TYPES; t++)
            for (int64_t d = 64; d <= 128; d *= 2)
                for (int64_t h = n > 300 ? 4 : 1; h <= 4; h += 3) whole_and_parts(dev, types[t], h, d, n < 300 ? n + 40 : n, cases[i].parts, cases[i].count);
    }
}

static void random_shapes(void **state) {
    (void)state;
    for (int d = 0; d < ops_device_count(); d++)
        for (int t = 0; t < TYPES; t++)
            for (int kind = MASK_NONE; kind <= MASK_ADDED; kind++)
                for (int i = 0; i < 14; i++) {
                    int64_t shared = ops_int(1, 3), hkv = ops_int(1, 3),
                            width = ops_chance(0.5) ? ops_int(1, 40) : 32 * ops_int(1, 4);
                    attention_case(ops_device(d), types[t],
                                   (twin_attention_sizes){.b = ops_int(1, 2),
                                                          .hkv = hkv,
                                                          .h = hkv * shared,
                                                          .sq = ops_int(1, 150),
                                                          .skv = ops_int(0, 300),
                                                          .d = width,
                                                          .dv = ops_chance(0.5) ? width : ops_int(1, 70),
                                                          .scale = 1 / sqrt((double)width),
                                                          .causal = ops_chance(0.4),
                                                          .causal_offset = ops_chance(0.5) ? 0 : ops_int(-160, 310)},
                                   (mask_kind)kind, ops_chance(0.5) ? OPS_PLAIN : OPS_TURNED, 1);
                }
}

/* Head dims of models, all of which GPUs have kernels for: CLIP and T5 (64), DiTs (40, 72, 80, 96, 128, 160), an autoencoder (512); and between. */
static void head_dims(void **state) {
    (void)state;
    static const int64_t dims[] = {8, 32, 40, 64, 72, 80, 96, 128, 160, 192, 256, 264, 512};
    for (int t = 0; t < TYPES; t++)
        for (size_t i = 0; i < sizeof dims / sizeof dims[0]; i++)
            for (int kind = MASK_NONE; kind <= MASK_ADDED; kind++) {
                int64_t d = dims[i], hkv = ops_int(1, 2);
                attention_case(ops_device((int)i), types[t],
                               (twin_attention_sizes){.b = 1,
                                                      .hkv = hkv,
                                                      .h = 2,
                                                      .sq = ops_int(20, 140),
                                                      .skv = ops_int(40, 200),
                                                      .d = d,
                                                      .dv = d,
                                                      .scale = (ops_chance(0.2) ? -1 : 1) / sqrt((double)d),
                                                      .causal = ops_chance(0.4),
                                                      .causal_offset = ops_int(-10, 100)},
                               (mask_kind)kind, OPS_PLAIN, 1);
            }
}

/* No batch entry, head, query, key or column: nothing is read, rows without keys give 0 and -inf. */
static void empty_shapes(void **state) {
    (void)state;
    for (int size = 0; size < 5; size++)
        for (int kind = MASK_NONE; kind <= MASK_ADDED; kind++) {
            twin_attention_sizes s = {.b = 2, .h = 4, .hkv = 2, .sq = 30, .skv = 40, .d = 8, .dv = 8, .scale = 0.3};
            *(int64_t *[]){&s.b, &s.hkv, &s.sq, &s.skv, &s.dv}[size] = 0;
            if (s.hkv == 0) s.h = 0;
            attention_case(ops_device(size % ops_device_count()), PARA_F32, s, (mask_kind)kind, OPS_TURNED, 1);
        }
}

/* Every row: LSE of the same size, of very different sizes, and -inf on either side or on both. */
static void merge_case(para_device *dev, int64_t b, int64_t h, int64_t s, int64_t dv) {
    ops_tensor out = OPS_MAKE(dev, PARA_F32, OPS_TURNED, 1, b, h, s, dv),
               part = OPS_MAKE(dev, PARA_F32, OPS_TURNED, 1, b, h, s, dv),
               lse = OPS_MAKE(dev, PARA_F32, OPS_ANY, 5, b, h, s),
               part_lse = OPS_MAKE(dev, PARA_F32, OPS_ANY, 5, b, h, s);
    for (int64_t row = 0; row < b * h * s; row++) {
        if (ops_chance(0.3)) part_lse.value[row] = lse.value[row] + 0.1 * ops_normal();
        if (ops_chance(0.1)) part_lse.value[row] -= 200;
        if (ops_chance(0.2)) part_lse.value[row] = -INFINITY;
        if (!ops_chance(0.2)) continue;
        lse.value[row] = -INFINITY; /* as attention leaves it */
        for (int64_t i = 0; i < dv; i++) out.value[row * dv + i] = 0;
    }
    ops_write(dev, &out);
    ops_write(dev, &lse);
    ops_write(dev, &part_lse);
    ops_ok(dev, dev->ops->attention_merge(
                    dev, &(para_merge_args){
                             .out = out.view, .lse = lse.view, .part_out = part.view, .part_lse = part_lse.view}));
    twin_merge(out.value, lse.value, part.value, part_lse.value, b * h * s, dv);
    ops_check(dev, &out, out.value, 1, "attention_merge");
    ops_check(dev, &lse, lse.value, 1, "attention_merge's lse");
    ops_free(dev, &out);
    ops_free(dev, &part);
    ops_free(dev, &lse);
    ops_free(dev, &part_lse);
}

static void merges(void **state) {
    (void)state;
    for (int i = 0; i < 60; i++)
        merge_case(ops_device(i % ops_device_count()), ops_int(0, 2), ops_int(0, 4), ops_int(0, 200), ops_int(1, 130));
}

/* What each column does, counted one element after the other. */
static void mask_columns(void **state) {
    (void)state;
    for (int i = 0; i < 60; i++) {
        para_device *dev = ops_device(i % ops_device_count());
        bool added = i % 2;
        int64_t b = ops_int(1, 3), h = ops_int(1, 3), sq = ops_int(1, 40), keys = ops_int(0, 50);
        ops_tensor mask = OPS_MAKE(dev, added ? PARA_F32 : PARA_BOOL, OPS_ANY, 1, b, h, sq, keys);
        uint8_t *got = malloc((size_t)(b * keys) + 1), *want = malloc((size_t)(b * keys) + 1);
        for (int64_t column = 0; column < b * keys; column++) {
            want[column] = (uint8_t)ops_int(PARA_COLUMN_HIDES, PARA_COLUMN_PASSES);
            int64_t odd = ops_int(0, h * sq - 1); /* the one element of a changing column that is not as the others */
            double hidden = added ? -INFINITY : 0, passed = added ? 0 : 1;
            bool mostly_hidden = ops_chance(0.5);
            for (int64_t row = 0; row < h * sq; row++) {
                bool hides = want[column] == PARA_COLUMN_CHANGES ? (row == odd) != mostly_hidden
                                                                 : want[column] == PARA_COLUMN_HIDES;
                mask.value[(column / keys * h * sq + row) * keys + column % keys] = hides ? hidden : passed;
            }
            if (h * sq == 1) want[column] = mask.value[column] == passed ? PARA_COLUMN_PASSES : PARA_COLUMN_HIDES;
            if (added && ops_chance(0.2)) {
                mask.value[(column / keys * h * sq + odd) * keys + column % keys] = -3;
                want[column] = PARA_COLUMN_CHANGES;
            }
        }
        ops_write(dev, &mask);
        ops_ok(dev, dev->ops->mask_columns(dev, mask.view, got));
        assert_memory_equal(got, want, (size_t)(b * keys));
        ops_free(dev, &mask);
        free(got);
        free(want);
    }
}

/* The sizes of FLUX, of its autoencoder (one head of 512) and sharp softmaxes. */
static void named_shapes(void **state) {
    (void)state;
    for (int t = 0; t < TYPES; t++) {
        attention_case(
            ops_device(0), types[t],
            (twin_attention_sizes){
                .b = 1, .h = 2, .hkv = 2, .sq = 200, .skv = 577, .d = 128, .dv = 128, .scale = 0.08838834764},
            MASK_NONE, OPS_TURNED, 1);
        attention_case(
            ops_device(1), types[t],
            (twin_attention_sizes){
                .b = 1, .h = 1, .hkv = 1, .sq = 130, .skv = 144, .d = 512, .dv = 512, .scale = 0.04419417382},
            MASK_NONE, OPS_PLAIN, 1);
        attention_case(
            ops_device(0), types[t],
            (twin_attention_sizes){.b = 1, .h = 2, .hkv = 1, .sq = 50, .skv = 400, .d = 64, .dv = 64, .scale = 0.125},
            MASK_NONE, OPS_PLAIN, 4);
    }
}

/* Scores of ±1000 must neither overflow nor lose the winner. */
static void far_scores(void **state) {
    (void)state;
    para_device *dev = ops_device(0);
    ops_tensor q = OPS_MAKE(dev, PARA_F32, OPS_PLAIN, 0, 1, 1, 2, 1),
               k = OPS_MAKE(dev, PARA_F32, OPS_PLAIN, 0, 1, 1, 200, 1);
    ops_tensor v = OPS_MAKE(dev, PARA_F32, OPS_PLAIN, 1, 1, 1, 200, 3),
               out = OPS_MAKE(dev, PARA_F32, OPS_PLAIN, 1, 1, 1, 2, 3);
    q.value[0] = 1;
    q.value[1] = -1;
    for (int64_t i = 0; i < 200; i++) k.value[i] = (double)(10 * i - 1000);
    ops_write(dev, &q);
    ops_write(dev, &k);
    ops_ok(dev, dev->ops->attention(
                    dev, &(para_attention_args){.q = q.view, .k = k.view, .v = v.view, .out = out.view, .scale = 1}));
    double lse[2];
    twin_attention(out.value, lse, q.value, k.value, v.value, NULL,
                   &(twin_attention_sizes){.b = 1, .h = 1, .hkv = 1, .sq = 2, .skv = 200, .d = 1, .dv = 3, .scale = 1});
    ops_check(dev, &out, out.value, 1, "attention of far scores");
    ops_free(dev, &q);
    ops_free(dev, &k);
    ops_free(dev, &v);
    ops_free(dev, &out);
}

/* A NaN in a value, key or query must reach the result, where the pipeline looks for it. */
static void nan_is_not_hidden(void **state) {
    (void)state;
    para_device *dev = ops_device(0);
    for (int where = 0; where < 3; where++) {
        ops_tensor in[3], out = OPS_MAKE(dev, PARA_F32, OPS_PLAIN, 1, 1, 1, 40, 8);
        for (int i = 0; i < 3; i++) in[i] = OPS_MAKE(dev, PARA_F32, OPS_PLAIN, 1, 1, 1, 40, 8);
        in[where].value[17 * 8 + 3] = NAN;
        ops_write(dev, &in[where]);
        ops_ok(dev, dev->ops->attention(
                        dev, &(para_attention_args){
                                 .q = in[0].view, .k = in[1].view, .v = in[2].view, .out = out.view, .scale = 0.3f}));
        double *got = ops_read(dev, &out);
        assert_true(isnan(got[17 * 8 + 3]));
        assert_int_equal(where == 0, !isnan(got[0 * 8 + 3]));
        free(got);
        for (int i = 0; i < 3; i++) ops_free(dev, &in[i]);
        ops_free(dev, &out);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(random_shapes),     cmocka_unit_test(empty_shapes), cmocka_unit_test(merges),
        cmocka_unit_test(mask_columns),      cmocka_unit_test(named_shapes), cmocka_unit_test(far_scores),
        cmocka_unit_test(nan_is_not_hidden), cmocka_unit_test(head_dims),    cmocka_unit_test(parts_and_whole),
    };
    return cmocka_run_group_tests(tests, ops_setup, ops_teardown);
}
