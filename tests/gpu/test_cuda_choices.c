/* What the CUDA module looks for once and keeps: the fastest kernels of products, cuDNN's plans; and cuDNN's attention. SPDX-License-Identifier: Apache-2.0 */
#include "ops/ops_case.h"
#include "ops/twin_ops.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/error.h"
#include "unit/temp_folder.h"

static char heard[8192]; /* notes of the devices opened here */

static void hear(void *user, para_log_level level, const char *line) {
    (void)user;
    (void)level;
    print_message("  %s\n", line);
    strncat(heard, line, sizeof heard - strlen(heard) - 1);
}

/* A device that tunes, beside the one of the group. */
static para_device *open_tuning(void) {
    para_device *dev;
    assert_int_equal(para_cuda_open(&dev, 0), PARA_OK);
    assert_int_equal(para_device_reserve(dev, 256 << 20), PARA_OK);
    dev->note = hear;
    dev->tunes = true;
    heard[0] = 0;
    return dev;
}

static void use_cache(const char *name) {
    char path[4096];
    snprintf(path, sizeof path, "%s/%s/%s", getcwd((char[2048]){0}, 2048), temp_folder, name);
    assert_int_equal(setenv("XDG_CACHE_HOME", path, 1), 0);
}

/* ---- Products */

enum { M = 1024, N = 3072, K = 6144 }; /* long enough to be worth it */

static uint16_t *noise(int64_t n, uint32_t seed) {
    uint16_t *x = malloc((size_t)n * 2);
    for (int64_t i = 0; i < n; i++) {
        seed = seed * 1664525u + 1013904223u;
        float f = (float)(int32_t)seed * 0x1p-31f;
        memcpy(&x[i], (char *)&f + 2, 2);
    }
    return x;
}

static para_tensor upload(para_device *dev, int64_t rows, int64_t columns, uint32_t seed) {
    para_tensor t = para_tensor_make(NULL, PARA_BF16, 2, (int64_t[]){rows, columns});
    uint16_t *values = noise(rows * columns, seed);
    assert_int_equal(dev->ops->alloc(dev, (size_t)(rows * columns) * 2, &t.data), PARA_OK);
    assert_int_equal(dev->ops->upload(dev, t, values), PARA_OK);
    free(values);
    return t;
}

/* y += x · wᵀ on the device, from the same numbers each time; free() it. */
static uint16_t *product(para_device *dev) {
    para_tensor x = upload(dev, M, K, 1), w = upload(dev, N, K, 2), y = upload(dev, M, N, 3);
    para_linear layer = {.weight = w};
    uint16_t *out = malloc((size_t)M * N * 2);
    if (dev->ops->linear(dev, &(para_linear_args){.x = x, .w = &layer, .y = y, .accumulate = true}) != PARA_OK) fail_msg("%s", para_last_error());
    assert_int_equal(dev->ops->download(dev, out, &y), PARA_OK);
    dev->ops->free(dev, x.data);
    dev->ops->free(dev, w.data);
    dev->ops->free(dev, y.data);
    return out;
}

static double difference(const uint16_t *a, const uint16_t *b) {
    double sum = 0, all = 0;
    for (int64_t i = 0; i < (int64_t)M * N; i++) {
        uint32_t p = (uint32_t)a[i] << 16, q = (uint32_t)b[i] << 16;
        float f, g;
        memcpy(&f, &p, 4);
        memcpy(&g, &q, 4);
        sum += ((double)f - g) * ((double)f - g);
        all += (double)g * g;
    }
    return sqrt(sum / all);
}

/* The result is the same but for rounding, the next device takes what the first one has found, and gives the same bits. */
static void products_are_tuned_once(void **state) {
    (void)state;
    use_cache("products");
    uint16_t *plain = product(ops_device(0));
    para_device *dev = open_tuning();
    uint16_t *first = product(dev), *second = product(dev);
    assert_non_null(strstr(heard, "tuned a product of 1024 x 3072 x 6144"));
    assert_null(strstr(strstr(heard, "tuned") + 1, "tuned"));
    assert_true(difference(first, plain) < 3e-3);
    assert_memory_equal(first, second, (size_t)M * N * 2);
    para_device_close(&dev);
    dev = open_tuning();
    uint16_t *third = product(dev);
    assert_string_equal(heard, "");
    assert_memory_equal(first, third, (size_t)M * N * 2);
    dev->tunes = false;
    uint16_t *fourth = product(dev);
    assert_memory_equal(plain, fourth, (size_t)M * N * 2);
    para_device_close(&dev);
    free(plain);
    free(first);
    free(second);
    free(third);
    free(fourth);
}

/* ---- Few rows of F32 by weights of BF16 */

static void few_rows(void **state) {
    (void)state;
    para_device *dev = ops_device(0);
    static const int64_t rows[] = {1, 3, 28, 64, 65}, depths[] = {8, 256, 264, 3072, 8200};
    for (size_t i = 0; i < 5; i++)
        for (size_t j = 0; j < 5; j++) {
            int64_t m = rows[i], k = depths[j], n = ops_int(1, 300);
            bool accumulate = ops_chance(0.3);
            para_activation f = ops_chance(0.5) ? PARA_ACT_NONE : PARA_ACT_SILU;
            ops_tensor x = OPS_MAKE(dev, PARA_F32, ops_chance(0.5) ? OPS_PLAIN : OPS_PADDED, 1, m, k), w = OPS_MAKE(dev, PARA_BF16, OPS_PLAIN, 0.3, n, k),
                       b = OPS_MAKE(dev, PARA_F32, OPS_PLAIN, 1, n), y = OPS_MAKE(dev, PARA_F32, OPS_PADDED, 1, m, n);
            para_linear layer = {w.view, b.view};
            ops_ok(dev, dev->ops->linear(dev, &(para_linear_args){.x = x.view, .w = &layer, .y = y.view, .activation = f, .accumulate = accumulate}));
            twin_linear(y.value, x.value, w.value, b.value, m, n, k, f, accumulate);
            ops_check(dev, &y, y.value, 2, "few rows, %lld deep", (long long)k);
            ops_free(dev, &x);
            ops_free(dev, &w);
            ops_free(dev, &b);
            ops_free(dev, &y);
        }
}

/* What is not finite stays what it is: infinities are not split into what is not a number. */
static void infinities_stay(void **state) {
    (void)state;
    para_device *dev = ops_device(0);
    ops_tensor x = OPS_MAKE(dev, PARA_F32, OPS_PLAIN, 1, 2, 512), w = OPS_MAKE(dev, PARA_BF16, OPS_PLAIN, 1, 64, 512),
               y = OPS_MAKE(dev, PARA_F32, OPS_PLAIN, 1, 2, 64);
    x.value[5] = INFINITY;
    x.value[512 + 7] = NAN;
    for (int64_t i = 0; i < 64; i++) w.value[i * 512 + 5] = 1 + (double)i / 64;
    ops_write(dev, &x);
    ops_write(dev, &w);
    para_linear layer = {.weight = w.view};
    ops_ok(dev, dev->ops->linear(dev, &(para_linear_args){.x = x.view, .w = &layer, .y = y.view}));
    double *got = ops_read(dev, &y);
    for (int64_t i = 0; i < 64; i++) {
        assert_true(isinf(got[i]) && got[i] > 0);
        assert_true(isnan(got[64 + i]));
    }
    free(got);
    ops_free(dev, &x);
    ops_free(dev, &w);
    ops_free(dev, &y);
}

/* ---- Convolutions */

static void conv_case(para_device *dev, para_dtype type, int64_t in, int64_t out, bool biased, bool held, const char *name) {
    twin_conv_sizes s = {.n = 1, .h = 20, .w = 24, .i = in, .o = out, .kh = 3, .kw = 3, .stride = 1, .top = 1, .left = 1, .oh = 20, .ow = 24};
    ops_tensor x = OPS_MAKE(dev, type, OPS_PLAIN, 1, 1, s.h, s.w, s.i), w = OPS_MAKE(dev, type, OPS_PLAIN, 0.1, s.o, s.i, 3, 3),
               y = OPS_MAKE(dev, type, OPS_PLAIN, 1, 1, s.h, s.w, s.o), b = biased ? OPS_MAKE(dev, PARA_F32, OPS_PLAIN, 1, s.o) : ops_none();
    for (int64_t i = 0; biased && held && i < s.o; i++) b.value[i] = ops_round(PARA_BF16, b.value[i]);
    if (biased) ops_write(dev, &b);
    if (biased) ops_ok(dev, dev->ops->constant(dev, b.view));
    para_linear layer = {w.view, b.view};
    ops_ok(dev, dev->ops->conv2d(dev, &(para_conv2d_args){.x = x.view, .w = &layer, .stride = 1, .pad_top = 1, .pad_left = 1, .pad_bottom = 1,
                                                          .pad_right = 1, .y = y.view}));
    twin_conv2d(y.value, x.value, w.value, b.value, &s);
    ops_check(dev, &y, y.value, 2, "conv2d to %lld, %s%s", (long long)out, !biased ? "no bias" : held ? "bias BF16" : "bias F32", name);
    ops_free(dev, &x);
    ops_free(dev, &w);
    ops_free(dev, &b);
    ops_free(dev, &y);
}

static void convolutions(void **state) {
    (void)state;
    static const int64_t out[] = {3, 8, 13, 64};
    for (int i = 0; i < 4; i++)
        for (int b = 0; b < 3; b++) {
            conv_case(ops_device(0), PARA_BF16, 64, out[i], b > 0, b > 1, "");
            conv_case(ops_device(0), PARA_F16, 16, out[i], b > 0, b > 1, "");
        }
}

/* A plan with its compiled code, from the file. */
static void plans_are_kept(void **state) {
    (void)state;
    use_cache("plans");
    for (int i = 0; i < 3; i++) {
        para_device *dev = open_tuning();
        conv_case(dev, PARA_BF16, 64, 64, true, false, i ? " kept" : " new");
        assert_string_equal(heard, "");
        para_device_close(&dev);
    }
}

/* ---- cuDNN's attention. The weights are rounded, as in our kernels: bounds as in tests/ops/test_ops_attention.c. */

static void attention_case(para_device *dev, para_dtype type, twin_attention_sizes s, bool with_lse) {
    ops_tensor q = OPS_MAKE(dev, type, OPS_PLAIN, 1, s.b, s.sq, s.h, s.d), k = OPS_MAKE(dev, type, OPS_PLAIN, 1, s.b, s.hkv, s.skv, s.d),
               v = OPS_MAKE(dev, type, OPS_PLAIN, 1, s.b, s.hkv, s.skv, s.d), out = OPS_MAKE(dev, type, OPS_PLAIN, 1, s.b, s.h, s.sq, s.d),
               lse = OPS_MAKE(dev, PARA_F32, OPS_PLAIN, 1, s.b, s.h, s.sq);
    /* q as a model has it, tokens outermost */
    para_tensor turned = PARA_PERMUTE(q.view, 0, 2, 1, 3);
    double *q_value = malloc((size_t)ops_count(&q) * sizeof *q_value), *want_lse = malloc((size_t)ops_count(&lse) * sizeof *want_lse);
    for (int64_t b = 0; b < s.b; b++)
        for (int64_t h = 0; h < s.h; h++)
            for (int64_t i = 0; i < s.sq; i++)
                memcpy(q_value + ((b * s.h + h) * s.sq + i) * s.d, q.value + ((b * s.sq + i) * s.h + h) * s.d, (size_t)s.d * sizeof *q_value);
    ops_ok(dev, dev->ops->attention(dev, &(para_attention_args){.q = turned, .k = k.view, .v = v.view, .out = out.view, .scale = (float)s.scale,
                                                                .lse = with_lse ? lse.view : (para_tensor){0}}));
    s.scale = (float)s.scale;
    twin_attention(out.value, want_lse, q_value, k.value, v.value, NULL, &s);
    ops_check(dev, &out, out.value, type == PARA_BF16 ? 2000 : 250, "attention by cuDNN, %s", ops_type_name(type));
    ops_check(dev, &lse, with_lse ? want_lse : lse.value, 4, "lse by cuDNN");
    free(q_value);
    free(want_lse);
    ops_free(dev, &q);
    ops_free(dev, &k);
    ops_free(dev, &v);
    ops_free(dev, &out);
    ops_free(dev, &lse);
}

static void cudnn_attention(void **state) {
    (void)state;
    para_device *dev = ops_device(0);
    dev->attention = PARA_ATTENTION_CUDNN;
    for (int t = 0; t < 2; t++) {
        para_dtype type = t ? PARA_F16 : PARA_BF16;
        attention_case(dev, type, (twin_attention_sizes){.b = 1, .h = 3, .hkv = 3, .sq = 130, .skv = 201, .d = 128, .dv = 128, .scale = 0.1}, true);
        attention_case(dev, type, (twin_attention_sizes){.b = 2, .h = 4, .hkv = 2, .sq = 97, .skv = 64, .d = 64, .dv = 64, .scale = 0.125}, t);
    }
    ops_tensor q = OPS_MAKE(dev, PARA_F32, OPS_PLAIN, 1, 1, 2, 40, 64);
    para_attention_args a = {.q = q.view, .k = q.view, .v = q.view, .out = q.view, .scale = 0.1f};
    assert_int_equal(dev->ops->attention(dev, &a), PARA_ERR_CONFIG);
    assert_non_null(strstr(para_last_error(), "cuDNN has no kernel for attention over 2 heads of 64 in F32"));
    dev->attention = PARA_ATTENTION_AUTO;
    ops_free(dev, &q);
}

static int setup(void **state) {
    return temp_folder_setup(state) == 0 ? ops_setup(state) : -1;
}

static int teardown(void **state) {
    int ended = ops_teardown(state);
    return temp_folder_teardown(state) == 0 ? ended : -1;
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(few_rows),     cmocka_unit_test(infinities_stay), cmocka_unit_test(convolutions),
        cmocka_unit_test(cudnn_attention), cmocka_unit_test(products_are_tuned_once), cmocka_unit_test(plans_are_kept),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
