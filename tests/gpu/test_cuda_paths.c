/* What the random shapes of tests/ops seldom meet: wide, aligned rows, epilogues that are part of the product, cuDNN's convolutions, large slices.
 * SPDX-License-Identifier: Apache-2.0 */
#include "ops/ops_case.h"
#include "ops/twin_ops.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static const para_dtype types[] = {PARA_F32, PARA_BF16, PARA_F16};
enum { TYPES = sizeof types / sizeof types[0] };

/* A vector that BF16 holds, said to be constant, as those of a checkpoint are. */
static ops_tensor constant(para_device *dev, int64_t n) {
    ops_tensor v = OPS_MAKE(dev, PARA_F32, OPS_PLAIN, 1, n);
    for (int64_t i = 0; i < n; i++) v.value[i] = ops_round(PARA_BF16, v.value[i]);
    ops_write(dev, &v);
    ops_ok(dev, dev->ops->constant(dev, v.view));
    return v;
}

static void linear_case(para_device *dev, para_dtype type, int64_t m, int64_t n, int64_t k, para_activation f, bool accumulate) {
    ops_tensor x = OPS_MAKE(dev, type, OPS_PLAIN, 1, m, k), w = OPS_MAKE(dev, type, OPS_PLAIN, 0.1, n, k), y = OPS_MAKE(dev, type, OPS_PLAIN, 1, m, n),
               b = constant(dev, n);
    para_linear layer = {w.view, b.view};
    ops_ok(dev, dev->ops->linear(dev, &(para_linear_args){.x = x.view, .w = &layer, .y = y.view, .activation = f, .accumulate = accumulate}));
    twin_linear(y.value, x.value, w.value, b.value, m, n, k, f, accumulate);
    ops_check(dev, &y, y.value, ops_added(dev, type, accumulate, 2), "linear %s%s", f == PARA_ACT_GELU_TANH ? "gelu_tanh" : f == PARA_ACT_RELU ? "relu" : f == PARA_ACT_SILU ? "silu" : "",
              accumulate ? " added" : "");
    ops_free(dev, &x);
    ops_free(dev, &w);
    ops_free(dev, &y);
    ops_free(dev, &b);
}

static void epilogues(void **state) {
    (void)state;
    para_device *dev = ops_device(0);
    for (int t = 0; t < TYPES; t++)
        for (int i = 0; i < 6; i++) {
            int64_t m = ops_int(16, 300), n = 8 * ops_int(1, 60), k = 8 * ops_int(1, 60);
            linear_case(dev, types[t], m, n, k, PARA_ACT_NONE, false);
            linear_case(dev, types[t], m, n, k, PARA_ACT_NONE, true);
            linear_case(dev, types[t], m, n, k, PARA_ACT_RELU, false);
            linear_case(dev, types[t], m, n, k, PARA_ACT_SILU, i % 2);
            linear_case(dev, types[t], m, n, k, PARA_ACT_GELU_TANH, false);
            linear_case(dev, types[t], 1, n, k, PARA_ACT_NONE, false);
            linear_case(dev, types[t], m, n + 3, k + 1, i % 2 ? PARA_ACT_GELU_TANH : PARA_ACT_NONE, false);
        }
}

/* Memory that is freed and given out again is no constant any more, and what is uploaded anew is used. */
static void constants_end(void **state) {
    (void)state;
    para_device *dev = ops_device(0);
    ops_tensor x = OPS_MAKE(dev, PARA_BF16, OPS_PLAIN, 1, 32, 64), w = OPS_MAKE(dev, PARA_BF16, OPS_PLAIN, 0.1, 64, 64),
               y = OPS_MAKE(dev, PARA_BF16, OPS_PLAIN, 1, 32, 64);
    for (int i = 0; i < 4; i++) {
        ops_tensor b = i % 2 ? OPS_MAKE(dev, PARA_F32, OPS_PLAIN, 1, 64) : constant(dev, 64);
        para_linear layer = {w.view, b.view};
        ops_ok(dev, dev->ops->linear(dev, &(para_linear_args){.x = x.view, .w = &layer, .y = y.view}));
        twin_linear(y.value, x.value, w.value, b.value, 32, 64, 64, PARA_ACT_NONE, false);
        ops_check(dev, &y, y.value, 2, "linear after a constant");
        ops_free(dev, &b);
    }
    ops_free(dev, &x);
    ops_free(dev, &w);
    ops_free(dev, &y);
}

static void conv_case(para_device *dev, para_dtype type, twin_conv_sizes s, int64_t bottom, int64_t right, bool bias) {
    s.oh = (s.h + s.top + bottom - s.kh) / s.stride + 1;
    s.ow = (s.w + s.left + right - s.kw) / s.stride + 1;
    ops_tensor x = OPS_MAKE(dev, type, OPS_PLAIN, 1, s.n, s.h, s.w, s.i), w = OPS_MAKE(dev, type, OPS_PLAIN, 0.1, s.o, s.i, s.kh, s.kw);
    ops_tensor b = bias ? OPS_MAKE(dev, PARA_F32, OPS_PLAIN, 1, s.o) : ops_none(), y = OPS_MAKE(dev, type, OPS_PLAIN, 1, s.n, s.oh, s.ow, s.o);
    para_linear layer = {w.view, b.view};
    ops_ok(dev, dev->ops->conv2d(dev, &(para_conv2d_args){.x = x.view, .w = &layer, .stride = (int)s.stride, .pad_top = (int)s.top,
                                                          .pad_left = (int)s.left, .pad_bottom = (int)bottom, .pad_right = (int)right, .y = y.view}));
    twin_conv2d(y.value, x.value, w.value, b.value, &s);
    ops_check(dev, &y, y.value, 2, "conv2d %lldx%lld to %lld", (long long)s.kh, (long long)s.kw, (long long)s.o);
    ops_free(dev, &x);
    ops_free(dev, &w);
    ops_free(dev, &b);
    ops_free(dev, &y);
}

/* Kernels of an autoencoder. */
static void convolutions(void **state) {
    (void)state;
    para_device *dev = ops_device(0);
    for (int t = 0; t < TYPES; t++) {
        conv_case(dev, types[t], (twin_conv_sizes){.n = 1, .h = 20, .w = 28, .i = 16, .o = 128, .kh = 3, .kw = 3, .stride = 1, .top = 1, .left = 1}, 1, 1, true);
        conv_case(dev, types[t], (twin_conv_sizes){.n = 2, .h = 17, .w = 15, .i = 64, .o = 64, .kh = 3, .kw = 3, .stride = 1, .top = 1, .left = 1}, 1, 1, true);
        conv_case(dev, types[t], (twin_conv_sizes){.n = 1, .h = 18, .w = 14, .i = 32, .o = 32, .kh = 3, .kw = 3, .stride = 2}, 1, 1, true);
        conv_case(dev, types[t], (twin_conv_sizes){.n = 1, .h = 18, .w = 14, .i = 32, .o = 40, .kh = 3, .kw = 3, .stride = 1, .top = 1, .left = 1}, 1, 1, false);
        conv_case(dev, types[t], (twin_conv_sizes){.n = 1, .h = 18, .w = 14, .i = 64, .o = 3, .kh = 3, .kw = 3, .stride = 1, .top = 1, .left = 1}, 1, 1, true);
        conv_case(dev, types[t], (twin_conv_sizes){.n = 2, .h = 9, .w = 7, .i = 64, .o = 96, .kh = 1, .kw = 1, .stride = 1}, 0, 0, true);
    }
}

/* Rows whose elements lie about `centre`; with `rms` the norm of what is added to them. */
static void row_case(para_device *dev, para_dtype type, int64_t m, int64_t d, para_norm_kind kind, double centre, bool rms) {
    ops_tensor x = OPS_MAKE(dev, type, OPS_PLAIN, 2, m, d), y = OPS_MAKE(dev, type, OPS_PLAIN, 1, m, d), out = OPS_MAKE(dev, type, OPS_PLAIN, 1, m, d),
               gate = OPS_MAKE(dev, PARA_F32, OPS_PLAIN, 1, d), scale = OPS_MAKE(dev, PARA_F32, OPS_PLAIN, 1, d), shift = OPS_MAKE(dev, PARA_F32, OPS_PLAIN, 1, d);
    for (int64_t j = 0; j < m * d && centre != 0; j++) x.value[j] = ops_round(type, x.value[j] + centre);
    ops_write(dev, &x);
    para_norm_args norm = {.kind = kind, .eps = 1e-6f, .scale = scale.view, .shift = shift.view, .y = out.view};
    ops_ok(dev, dev->ops->residual(dev, &(para_residual_args){.x = x.view, .gate = gate.view, .y = y.view, .rms_norm = rms, .eps = 1e-6f, .norm = &norm}));
    for (int64_t j = 0; j < m && rms; j++) twin_norm(y.value + j * d, y.value + j * d, d, PARA_NORM_RMS, 1e-6f, NULL, NULL, NULL, NULL);
    for (int64_t j = 0; j < m * d; j++) x.value[j] += y.value[j] * gate.value[j % d];
    ops_check(dev, &x, x.value, 1, rms ? "residual of rms" : "residual");
    double *sum = ops_read(dev, &x);
    for (int64_t j = 0; j < m; j++) twin_norm(out.value + j * d, sum + j * d, d, norm.kind, norm.eps, NULL, NULL, scale.value, shift.value);
    ops_check(dev, &out, out.value, 5, "residual's norm");
    norm.x = x.view;
    norm.y = y.view;
    norm.weight = gate.view;
    norm.bias = shift.view;
    ops_ok(dev, dev->ops->norm(dev, &norm));
    for (int64_t j = 0; j < m; j++) twin_norm(y.value + j * d, sum + j * d, d, norm.kind, norm.eps, gate.value, shift.value, scale.value, shift.value);
    ops_check(dev, &y, y.value, 5, "norm");
    free(sum);
    ops_free(dev, &x);
    ops_free(dev, &y);
    ops_free(dev, &out);
    ops_free(dev, &gate);
    ops_free(dev, &scale);
    ops_free(dev, &shift);
}

static void wide_rows(void **state) {
    (void)state;
    para_device *dev = ops_device(0);
    static const int64_t widths[] = {8, 64, 768, 3072, 3080, 4096, 5120, 10240, 20000, 32768, 4097, 9001};
    for (int t = 0; t < TYPES; t++)
        for (size_t i = 0; i < sizeof widths / sizeof widths[0]; i++)
            row_case(dev, types[t], 5, widths[i], i % 2 ? PARA_NORM_RMS : PARA_NORM_LAYER, 0, i / 2 % 2);
}

/* So many that blocks go from row to row. */
static void many_rows(void **state) {
    (void)state;
    para_device *dev = ops_device(0);
    for (int t = 0; t < TYPES; t++) {
        row_case(dev, types[t], 4608, 256, PARA_NORM_LAYER, 0, false);
        row_case(dev, types[t], 1201, 3072, PARA_NORM_LAYER, 0, false);
        row_case(dev, types[t], 300, 3072, PARA_NORM_RMS, 0, false);
        row_case(dev, types[t], 257, 4096, PARA_NORM_LAYER, 20, false);
        row_case(dev, types[t], 1201, 3072, PARA_NORM_RMS, 0, true);
        row_case(dev, types[t], 300, 1536, PARA_NORM_LAYER, 20, true);
    }
}

/* What a head comes with. */
typedef struct head_options {
    bool normed, layer_norm, bias; /* of the norm */
    bool tables, frequencies, interleaved; /* what turns them, and the order of their pairs */
    double reach; /* of the positions */
} head_options;

static ops_tensor table(para_device *dev, bool there, double spread, int64_t s, int64_t d) {
    return there ? OPS_MAKE(dev, PARA_F32, OPS_PLAIN, spread, s, d) : ops_none();
}

static void head_case(para_device *dev, para_dtype type, int64_t s, int64_t h, int64_t d, head_options o) {
    ops_tensor x = OPS_MAKE(dev, type, OPS_PLAIN, 1, s, h, d), y = OPS_MAKE(dev, type, OPS_PLAIN, 1, h, s, d),
               weight = o.normed ? OPS_MAKE(dev, PARA_F32, OPS_PLAIN, 1, d) : ops_none(), bias = o.bias ? OPS_MAKE(dev, PARA_F32, OPS_PLAIN, 1, d) : ops_none(),
               cosine = table(dev, o.tables, 1, s, d), sine = table(dev, o.tables, 1, s, d), positions = table(dev, o.frequencies, o.reach, s, 3),
               frequencies = o.frequencies ? OPS_MAKE(dev, PARA_F32, OPS_PLAIN, 1, 3, h, d / 2) : ops_none();
    ops_ok(dev, dev->ops->heads(dev, 1, &(para_head_args){.x = x.view, .layer_norm = o.layer_norm, .weight = weight.view, .bias = bias.view, .eps = 1e-6f,
                                                      .cos = cosine.view, .sin = sine.view, .positions = positions.view, .frequencies = frequencies.view,
                                                      .rope_interleaved = o.interleaved, .y = y.view}));
    twin_head(y.value, x.value, s, h, d, &(twin_head_options){.kind = o.layer_norm ? PARA_NORM_LAYER : PARA_NORM_RMS, .weight = weight.value, .bias = bias.value,
                                                              .eps = 1e-6f, .cosine = cosine.value, .sine = sine.value, .positions = positions.value,
                                                              .frequencies = frequencies.value, .interleaved = o.interleaved});
    ops_check(dev, &y, y.value, 1, "head of %lld", (long long)d);
    ops_free(dev, &x);
    ops_free(dev, &y);
    ops_free(dev, &weight);
    ops_free(dev, &bias);
    ops_free(dev, &cosine);
    ops_free(dev, &sine);
    ops_free(dev, &positions);
    ops_free(dev, &frequencies);
}

/* Those of FLUX, Mochi and CogVideoX, Llama's order of pairs, and what lacks a part. */
static const head_options head_kinds[] = {
    {.normed = true, .tables = true, .interleaved = true},
    {.normed = true, .frequencies = true, .reach = 100, .interleaved = true},
    {.normed = true, .frequencies = true, .reach = 1e5, .interleaved = true}, /* angles on both sides of what sincosf takes for large */
    {.normed = true, .layer_norm = true, .bias = true, .tables = true, .interleaved = true},
    {.normed = true, .layer_norm = true, .bias = true, .frequencies = true, .reach = 100},
    {.normed = true, .layer_norm = true, .frequencies = true, .reach = 100, .interleaved = true},
    {.normed = true, .bias = true, .tables = true},
    {.normed = true, .layer_norm = true, .bias = true},
    {.normed = true, .layer_norm = true},
    {.normed = true},
    {.tables = true, .interleaved = true},
    {.frequencies = true, .reach = 100, .interleaved = true},
    {.frequencies = true, .reach = 100},
};
enum { HEAD_KINDS = sizeof head_kinds / sizeof head_kinds[0] };

static void heads(void **state) {
    (void)state;
    para_device *dev = ops_device(0);
    for (int t = 0; t < TYPES; t++)
        for (int64_t d = 8; d <= 256; d *= 2)
            for (int i = 0; i < HEAD_KINDS; i++) head_case(dev, types[t], ops_int(1, 40), ops_int(1, 7), d, head_kinds[i]);
}

/* So many that blocks go from piece to piece; head counts that four does not divide. */
static void many_heads(void **state) {
    (void)state;
    para_device *dev = ops_device(0);
    static const int64_t sizes[][2] = {{4099, 5}, {700, 24}, {1371, 6}, {2777, 3}};
    for (int t = 0; t < TYPES; t++)
        for (int64_t d = 64; d <= 128; d *= 2)
            for (int i = 0; i < HEAD_KINDS; i++) head_case(dev, types[t], sizes[i % 4][0], sizes[i % 4][1], d, head_kinds[i]);
}

/* n operands of one layout in a call, as attention has them: values without norm and rotation. In `places` parts, or 0: in one tensor. */
static void together_case(para_device *dev, para_dtype type, int64_t s, int64_t h, int64_t d, head_options o, int n, int places) {
    ops_tensor cosine = table(dev, o.tables, 1, s, d), sine = table(dev, o.tables, 1, s, d), positions = table(dev, o.frequencies, o.reach, s, 3),
               frequencies = o.frequencies ? OPS_MAKE(dev, PARA_F32, OPS_PLAIN, 1, 3, h, d / 2) : ops_none(), x[PARA_OPERANDS], y[PARA_OPERANDS],
               weight[PARA_OPERANDS], bias[PARA_OPERANDS];
    para_tensor part[PARA_OPERANDS][2];
    para_head_args args[PARA_OPERANDS];
    for (int i = 0; i < n; i++) {
        bool value = i == PARA_VALUE;
        x[i] = OPS_MAKE(dev, type, OPS_PLAIN, 1, s, h, d), y[i] = OPS_MAKE(dev, type, OPS_PLAIN, 1, h, s, d);
        weight[i] = o.normed && !value ? OPS_MAKE(dev, PARA_F32, OPS_PLAIN, 1, d) : ops_none();
        bias[i] = o.bias && !value ? OPS_MAKE(dev, PARA_F32, OPS_PLAIN, 1, d) : ops_none();
        part[i][0] = para_slice(y[i].view, 0, 0, h / 2), part[i][1] = para_slice(y[i].view, 0, h / 2, h - h / 2);
        args[i] = (para_head_args){.x = x[i].view, .layer_norm = o.layer_norm, .weight = weight[i].view, .bias = bias[i].view, .eps = 1e-6f,
                                   .rope_interleaved = o.interleaved, .y = y[i].view, .parts = places, .part = part[i]};
        twin_head_options twin = {.kind = o.layer_norm ? PARA_NORM_LAYER : PARA_NORM_RMS, .weight = weight[i].value, .bias = bias[i].value, .eps = 1e-6f,
                                  .interleaved = o.interleaved};
        if (!value) {
            args[i].cos = cosine.view, args[i].sin = sine.view, args[i].positions = positions.view, args[i].frequencies = frequencies.view;
            twin.cosine = cosine.value, twin.sine = sine.value, twin.positions = positions.value, twin.frequencies = frequencies.value;
        }
        twin_head(y[i].value, x[i].value, s, h, d, &twin);
    }
    ops_ok(dev, dev->ops->heads(dev, n, args));
    for (int i = 0; i < n; i++) {
        ops_check(dev, &y[i], y[i].value, 1, "heads together of %lld", (long long)d);
        ops_free(dev, &x[i]);
        ops_free(dev, &y[i]);
        ops_free(dev, &weight[i]);
        ops_free(dev, &bias[i]);
    }
    ops_free(dev, &cosine);
    ops_free(dev, &sine);
    ops_free(dev, &positions);
    ops_free(dev, &frequencies);
}

/* Few rows, and many. */
static void heads_together(void **state) {
    (void)state;
    para_device *dev = ops_device(0);
    for (int t = 0; t < TYPES; t++)
        for (int64_t d = 64; d <= 128; d *= 2)
            for (int i = 0; i < HEAD_KINDS; i++) {
                together_case(dev, types[t], 691, 6, d, head_kinds[i], 3, i % 2 * 2);
                together_case(dev, types[t], 21, 3, d, head_kinds[i], 3, 2 - i % 2 * 2);
                together_case(dev, types[t], 21, 3, d, head_kinds[i], 2, 0);
            }
}

static void group_norms(void **state) {
    (void)state;
    para_device *dev = ops_device(0);
    static const int64_t channels[] = {32, 128, 256, 512, 2560, 1000};
    for (int t = 0; t < TYPES; t++)
        for (size_t i = 0; i < sizeof channels / sizeof channels[0]; i++) {
            int64_t c = channels[i], h = ops_int(3, 24), w = ops_int(3, 24), n = 1 + (int64_t)i % 2;
            int groups = i == 5 ? 8 : 32;
            ops_tensor x = OPS_MAKE(dev, types[t], OPS_PLAIN, 2, n, h, w, c), y = OPS_MAKE(dev, types[t], OPS_PLAIN, 1, n, h, w, c),
                       weight = OPS_MAKE(dev, PARA_F32, OPS_PLAIN, 1, c), bias = OPS_MAKE(dev, PARA_F32, OPS_PLAIN, 1, c);
            ops_ok(dev, dev->ops->group_norm(dev, &(para_group_norm_args){.x = x.view, .groups = groups, .eps = 1e-6f, .weight = weight.view,
                                                                          .bias = bias.view, .activation = PARA_ACT_SILU, .y = y.view}));
            twin_group_norm(y.value, x.value, n, h * w, c, groups, 1e-6f, weight.value, bias.value, PARA_ACT_SILU);
            ops_check(dev, &y, y.value, 1, "group_norm");
            ops_free(dev, &x);
            ops_free(dev, &y);
            ops_free(dev, &weight);
            ops_free(dev, &bias);
        }
}

/* What takes a fused kernel takes nothing of the arena, and what it computes is what the two products do, which another alignment of the result asks for. */
static void fused_attention(void **state) {
    (void)state;
    para_device *dev = ops_device(0);
    static const int64_t dims[] = {40, 64, 128, 256, 512};
    for (int t = 1; t < TYPES; t++)
        for (size_t i = 0; i < sizeof dims / sizeof dims[0]; i++)
            for (int masked = 0; masked < (dims[i] == 512 ? 1 : 2); masked++) {
                int64_t d = dims[i], s = 300;
                ops_tensor q = OPS_MAKE(dev, types[t], OPS_PLAIN, 1, 1, 2, s, d), k = OPS_MAKE(dev, types[t], OPS_PLAIN, 1, 1, 2, s, d),
                           v = OPS_MAKE(dev, types[t], OPS_PLAIN, 1, 1, 2, s, d), mask = masked ? OPS_MAKE(dev, PARA_F32, OPS_PLAIN, 1, 1, 2, s, s) : ops_none(),
                           out = OPS_MAKE(dev, types[t], OPS_PLAIN, 1, 1, 2, s, d), other = OPS_MAKE(dev, types[t], OPS_PLAIN, 1, 2 * s * d + 1);
                para_attention_args a = {.q = q.view, .k = k.view, .v = v.view, .out = out.view, .mask = mask.view, .scale = 1 / sqrtf((float)d)};
                ops_ok(dev, dev->ops->attention(dev, &a));
                assert_int_equal(dev->arena.peak, 0);
                a.out.data = (char *)other.view.data + para_dtype_size(types[t]);
                ops_ok(dev, dev->ops->attention(dev, &a));
                assert_true(dev->arena.peak > 0);
                double *plain = ops_read(dev, &other);
                ops_check(dev, &out, plain + 1, types[t] == PARA_BF16 ? 4000 : 500, /* both round their weights and their result: 3.0e-3, 3.8e-4 */
                          "fused attention of %lld", (long long)d);
                free(plain);
                ops_free(dev, &q);
                ops_free(dev, &k);
                ops_free(dev, &v);
                ops_free(dev, &mask);
                ops_free(dev, &out);
                ops_free(dev, &other);
            }
}

/* An id outside the table gives NaN, which all_finite finds: nothing outside is read. */
static void ids_outside_the_table(void **state) {
    (void)state;
    para_device *dev = ops_device(0);
    ops_tensor table = OPS_MAKE(dev, PARA_BF16, OPS_PLAIN, 1, 5, 4), ids = OPS_MAKE(dev, PARA_I32, OPS_PLAIN, 5, 3), y = OPS_MAKE(dev, PARA_BF16, OPS_PLAIN, 1, 3, 4);
    bool finite;
    for (int32_t bad = -1; bad <= 5; bad += 6) {
        ids.value[1] = bad;
        ops_write(dev, &ids);
        ops_ok(dev, dev->ops->embedding(dev, table.view, ids.view, y.view));
        ops_ok(dev, dev->ops->all_finite(dev, y.view, &finite));
        assert_false(finite);
    }
    ops_free(dev, &table);
    ops_free(dev, &ids);
    ops_free(dev, &y);
}

/* More than both stages of pinned memory, there and back. */
static void large_copies(void **state) {
    (void)state;
    para_device *dev = ops_device(0);
    int64_t n = (29 << 20) + 12345;
    unsigned char *sent = malloc((size_t)n), *got = calloc((size_t)n, 1);
    void *p;
    for (int64_t i = 0; i < n; i++) sent[i] = (unsigned char)(i * 2654435761u >> 13);
    ops_ok(dev, dev->ops->alloc(dev, (size_t)n, &p));
    para_tensor t = para_tensor_make(p, PARA_U8, 1, &n);
    ops_ok(dev, dev->ops->upload(dev, t, sent));
    ops_ok(dev, dev->ops->download(dev, got, &t));
    assert_memory_equal(sent, got, (size_t)n);
    dev->ops->free(dev, p);
    free(sent);
    free(got);
}

/* Too much memory is an error that names it, after which the device works on. */
static void out_of_memory(void **state) {
    (void)state;
    para_device *dev = ops_device(0);
    void *p = NULL;
    assert_int_equal(dev->ops->alloc(dev, (size_t)1 << 42, &p), PARA_ERR_MEMORY);
    assert_non_null(strstr(para_last_error(), "GiB"));
    assert_null(p);
    large_copies(state);
}

static void devices_that_are_not(void **state) {
    (void)state;
    para_device *dev;
    for (int i = -1; i < 1000; i += 1001) {
        assert_int_equal(para_cuda_open(&dev, i), PARA_ERR_DEVICE);
        assert_non_null(strstr(para_last_error(), "there is no GPU"));
        assert_null(dev);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(epilogues),   cmocka_unit_test(constants_end), cmocka_unit_test(convolutions),
        cmocka_unit_test(wide_rows),   cmocka_unit_test(many_rows),     cmocka_unit_test(group_norms),
        cmocka_unit_test(heads),       cmocka_unit_test(many_heads),    cmocka_unit_test(heads_together),
        cmocka_unit_test(large_copies), cmocka_unit_test(out_of_memory), cmocka_unit_test(ids_outside_the_table),
        cmocka_unit_test(devices_that_are_not), cmocka_unit_test(fused_attention),
    };
    return cmocka_run_group_tests(tests, ops_setup, ops_teardown);
}
