/* Linear layers, convolutions and look-ups against their double-precision twins. SPDX-License-Identifier: Apache-2.0 */
#include "backend/conv3d.h"
#include "backend/cpu/cpu_scratch.h"
#include "ops/ops_case.h"
#include "ops/twin_ops.h"

#include <stdlib.h>
#include <string.h>

static const para_dtype compute_types[] = {PARA_F32, PARA_BF16};
static const para_dtype weight_types[] = {PARA_F32, PARA_BF16, PARA_F16, PARA_F8_E4M3};

/* The weight as it is used: in the activations' type. */
static double *used_weight(const ops_tensor *w, para_dtype type) {
    double *used = malloc((size_t)(ops_count(w) + 1) * sizeof *used);
    for (int64_t i = 0; i < ops_count(w); i++) used[i] = ops_round(type, w->value[i]);
    return used;
}

static void linear_case(para_device *dev, para_dtype type, para_dtype weight_type, int64_t m, int64_t n, int64_t k) {
    ops_layout layout = ops_chance(0.5) ? OPS_PLAIN : OPS_PADDED;
    para_activation f = ops_chance(0.5) ? PARA_ACT_NONE : (para_activation)ops_int(1, 5);
    bool accumulate = ops_chance(0.3), bias = ops_chance(0.6);
    ops_tensor x = OPS_MAKE(dev, type, layout, 1, m, k),
               w = OPS_MAKE(dev, weight_type, ops_chance(0.7) ? OPS_PLAIN : OPS_PADDED, 0.3, n, k);
    ops_tensor b = bias ? OPS_MAKE(dev, PARA_F32, OPS_PADDED, 1, n) : ops_none(),
               y = OPS_MAKE(dev, type, layout, 1, m, n);
    para_linear layer = {w.view, b.view};
    double *used = used_weight(&w, type);
    para_linear_args a = {.x = x.view, .w = &layer, .y = y.view, .activation = f, .accumulate = accumulate};
    ops_ok(dev, dev->ops->linear(dev, &a));
    size_t scratch;
    para_onednn *kept = NULL;
    assert_int_equal(para_cpu_linear_scratch(&kept, &a, dev->threads, &scratch), PARA_OK);
    para_onednn_close(&kept);
    ops_took(dev, scratch);
    twin_linear(y.value, x.value, used, b.value, m, n, k, f, accumulate);
    ops_check(dev, &y, y.value, ops_added(dev, type, accumulate, 2), "linear %s %s", ops_type_name(weight_type), m <= 8 ? "few" : "many");
    free(used);
    ops_free(dev, &x);
    ops_free(dev, &w);
    ops_free(dev, &b);
    ops_free(dev, &y);
}

static void linear_layers(void **state) {
    (void)state;
    for (int d = 0; d < ops_device_count(); d++)
        for (int t = 0; t < 2; t++)
            for (int w = 0; w < 4; w++) {
                for (int i = 0; i < 12; i++)
                    linear_case(ops_device(d), compute_types[t], weight_types[w],
                                ops_chance(0.5) ? ops_int(1, 10) : ops_int(1, 150), ops_int(1, 200), ops_int(1, 300));
                linear_case(ops_device(d), compute_types[t], weight_types[w], 33, 1111, 1300);
            }
}

/* Large enough that weights are converted and results are computed in several slices. */
static void linear_in_slices(void **state) {
    (void)state;
    for (int t = 0; t < 2; t++)
        for (int w = 0; w < 2; w++) linear_case(ops_device(0), compute_types[t], weight_types[w], 20, 330, 8200);
}

/* Checkpoints guarantee no alignment of their tensors. */
static void weights_at_odd_addresses(void **state) {
    (void)state;
    para_device *dev = ops_device(0);
    if (strcmp(dev->ops->name, "cpu") != 0) skip(); /* others have their own copy of the weights, aligned */
    for (int t = 0; t < 2; t++)
        for (int64_t m = 3; m < 60; m += 30) {
            int64_t n = 70, k = 90;
            ops_tensor x = OPS_MAKE(dev, compute_types[t], OPS_PLAIN, 1, m, k),
                       w = OPS_MAKE(dev, compute_types[t], OPS_PLAIN, 0.3, n, k);
            ops_tensor b = OPS_MAKE(dev, PARA_F32, OPS_PLAIN, 1, n),
                       y = OPS_MAKE(dev, compute_types[t], OPS_PLAIN, 1, m, n);
            void *odd;
            size_t bytes = (size_t)(n * k) * para_dtype_size(compute_types[t]);
            ops_ok(dev, dev->ops->alloc(dev, bytes + 1 + (size_t)n * 4, &odd));
            para_linear layer = {w.view, b.view};
            layer.weight.data = (char *)odd + 1;
            layer.bias.data = (char *)odd + 1 + bytes;
            char *image = malloc(bytes);
            ops_ok(dev, dev->ops->download(dev, image, &w.view));
            ops_ok(dev, dev->ops->upload(
                            dev, para_tensor_make(layer.weight.data, PARA_U8, 1, (int64_t[]){(int64_t)bytes}), image));
            ops_ok(dev, dev->ops->download(dev, image, &b.view));
            ops_ok(dev,
                   dev->ops->upload(dev, para_tensor_make(layer.bias.data, PARA_U8, 1, (int64_t[]){n * 4}), image));
            ops_ok(dev, dev->ops->linear(dev, &(para_linear_args){.x = x.view, .w = &layer, .y = y.view}));
            twin_linear(y.value, x.value, w.value, b.value, m, n, k, PARA_ACT_NONE, false);
            ops_check(dev, &y, y.value, 2, "linear odd address");
            free(image);
            dev->ops->free(dev, odd);
            ops_free(dev, &x);
            ops_free(dev, &w);
            ops_free(dev, &b);
            ops_free(dev, &y);
        }
}

static void conv_case(para_device *dev, para_dtype type, para_dtype weight_type) {
    twin_conv_sizes s = {.n = ops_int(1, 2),
                         .h = ops_int(3, 20),
                         .w = ops_int(3, 20),
                         .i = ops_int(1, 40),
                         .o = ops_int(1, 40),
                         .kh = ops_int(1, 3),
                         .kw = ops_int(1, 3),
                         .stride = ops_int(1, 2),
                         .top = ops_int(0, 1),
                         .left = ops_int(0, 1)};
    int64_t bottom = ops_int(0, 1), right = ops_int(0, 1);
    s.oh = (s.h + s.top + bottom - s.kh) / s.stride + 1;
    s.ow = (s.w + s.left + right - s.kw) / s.stride + 1;
    ops_tensor x = OPS_MAKE(dev, type, OPS_PLAIN, 1, s.n, s.h, s.w, s.i),
               w = OPS_MAKE(dev, weight_type, OPS_PLAIN, 0.3, s.o, s.i, s.kh, s.kw);
    ops_tensor b = ops_chance(0.7) ? OPS_MAKE(dev, PARA_F32, OPS_PLAIN, 1, s.o) : ops_none();
    ops_tensor y = OPS_MAKE(dev, type, OPS_PLAIN, 1, s.n, s.oh, s.ow, s.o);
    para_linear layer = {w.view, b.view};
    double *used = used_weight(&w, type);
    para_conv2d_args a = {.x = x.view,
                          .w = &layer,
                          .stride = (int)s.stride,
                          .pad_top = (int)s.top,
                          .pad_left = (int)s.left,
                          .pad_bottom = (int)bottom,
                          .pad_right = (int)right,
                          .y = y.view};
    ops_ok(dev, dev->ops->conv2d(dev, &a));
    size_t scratch;
    para_onednn *kept = NULL;
    assert_int_equal(para_cpu_conv2d_scratch(&kept, &a, dev->threads, &scratch), PARA_OK);
    para_onednn_close(&kept);
    ops_took(dev, scratch);
    twin_conv2d(y.value, x.value, used, b.value, &s);
    ops_check(dev, &y, y.value, 2, "conv2d %s", ops_type_name(weight_type));
    free(used);
    ops_free(dev, &x);
    ops_free(dev, &w);
    ops_free(dev, &b);
    ops_free(dev, &y);
}

static void convolutions(void **state) {
    (void)state;
    for (int d = 0; d < ops_device_count(); d++)
        for (int t = 0; t < 2; t++)
            for (int w = 0; w < 4; w++)
                for (int i = 0; i < 12; i++) conv_case(ops_device(d), compute_types[t], weight_types[w]);
}

/* Kernels and strides of the video VAEs, on sizes that they meet in tests only. */
static void video_conv_case(para_device *dev, para_dtype type, para_dtype weight_type, int64_t frames, int64_t most) {
    twin_video_sizes s = {.n = ops_int(1, 2),
                          .x = {frames, ops_int(2, most), ops_int(2, most)},
                          .i = ops_chance(0.4) ? 8 * ops_int(1, 3) : ops_int(1, 20),
                          .o = ops_chance(0.4) ? 8 * ops_int(1, 3) : ops_int(1, 20),
                          .k = {ops_int(1, 3), ops_int(1, 3)},
                          .stride = {ops_int(1, 2), ops_int(1, 2)},
                          .replicate = ops_chance(0.5)};
    bool grows = ops_chance(0.3);
    for (int i = 0; i < 3; i++) s.grown[i] = s.x[i] * (grows && (i > 0 || frames % 2 == 0) ? 2 : 1);
    if (grows && frames % 2 && ops_chance(0.5)) s.grown[0] = 2 * frames - 1;
    s.k[2] = s.k[1], s.stride[2] = s.stride[1], s.pad[1] = s.pad[2] = ops_int(0, s.k[1] / 2);
    s.y[0] = (s.grown[0] - 1) / s.stride[0] + 1;
    for (int i = 1; i < 3; i++) s.y[i] = (s.grown[i] + 2 * s.pad[i] - s.k[i]) / s.stride[i] + 1;
    if (s.grown[1] + 2 * s.pad[1] < s.k[1] || s.grown[2] + 2 * s.pad[2] < s.k[2]) return;
    ops_tensor x = OPS_MAKE(dev, type, OPS_PLAIN, 1, s.n, s.x[0], s.x[1], s.x[2], s.i), w = OPS_MAKE(dev, weight_type, OPS_PLAIN, 0.3, s.o, s.i, s.k[0], s.k[1], s.k[2]);
    ops_tensor before = s.k[0] > 1 && ops_chance(0.5) ? OPS_MAKE(dev, type, OPS_PLAIN, 1, s.n, s.k[0] - 1, s.grown[1], s.grown[2], s.i) : ops_none();
    ops_tensor b = ops_chance(0.7) ? OPS_MAKE(dev, PARA_F32, OPS_PLAIN, 1, s.o) : ops_none();
    ops_tensor y = OPS_MAKE(dev, type, OPS_PLAIN, 1, s.n, s.y[0], s.y[1], s.y[2], s.o);
    para_linear layer = {w.view, b.view};
    double *used = used_weight(&w, type);
    para_conv3d_args a = {.x = x.view, .before = before.view, .w = &layer, .stride_t = (int)s.stride[0], .stride = (int)s.stride[1], .pad_h = (int)s.pad[1],
                          .pad_w = (int)s.pad[2], .replicate = s.replicate, .y = y.view};
    for (int i = 0; grows && i < 3; i++) a.grown[i] = s.grown[i];
    ops_ok(dev, dev->ops->conv3d(dev, &a));
    size_t scratch;
    para_onednn *kept = NULL;
    assert_int_equal(para_cpu_conv3d_scratch(&kept, &a, dev->threads, &scratch), PARA_OK);
    para_onednn_close(&kept);
    ops_took(dev, scratch);
    twin_conv3d(y.value, x.value, before.value, used, b.value, &s);
    ops_check(dev, &y, y.value, 2, "conv3d %s", ops_type_name(weight_type));
    free(used);
    ops_free(dev, &x);
    ops_free(dev, &w);
    ops_free(dev, &before);
    ops_free(dev, &b);
    ops_free(dev, &y);
}

static void convolutions_of_videos(void **state) {
    (void)state;
    for (int d = 0; d < ops_device_count(); d++)
        for (int t = 0; t < 2; t++)
            for (int w = 0; w < 4; w++)
                for (int i = 0; i < 12; i++) video_conv_case(ops_device(d), compute_types[t], weight_types[w], ops_int(1, 7), 9);
}

/* Slices of frames, the last of which begins before the one before it ends: as each frame with those before it alone. */
static void a_video_in_slices(void **state) {
    (void)state;
    para_device *dev = ops_device(0);
    enum { F = 11, H = 350, W = 350, C = 16, O = 3 };
    int64_t frame = H * W * O;
    ops_tensor x = OPS_MAKE(dev, PARA_BF16, OPS_PLAIN, 1, 1, F, H, W, C), w = OPS_MAKE(dev, PARA_BF16, OPS_PLAIN, 0.3, O, C, 3, 1, 1),
               y = OPS_MAKE(dev, PARA_BF16, OPS_PLAIN, 1, 1, F, H, W, O), one = OPS_MAKE(dev, PARA_BF16, OPS_PLAIN, 1, 1, 1, H, W, O);
    para_linear layer = {w.view, {0}};
    para_conv3d_args a = {.x = x.view, .w = &layer, .stride_t = 1, .stride = 1, .replicate = true, .y = y.view};
    para_conv3d_plan p = para_plan_conv3d(&a, 4), two = para_plan_conv3d(&a, 2);
    assert_true(p.frames == 6 && para_conv3d_slice(&p, &a, 1) == 5 && para_conv3d_slice(&p, &a, 2) == -1 && two.frames == 11);
    ops_ok(dev, dev->ops->conv3d(dev, &a));
    for (int64_t t = 0; t < F; t++) {
        para_tensor own = para_slice(x.view, 1, t, 1), before = t >= 2 ? para_slice(x.view, 1, t - 2, 2) : ops_none().view;
        if (t == 1) own = para_slice(x.view, 1, 0, 2);
        para_conv3d_args alone = {.x = para_tensor_make(own.data, own.dtype, 5, own.dim), .before = before, .w = &layer, .stride_t = 1, .stride = 1, .replicate = true};
        ops_tensor both = t == 1 ? OPS_MAKE(dev, PARA_BF16, OPS_PLAIN, 1, 1, 2, H, W, O) : ops_none();
        alone.y = t == 1 ? both.view : one.view;
        if (before.data) alone.before = para_tensor_make(before.data, before.dtype, 5, before.dim);
        ops_ok(dev, dev->ops->conv3d(dev, &alone));
        double *got = ops_read(dev, t == 1 ? &both : &one);
        memcpy(y.value + t * frame, got + (t == 1 ? frame : 0), (size_t)frame * sizeof *got);
        free(got);
        ops_free(dev, &both);
    }
    ops_check(dev, &y, y.value, 2, "conv3d in slices");
    ops_free(dev, &x);
    ops_free(dev, &w);
    ops_free(dev, &y);
    ops_free(dev, &one);
}

static void operands_that_do_not_fit_a_video(void **state) {
    (void)state;
    para_device *dev = ops_device(0);
    ops_tensor x = OPS_MAKE(dev, PARA_F32, OPS_PLAIN, 1, 1, 3, 4, 5, 2), w = OPS_MAKE(dev, PARA_F32, OPS_PLAIN, 1, 3, 2, 3, 3, 3), y = OPS_MAKE(dev, PARA_F32, OPS_PLAIN, 1, 1, 3, 4, 5, 3),
               before = OPS_MAKE(dev, PARA_F32, OPS_PLAIN, 1, 1, 1, 4, 5, 2);
    para_linear layer = {w.view, {0}};
    para_conv3d_args right = {.x = x.view, .w = &layer, .stride_t = 1, .stride = 1, .pad_h = 1, .pad_w = 1, .y = y.view};
    ops_ok(dev, dev->ops->conv3d(dev, &right));
    para_conv3d_args wrong[] = {right, right, right, right, right, right};
    wrong[0].stride_t = 0;
    wrong[1].pad_w = 0;
    wrong[2].before = before.view;
    wrong[3].grown[1] = 3;
    wrong[4].y.dtype = PARA_BF16;
    wrong[5].x.dim[4] = 1;
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) assert_int_equal(dev->ops->conv3d(dev, &wrong[i]), PARA_ERR_SHAPE);
    ops_free(dev, &x);
    ops_free(dev, &w);
    ops_free(dev, &y);
    ops_free(dev, &before);
}

static void embedding_case(para_device *dev, para_dtype type, para_dtype table_type) {
    int64_t v = ops_int(1, 60), m = ops_int(0, 40), width = ops_int(1, 100);
    ops_tensor table = OPS_MAKE(dev, table_type, OPS_PADDED, 1, v, width),
               ids = OPS_MAKE(dev, PARA_I32, OPS_PADDED, (double)v, m);
    ops_tensor y = OPS_MAKE(dev, type, OPS_PADDED, 1, m, width);
    ops_ok(dev, dev->ops->embedding(dev, table.view, ids.view, y.view));
    for (int64_t i = 0; i < m; i++)
        for (int64_t j = 0; j < width; j++)
            y.value[i * width + j] = ops_round(type, table.value[(int64_t)ids.value[i] * width + j]);
    ops_check(dev, &y, y.value, 1, "embedding %s", ops_type_name(table_type));
    ops_free(dev, &table);
    ops_free(dev, &ids);
    ops_free(dev, &y);
}

static void embeddings(void **state) {
    (void)state;
    for (int d = 0; d < ops_device_count(); d++)
        for (int t = 0; t < 2; t++)
            for (int w = 0; w < 4; w++)
                for (int i = 0; i < 6; i++) embedding_case(ops_device(d), compute_types[t], weight_types[w]);
}

static void ids_outside_the_table(void **state) {
    (void)state;
    para_device *dev = ops_device(0);
    if (strcmp(dev->ops->name, "cpu") != 0) skip(); /* others can not look without waiting */
    ops_tensor table = OPS_MAKE(dev, PARA_F32, OPS_PLAIN, 1, 5, 4), ids = OPS_MAKE(dev, PARA_I32, OPS_PLAIN, 5, 2);
    ops_tensor y = OPS_MAKE(dev, PARA_F32, OPS_PLAIN, 1, 2, 4);
    for (int32_t bad = -1; bad <= 5; bad += 6) {
        ids.value[1] = bad;
        ops_write(dev, &ids);
        assert_int_equal(dev->ops->embedding(dev, table.view, ids.view, y.view), PARA_ERR_ARGUMENT);
    }
    ops_free(dev, &table);
    ops_free(dev, &ids);
    ops_free(dev, &y);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(linear_layers), cmocka_unit_test(linear_in_slices), cmocka_unit_test(weights_at_odd_addresses),
        cmocka_unit_test(convolutions), cmocka_unit_test(convolutions_of_videos), cmocka_unit_test(a_video_in_slices), cmocka_unit_test(operands_that_do_not_fit_a_video),  cmocka_unit_test(embeddings),       cmocka_unit_test(ids_outside_the_table),
    };
    return cmocka_run_group_tests(tests, ops_setup, ops_teardown);
}
