/* Convolution through oneDNN. SPDX-License-Identifier: Apache-2.0 */
#include "backend/cpu/cpu_conv.h"
#include "backend/cpu/cpu_scratch.h"
#include "core/error.h"

typedef struct conv_plan {
    para_cpu_conv conv;
    bool convert_xy;
    size_t x_bytes, y_bytes;
} conv_plan;

static para_onednn_key key_of(const para_conv2d_args *a, int threads) {
    const para_tensor *w = &a->w->weight;
    return (para_onednn_key){
        .type = a->x.dtype,
        .bias = a->w->bias.dtype != PARA_DTYPE_NONE,
        .conv = 2,
        .threads = threads,
        .stride = a->stride,
        .pad_top = a->pad_top,
        .pad_left = a->pad_left,
        .pad_bottom = a->pad_bottom,
        .pad_right = a->pad_right,
        .batch = a->x.dim[0],
        .height = a->x.dim[1],
        .width = a->x.dim[2],
        .inputs = a->x.dim[3],
        .outputs = w->dim[0],
        .kernel_h = w->dim[2],
        .kernel_w = w->dim[3],
        .out_height = a->y.dim[1],
        .out_width = a->y.dim[2],
    };
}

para_status para_cpu_conv_plan(para_onednn *o, const para_linear *w, const para_onednn_key *key, bool describe_only,
                               para_cpu_conv *out) {
    const para_onednn_op *op;
    para_cpu_conv c = {.type = key->type, .key = *key};
    PARA_TRY(para_onednn_find(o, &c.key, describe_only, &op));
    if (c.type == PARA_BF16 && op->reference) {
        c.key.type = c.type = PARA_F32;
        PARA_TRY(para_onednn_find(o, &c.key, describe_only, &op));
    }
    c.convert_w = w->weight.dtype != c.type || c.type != key->type; /* rounded to BF16 even if F32 is what then computes */
    if (c.convert_w) c.w_bytes = para_cpu_round((size_t)para_tensor_count(&w->weight) * para_dtype_size(c.type));
    c.packed_bytes = para_cpu_round(op->packed_bytes);
    c.onednn_bytes = op->scratch_bytes;
    *out = c;
    return PARA_OK;
}

size_t para_cpu_conv_bytes(const para_cpu_conv *c) {
    return c->w_bytes + c->packed_bytes + c->onednn_bytes;
}

static para_status make_plan(para_onednn *o, const para_conv2d_args *a, int threads, bool describe_only, conv_plan *p) {
    para_onednn_key key = key_of(a, threads);
    *p = (conv_plan){0};
    PARA_TRY(para_cpu_conv_plan(o, a->w, &key, describe_only, &p->conv));
    p->convert_xy = p->conv.type != a->x.dtype;
    if (p->convert_xy) p->x_bytes = para_cpu_round((size_t)para_tensor_count(&a->x) * 4);
    if (p->convert_xy) p->y_bytes = para_cpu_round((size_t)para_tensor_count(&a->y) * 4);
    return PARA_OK;
}

static size_t plan_bytes(const conv_plan *p) {
    return p->x_bytes + p->y_bytes + para_cpu_conv_bytes(&p->conv);
}

para_status para_cpu_conv2d_scratch(para_onednn **kept, const para_conv2d_args *a, int threads, size_t *out) {
    conv_plan plan;
    *out = 0;
    if (para_tensor_count(&a->y) == 0) return PARA_OK;
    if (!*kept) PARA_TRY(para_onednn_open(kept));
    PARA_TRY(make_plan(*kept, a, threads, true, &plan));
    *out = plan_bytes(&plan);
    return PARA_OK;
}

/* Contiguous elements of another type. */
typedef struct convert_all {
    const para_simd *simd;
    const void *from;
    void *to;
    para_dtype from_type, to_type, between;
} convert_all;

static void convert_range(void *context, int64_t first, int64_t last, int worker) {
    const convert_all *c = context;
    (void)worker;
    c->simd->convert((char *)c->to + first * (int64_t)para_dtype_size(c->to_type), c->to_type,
                     (const char *)c->from + first * (int64_t)para_dtype_size(c->from_type), c->from_type, c->between,
                     last - first);
}

void para_cpu_convert(para_device *dev, int64_t count, const void *from, para_dtype from_type, void *to,
                      para_dtype to_type, para_dtype between) {
    convert_all c = {para_simd_of(dev), from, to, from_type, to_type, between};
    para_cpu_split(dev, count, para_cpu_grain(4), convert_range, &c);
}

const void *para_cpu_conv_weights(para_device *dev, const para_cpu_conv *c, const para_linear *w,
                                  para_dtype activations, char *scratch) {
    if (!c->convert_w) return w->weight.data;
    para_cpu_convert(dev, para_tensor_count(&w->weight), w->weight.data, w->weight.dtype, scratch, c->type, activations);
    return scratch;
}

para_status para_cpu_conv_run(para_device *dev, const para_cpu_conv *c, const para_linear *w, const void *weights,
                              const void *src, void *dst, char *scratch) {
    para_onednn *o = para_cpu_of(dev)->onednn;
    const para_onednn_op *op;
    char *packed = scratch + c->w_bytes;
    PARA_TRY(para_onednn_find(o, &c->key, false, &op));
    return para_onednn_run(o, op,
                           &(para_onednn_run_args){
                               .src = src,
                               .weights = weights,
                               .bias = w->bias.data,
                               .dst = dst,
                               .packed = packed,
                               .scratch = packed + c->packed_bytes,
                           });
}

static para_status run(para_device *dev, const para_conv2d_args *a, const conv_plan *p, char *scratch) {
    char *x = scratch, *y = x + p->x_bytes, *own = y + p->y_bytes;
    if (p->convert_xy) para_cpu_convert(dev, para_tensor_count(&a->x), a->x.data, a->x.dtype, x, PARA_F32, PARA_F32);
    const void *weights = para_cpu_conv_weights(dev, &p->conv, a->w, a->x.dtype, own);
    PARA_TRY(para_cpu_conv_run(dev, &p->conv, a->w, weights, p->convert_xy ? x : a->x.data,
                               p->convert_xy ? y : a->y.data, own));
    if (p->convert_xy) para_cpu_convert(dev, para_tensor_count(&a->y), y, PARA_F32, a->y.data, a->y.dtype, PARA_F32);
    return PARA_OK;
}

static int64_t out_size(int64_t in, int before, int after, int64_t kernel, int stride) {
    return (in + before + after - kernel) / stride + 1;
}

para_status para_cpu_conv2d(para_device *dev, const para_conv2d_args *a) {
    const para_tensor *w = &a->w->weight;
    conv_plan plan;
    void *scratch;
    PARA_TRY(para_cpu_check(
        a->x.rank == 4 && a->y.rank == 4 && w->rank == 4 && a->x.dim[0] == a->y.dim[0] && a->x.dim[3] == w->dim[1] &&
            a->y.dim[3] == w->dim[0] && a->x.dtype == a->y.dtype && a->stride > 0,
        "conv2d", "x [N, H, W, I], weight [O, I, kh, kw] and y [N, OH, OW, O] do not fit together"));
    PARA_TRY(para_cpu_check(a->y.dim[1] == out_size(a->x.dim[1], a->pad_top, a->pad_bottom, w->dim[2], a->stride) &&
                                a->y.dim[2] == out_size(a->x.dim[2], a->pad_left, a->pad_right, w->dim[3], a->stride),
                            "conv2d", "y's height and width do not follow from x, padding, kernel and stride"));
    PARA_TRY(para_cpu_check(para_tensor_contiguous(&a->x) && para_tensor_contiguous(&a->y) && para_tensor_contiguous(w),
                            "conv2d", "x, y and the weight must be contiguous"));
    if (para_tensor_count(&a->y) == 0) return PARA_OK;
    PARA_TRY(make_plan(para_cpu_of(dev)->onednn, a, dev->threads, false, &plan));
    size_t mark = para_arena_mark(&dev->arena);
    PARA_TRY(para_arena_take(&dev->arena, plan_bytes(&plan), &scratch));
    para_status status = run(dev, a, &plan, scratch);
    para_arena_release(&dev->arena, mark);
    return status;
}
