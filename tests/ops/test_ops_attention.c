/* Attention against its double-precision twin: sizes, strides, masks, rows without keys. SPDX-License-Identifier: Apache-2.0 */
#include "backend/cpu/cpu_scratch.h"
#include "ops/ops_case.h"
#include "ops/twin_ops.h"

#include <math.h>
#include <stdlib.h>

static const para_dtype types[] = {PARA_F32, PARA_BF16};

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

static void attention_case(para_device *dev, para_dtype type, twin_attention_sizes s, mask_kind kind, ops_layout layout,
                           double spread) {
    ops_tensor q = OPS_MAKE(dev, type, layout, spread, s.b, s.h, s.sq, s.d),
               k = OPS_MAKE(dev, type, layout, spread, s.b, s.hkv, s.skv, s.d);
    ops_tensor v = OPS_MAKE(dev, type, layout, 1, s.b, s.hkv, s.skv, s.dv),
               out = OPS_MAKE(dev, type, layout, 1, s.b, s.h, s.sq, s.dv);
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
                             .lse = with_lse ? lse.view : (para_tensor){0}};
    ops_ok(dev, dev->ops->attention(dev, &a));
    ops_took(dev, para_cpu_attention_scratch(&a, dev->threads));
    double *want_lse = malloc((size_t)(ops_count(&lse) + 1) * sizeof *want_lse);
    s.scale = (float)s.scale;
    twin_attention(out.value, want_lse, q.value, k.value, v.value, mask_all, &s);
    ops_check(dev, &out, out.value, 1 + spread, "attention%s%s",
              kind == MASK_BOOL    ? " bool mask"
              : kind == MASK_ADDED ? " added mask"
                                   : "",
              s.causal ? " causal" : "");
    ops_check(dev, &lse, with_lse ? want_lse : lse.value, 1, "attention's lse");
    free(want_lse);
    free(mask_all);
    ops_free(dev, &q);
    ops_free(dev, &k);
    ops_free(dev, &v);
    ops_free(dev, &out);
    ops_free(dev, &lse);
    ops_free(dev, &mask);
}

static void random_shapes(void **state) {
    (void)state;
    for (int d = 0; d < ops_device_count(); d++)
        for (int t = 0; t < 2; t++)
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
                                                          .causal = ops_chance(0.3)},
                                   (mask_kind)kind, ops_chance(0.5) ? OPS_PLAIN : OPS_TURNED, 1);
                }
}

/* The sizes of FLUX, of its autoencoder (one head of 512) and sharp softmaxes. */
static void named_shapes(void **state) {
    (void)state;
    for (int t = 0; t < 2; t++) {
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
        cmocka_unit_test(random_shapes),
        cmocka_unit_test(named_shapes),
        cmocka_unit_test(far_scores),
        cmocka_unit_test(nan_is_not_hidden),
    };
    return cmocka_run_group_tests(tests, ops_setup, ops_teardown);
}
