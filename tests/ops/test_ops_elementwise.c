/* Activations, sums, copies, pictures and the check for NaN against double precision. SPDX-License-Identifier: Apache-2.0 */
#include "ops/ops_case.h"
#include "ops/twin_ops.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static const para_dtype types[] = {PARA_F32, PARA_BF16};
static const char *names[] = {"none", "silu", "gelu_tanh", "gelu_erf", "quick_gelu", "relu", "tanh"};

static void activation_case(para_device *dev, para_dtype type, para_activation f) {
    ops_layout layout = ops_chance(0.5) ? OPS_PLAIN : OPS_PADDED;
    int64_t m = ops_int(1, 60), n = ops_int(1, 200);
    bool in_place = ops_chance(0.3);
    ops_tensor x = OPS_MAKE(dev, type, layout, 3, m, n), y = OPS_MAKE(dev, type, layout, 1, m, n);
    for (int64_t i = 0; i < m * n && i < 4; i++) x.value[i] = (double[]){-200, 200, 0, -15}[i];
    ops_write(dev, &x);
    ops_ok(dev, dev->ops->activate(dev, f, x.view, in_place ? x.view : y.view));
    for (int64_t i = 0; i < m * n; i++) x.value[i] = twin_activation(f, x.value[i]);
    ops_check(dev, in_place ? &x : &y, x.value, 1, "activate %s", names[f]);
    ops_free(dev, &x);
    ops_free(dev, &y);
}

static void gated_case(para_device *dev, para_dtype type, para_activation f) {
    ops_layout layout = ops_chance(0.5) ? OPS_PLAIN : OPS_PADDED;
    int64_t m = ops_int(1, 60), n = ops_int(1, 200);
    ops_tensor a = OPS_MAKE(dev, type, layout, 2, m, n), b = OPS_MAKE(dev, type, OPS_PADDED, 2, m, n),
               y = OPS_MAKE(dev, type, layout, 1, m, n);
    ops_ok(dev, dev->ops->gated(dev, f, a.view, b.view, y.view));
    for (int64_t i = 0; i < m * n; i++) y.value[i] = twin_activation(f, a.value[i]) * b.value[i];
    ops_check(dev, &y, y.value, 1, "gated %s", names[f]);
    ops_free(dev, &a);
    ops_free(dev, &b);
    ops_free(dev, &y);
}

static void activations(void **state) {
    (void)state;
    for (int d = 0; d < ops_device_count(); d++)
        for (int t = 0; t < 2; t++)
            for (int f = PARA_ACT_NONE; f <= PARA_ACT_TANH; f++)
                for (int i = 0; i < 6; i++) {
                    activation_case(ops_device(d), types[t], (para_activation)f);
                    gated_case(ops_device(d), types[t], (para_activation)f);
                }
}

static void combinations(void **state) {
    (void)state;
    static const para_dtype any[] = {PARA_F32, PARA_BF16, PARA_F16};
    for (int i = 0; i < 60; i++) {
        para_device *dev = ops_device(i % ops_device_count());
        int n = (int)ops_int(1, 4);
        int64_t count = ops_int(1, 9000);
        ops_tensor y = OPS_MAKE(dev, any[ops_int(0, 2)], OPS_PLAIN, 1, count), x[4];
        para_tensor views[4];
        float c[4];
        double *want = calloc((size_t)count, sizeof *want);
        bool in_place = ops_chance(0.4);
        for (int j = 0; j < n; j++) {
            x[j] = j == 0 && in_place ? y : OPS_MAKE(dev, any[ops_int(0, 2)], OPS_PLAIN, 1, count);
            views[j] = x[j].view;
            c[j] = (float)ops_normal();
            for (int64_t k = 0; k < count; k++) want[k] += c[j] * x[j].value[k];
        }
        ops_ok(dev, dev->ops->combine(dev, y.view, n, views, c));
        ops_check(dev, &y, want, 1, "combine");
        for (int j = in_place; j < n; j++) ops_free(dev, &x[j]);
        ops_free(dev, &y);
        free(want);
    }
}

static void copies(void **state) {
    (void)state;
    static const para_dtype any[] = {PARA_F32, PARA_BF16, PARA_F16};
    for (int i = 0; i < 150; i++) {
        para_device *dev = ops_device(i % ops_device_count());
        int rank = (int)ops_int(1, 5);
        int64_t dim[5];
        for (int j = 0; j < rank; j++) dim[j] = ops_int(1, 9);
        if (rank == 2) dim[1] = ops_int(1, 3000);
        para_dtype to = any[ops_int(0, 2)], from = ops_chance(0.1) ? PARA_F8_E4M3 : any[ops_int(0, 2)];
        if (ops_chance(0.1)) to = from = PARA_I32;
        ops_tensor src = ops_make(dev, from, (ops_layout)ops_int(0, 3), 9, rank, dim),
                   dst = ops_make(dev, to, (ops_layout)ops_int(0, 3), 9, rank, dim);
        ops_ok(dev, dev->ops->copy(dev, dst.view, src.view));
        for (int64_t k = 0; k < ops_count(&src); k++) src.value[k] = ops_round(to, src.value[k]);
        double *got = ops_read(dev, &dst);
        assert_memory_equal(got, src.value, (size_t)ops_count(&src) * sizeof *got); /* to the bit */
        ops_check(dev, &dst, src.value, 1, "copy");
        free(got);
        ops_free(dev, &src);
        ops_free(dev, &dst);
    }
}

static void upsampling(void **state) {
    (void)state;
    for (int i = 0; i < 20; i++) {
        para_device *dev = ops_device(i % ops_device_count());
        para_dtype type = types[i % 2];
        int64_t n = ops_int(1, 2), h = ops_int(1, 9), w = ops_int(1, 9), c = ops_int(1, 40);
        ops_tensor x = OPS_MAKE(dev, type, OPS_PLAIN, 1, n, h, w, c),
                   y = OPS_MAKE(dev, type, OPS_PLAIN, 1, n, 2 * h, 2 * w, c);
        ops_ok(dev, dev->ops->upsample2x(dev, x.view, y.view));
        for (int64_t j = 0; j < ops_count(&y); j++) {
            int64_t column = j / c % (2 * w), row = j / c / (2 * w) % (2 * h), picture = j / c / (4 * w * h);
            y.value[j] = x.value[((picture * h + row / 2) * w + column / 2) * c + j % c];
        }
        ops_check(dev, &y, y.value, 0, "upsample2x");
        ops_free(dev, &x);
        ops_free(dev, &y);
    }
}

static void blending(void **state) {
    (void)state;
    for (int i = 0; i < 40; i++) {
        para_device *dev = ops_device(i % ops_device_count());
        para_dtype type = types[i % 2];
        int axis = (int)ops_int(0, 3);
        int64_t dim[] = {ops_int(1, 3), ops_int(1, 20), ops_int(1, 20), ops_int(1, 5)};
        ops_tensor edge = ops_make(dev, type, OPS_ANY, 1, 4, dim), dst = ops_make(dev, type, OPS_ANY, 1, 4, dim);
        ops_ok(dev, dev->ops->blend(dev, edge.view, dst.view, axis));
        for (int64_t j = 0; j < ops_count(&dst); j++) {
            int64_t inner = 1;
            for (int k = axis + 1; k < 4; k++) inner *= dim[k];
            double share = (double)(j / inner % dim[axis]) / (double)dim[axis];
            dst.value[j] = edge.value[j] * (1 - share) + dst.value[j] * share;
        }
        ops_check(dev, &dst, dst.value, 1, "blend");
        ops_free(dev, &edge);
        ops_free(dev, &dst);
    }
}

static void changes(void **state) {
    (void)state;
    for (int i = 0; i < 60; i++) {
        para_device *dev = ops_device(i % ops_device_count());
        int64_t count = ops_chance(0.5) ? ops_int(1, 300) : ops_int(1, 300000);
        ops_tensor before = OPS_MAKE(dev, types[i % 2], OPS_PLAIN, 3, count),
                   now = OPS_MAKE(dev, types[i % 2], OPS_PLAIN, 3, count),
                   sums = OPS_MAKE(dev, PARA_F32, OPS_PLAIN, 1, 2);
        double want[2] = {0};
        for (int64_t j = 0; j < count; j++) {
            want[0] += fabs(before.value[j] - now.value[j]);
            want[1] += fabs(before.value[j]);
        }
        ops_ok(dev, dev->ops->change(dev, before.view, now.view, sums.view));
        ops_check(dev, &sums, want, 1, "change");
        ops_free(dev, &before);
        ops_free(dev, &now);
        ops_free(dev, &sums);
    }
}

static void finding_nan(void **state) {
    (void)state;
    for (int i = 0; i < 60; i++) {
        para_device *dev = ops_device(i % ops_device_count());
        ops_tensor x = OPS_MAKE(dev, types[i % 2], OPS_PLAIN, 1, ops_int(1, 20000));
        bool finite;
        ops_ok(dev, dev->ops->all_finite(dev, x.view, &finite));
        assert_true(finite);
        x.value[ops_int(0, ops_count(&x) - 1)] = (double[]){NAN, INFINITY, -INFINITY}[i % 3];
        ops_write(dev, &x);
        ops_ok(dev, dev->ops->all_finite(dev, x.view, &finite));
        assert_false(finite);
        ops_free(dev, &x);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(activations), cmocka_unit_test(combinations), cmocka_unit_test(copies),
        cmocka_unit_test(upsampling),  cmocka_unit_test(blending),     cmocka_unit_test(changes),
        cmocka_unit_test(finding_nan),
    };
    return cmocka_run_group_tests(tests, ops_setup, ops_teardown);
}
