/* Convolution in time and space through oneDNN, in slices of padded frames. SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "backend/conv3d.h"
#include "backend/cpu/cpu_conv.h"
#include "backend/cpu/cpu_scratch.h"
#include "core/error.h"

typedef struct conv3d_plan {
    para_conv3d_plan slices;
    para_cpu_conv conv;
    size_t padded_bytes, y_bytes;
} conv3d_plan;

static para_onednn_key key_of(const para_conv3d_args *a, const para_conv3d_plan *p, int threads) {
    const int64_t *w = a->w->weight.dim;
    return (para_onednn_key){
        .type = a->x.dtype,
        .bias = a->w->bias.dtype != PARA_DTYPE_NONE,
        .conv = 3,
        .threads = threads,
        .stride_t = a->stride_t,
        .stride = a->stride,
        .batch = 1,
        .frames = p->padded[0],
        .height = p->padded[1],
        .width = p->padded[2],
        .inputs = w[1],
        .outputs = w[0],
        .kernel_t = w[2],
        .kernel_h = w[3],
        .kernel_w = w[4],
        .out_frames = p->frames,
        .out_height = a->y.dim[2],
        .out_width = a->y.dim[3],
    };
}

static int64_t slice_count(const para_conv3d_args *a, const para_conv3d_plan *p) {
    return p->frames * a->y.dim[2] * a->y.dim[3] * a->y.dim[4];
}

/* The slices are those of F32, whatever computes, so that a plan is made once. */
static para_status make_plan(para_onednn *o, const para_conv3d_args *a, int threads, bool describe_only,
                             conv3d_plan *p) {
    *p = (conv3d_plan){.slices = para_plan_conv3d(a, 4)};
    if (p->slices.product) return PARA_OK;
    para_onednn_key key = key_of(a, &p->slices, threads);
    PARA_TRY(para_cpu_conv_plan(o, a->w, &key, describe_only, &p->conv));
    const int64_t *d = p->slices.padded;
    p->padded_bytes = para_cpu_round((size_t)(d[0] * d[1] * d[2] * d[3]) * para_dtype_size(p->conv.type));
    if (p->conv.type != a->y.dtype) p->y_bytes = para_cpu_round((size_t)slice_count(a, &p->slices) * 4);
    return PARA_OK;
}

static size_t plan_bytes(const conv3d_plan *p) {
    return p->padded_bytes + p->y_bytes + para_cpu_conv_bytes(&p->conv);
}

para_status para_cpu_conv3d_scratch(para_onednn **kept, const para_conv3d_args *a, int threads, size_t *out) {
    conv3d_plan plan;
    *out = 0;
    if (para_tensor_count(&a->y) == 0) return PARA_OK;
    if (!*kept) PARA_TRY(para_onednn_open(kept));
    PARA_TRY(make_plan(*kept, a, threads, true, &plan));
    if (!plan.slices.product) {
        *out = plan_bytes(&plan);
        return PARA_OK;
    }
    para_linear layer;
    para_linear_args product = para_conv3d_product(a, &layer);
    return para_cpu_linear_scratch(kept, &product, threads, out);
}

/* The padded copy of a slice. */
typedef struct pad_task {
    const para_simd *simd;
    const para_conv3d_args *a;
    const conv3d_plan *plan;
    int64_t item, first; /* of the batch; of y's frames */
    char *to;
} pad_task;

static int64_t clamp(int64_t i, int64_t n) {
    return i < 0 ? 0 : i < n ? i : n - 1;
}

/* The line of x, enlarged, at height y of padded frame p; its width goes to *width. */
static const char *source_line(const pad_task *t, int64_t p, int64_t y, int64_t *width) {
    const para_conv3d_args *a = t->a;
    const para_conv3d_plan *s = &t->plan->slices;
    int64_t from = para_conv3d_source(a, t->first, p), size = (int64_t)para_dtype_size(a->x.dtype);
    const para_tensor *x = from < 0 ? &a->before : &a->x; /* [N, F, H, W, I] */
    int64_t frame = from < 0 ? -1 - from : para_nearest_frame(from, x->dim[1], s->f);
    *width = x->dim[3];
    return (const char *)x->data +
           (t->item * x->stride[0] + frame * x->stride[1] + y * x->dim[2] / s->h * x->stride[2]) * size;
}

static void pad_range(void *context, int64_t first, int64_t last, int worker) {
    const pad_task *t = context;
    const para_conv3d_args *a = t->a;
    const para_conv3d_plan *s = &t->plan->slices;
    para_dtype type = a->x.dtype, own = t->plan->conv.type;
    int64_t c = s->padded[3], from_bytes = c * (int64_t)para_dtype_size(type),
            bytes = c * (int64_t)para_dtype_size(own), width;
    (void)worker;
    for (int64_t row = first; row < last; row++) { /* lines of all padded frames */
        int64_t y = row % s->padded[1] - a->pad_h;
        char *to = t->to + row * s->padded[2] * bytes, *inner = to + a->pad_w * bytes, *right = inner + s->w * bytes;
        if (!a->replicate && (y < 0 || y >= s->h)) {
            memset(to, 0, (size_t)(s->padded[2] * bytes));
            continue;
        }
        const char *from = source_line(t, row / s->padded[1], clamp(y, s->h), &width);
        if (width == s->w) t->simd->convert(inner, own, from, type, own, s->w * c);
        for (int64_t i = 0; width != s->w && i < s->w; i++)
            t->simd->convert(inner + i * bytes, own, from + i * width / s->w * from_bytes, type, own, c);
        for (int64_t i = 0; i < a->pad_w; i++) {
            if (a->replicate) {
                memcpy(to + i * bytes, inner, (size_t)bytes);
                memcpy(right + i * bytes, right - bytes, (size_t)bytes);
            } else {
                memset(to + i * bytes, 0, (size_t)bytes);
                memset(right + i * bytes, 0, (size_t)bytes);
            }
        }
    }
}

static para_status run(para_device *dev, const para_conv3d_args *a, const conv3d_plan *p, char *scratch) {
    const para_conv3d_plan *s = &p->slices;
    pad_task task = {.simd = para_simd_of(dev), .a = a, .plan = p, .to = scratch};
    char *own = scratch + p->padded_bytes, *conv = own + p->y_bytes;
    const void *weights = para_cpu_conv_weights(dev, &p->conv, a->w, a->x.dtype, conv);
    bool convert = p->conv.type != a->y.dtype;
    int64_t count = slice_count(a, s), size = (int64_t)para_dtype_size(a->y.dtype);
    for (task.item = 0; task.item < a->x.dim[0]; task.item++) {
        for (int64_t i = 0; (task.first = para_conv3d_slice(s, a, i)) >= 0; i++) {
            char *y = (char *)a->y.data + (task.item * a->y.stride[0] + task.first * a->y.stride[1]) * size;
            para_cpu_split(dev, s->padded[0] * s->padded[1], para_cpu_grain(s->padded[2] * s->padded[3] * 4), pad_range,
                           &task);
            PARA_TRY(para_cpu_conv_run(dev, &p->conv, a->w, weights, task.to, convert ? own : y, conv));
            if (convert) para_cpu_convert(dev, count, own, PARA_F32, y, a->y.dtype, PARA_F32);
        }
    }
    return PARA_OK;
}

para_status para_cpu_conv3d(para_device *dev, const para_conv3d_args *a) {
    conv3d_plan plan;
    para_linear layer;
    void *scratch;
    PARA_TRY(para_conv3d_check(a));
    if (para_tensor_count(&a->y) == 0) return PARA_OK;
    PARA_TRY(make_plan(para_cpu_of(dev)->onednn, a, dev->threads, false, &plan));
    if (plan.slices.product) {
        para_linear_args product = para_conv3d_product(a, &layer);
        return para_cpu_linear(dev, &product);
    }
    size_t mark = para_arena_mark(&dev->arena);
    PARA_TRY(para_arena_take(&dev->arena, plan_bytes(&plan), &scratch));
    para_status status = run(dev, a, &plan, scratch);
    para_arena_release(&dev->arena, mark);
    return status;
}
