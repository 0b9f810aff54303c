/* How large ops are cut into slices, and what each takes of the arena. SPDX-License-Identifier: Apache-2.0 */
#include "backend/cuda_scratch.h"

enum {
    SLICE_BYTES = 32 << 20,  /* of converted weights, and of sums */
    PATCH_BYTES = 64 << 20,
    SCORE_BYTES = 128 << 20,
    SLICE_STEP = 64,
    SPLIT_ROWS = 64,         /* of activations that are split into parts */
    CHUNK_PIXELS = 64,       /* least of group norm's chunks, and most of them */
    MOST_CHUNKS = 512,
    CHUNK_BYTES = 16,        /* that the attention kernels copy at once */
    MOST_BLOCKS = 65535,     /* of a grid's second and third dimensions */
    MOST_TOKENS = 1 << 30,
};

/* As the arena rounds, so that parts taken one by one are what their sum is. */
static size_t rounded(int64_t bytes) {
    return ((size_t)bytes + PARA_ARENA_ALIGN - 1) / PARA_ARENA_ALIGN * PARA_ARENA_ALIGN;
}

static int64_t least(int64_t a, int64_t b) {
    return a < b ? a : b;
}

/* How many of n things of `bytes` each go into `room`. */
static int64_t slice_of(int64_t n, int64_t bytes, int64_t room) {
    int64_t slice = bytes > 0 ? room / bytes / SLICE_STEP * SLICE_STEP : n;
    return least(slice < SLICE_STEP ? SLICE_STEP : slice, n);
}

/* As many slices, of about one size. */
static int64_t evened(int64_t n, int64_t slice) {
    int64_t count = (n + slice - 1) / slice, even = n > 0 ? (n + count - 1) / count : 0;
    return least((even + SLICE_STEP - 1) / SLICE_STEP * SLICE_STEP, slice);
}

para_cuda_linear_plan para_cuda_plan_linear(const para_linear_args *a, bool fused) {
    int64_t m = a->x.dim[0], k = a->x.dim[1], n = a->y.dim[1], size = (int64_t)para_dtype_size(a->x.dtype);
    para_cuda_linear_plan p = {.convert = a->w->weight.dtype != a->x.dtype, .slice = n};
    if (p.convert) p.slice = slice_of(p.slice, k * size, SLICE_BYTES);
    if (!fused) p.slice = slice_of(p.slice, m * 4, SLICE_BYTES);
    if (p.convert) p.weight_bytes = rounded(p.slice * k * size);
    if (!fused) p.sum_bytes = rounded(m * p.slice * 4);
    return p;
}

para_cuda_split_plan para_cuda_plan_split(const para_linear_args *a) {
    int64_t m = a->x.dim[0], k = a->x.dim[1], n = a->y.dim[1];
    para_cuda_split_plan p = {.serves = a->x.dtype == PARA_F32 && a->w->weight.dtype == PARA_BF16 && m <= SPLIT_ROWS && k % 8 == 0 && k > 0};
    p.chunks = (k + PARA_CUDA_PART_DEPTH - 1) / PARA_CUDA_PART_DEPTH;
    p.slice = evened(n, slice_of(n, p.chunks * PARA_CUDA_PARTS * m * 4, SLICE_BYTES));
    p.part_bytes = rounded(PARA_CUDA_PARTS * m * k * 2);
    p.sum_bytes = rounded(p.chunks * PARA_CUDA_PARTS * m * p.slice * 4);
    return p;
}

size_t para_cuda_linear_scratch(const para_linear_args *a) {
    para_cuda_linear_plan fused = para_cuda_plan_linear(a, true), plain = para_cuda_plan_linear(a, false);
    para_cuda_split_plan split = para_cuda_plan_split(a);
    size_t most = plain.weight_bytes + plain.sum_bytes;
    if (most < fused.weight_bytes) most = fused.weight_bytes;
    return split.serves && most < split.part_bytes + split.sum_bytes ? split.part_bytes + split.sum_bytes : most;
}

para_cuda_conv_plan para_cuda_plan_conv(const para_conv2d_args *a) {
    const int64_t *w = a->w->weight.dim;
    int64_t size = (int64_t)para_dtype_size(a->x.dtype), taps = w[2] * w[3], pixels = a->y.dim[0] * a->y.dim[1] * a->y.dim[2];
    para_cuda_conv_plan p = {.product = taps == 1 && a->stride == 1 && !a->pad_top && !a->pad_left && !a->pad_bottom && !a->pad_right, .slice = pixels};
    if (p.product) return p;
    p.slice = slice_of(pixels, taps * w[1] * size, PATCH_BYTES);
    p.channels = a->x.dtype == PARA_F32 || w[1] % 8 ? w[0] : (w[0] + 7) / 8 * 8;
    p.weight_bytes = rounded(p.channels * taps * w[1] * size);
    if (p.channels > w[0]) p.bias_bytes = rounded(p.channels * 4), p.padded_bytes = rounded(pixels * p.channels * size);
    p.patch_bytes = rounded(p.slice * taps * w[1] * size);
    return p;
}

/* Of the product of `rows` patches with the turned weight, or with that of one tap as it is. */
static size_t product_scratch(const para_tensor *x, const para_tensor *weight, int64_t rows, bool turned) {
    int64_t depth = para_tensor_count(weight) / weight->dim[0];
    para_linear layer = {.weight = para_tensor_make(NULL, turned ? x->dtype : weight->dtype, 2, (int64_t[]){weight->dim[0], depth})};
    return para_cuda_linear_scratch(&(para_linear_args){.x = para_tensor_make(NULL, x->dtype, 2, (int64_t[]){rows, depth}),
                                                        .w = &layer,
                                                        .y = para_tensor_make(NULL, x->dtype, 2, (int64_t[]){rows, weight->dim[0]})});
}

size_t para_cuda_conv2d_scratch(const para_conv2d_args *a) {
    para_cuda_conv_plan p = para_cuda_plan_conv(a);
    size_t patches = p.patch_bytes + product_scratch(&a->x, &a->w->weight, p.slice, !p.product), padded = p.bias_bytes + p.padded_bytes;
    return p.weight_bytes + (patches > padded ? patches : padded);
}

para_cuda_conv3d_plan para_cuda_plan_conv3d(const para_conv3d_args *a, const para_conv3d_plan *slices) {
    const int64_t *w = a->w->weight.dim, *padded = slices->padded;
    int64_t size = (int64_t)para_dtype_size(a->x.dtype), depth = w[1] * w[2] * w[3] * w[4], pixels = slices->frames * a->y.dim[2] * a->y.dim[3];
    para_cuda_conv3d_plan p = {.channels = a->x.dtype == PARA_F32 || w[1] % 8 ? w[0] : (w[0] + 7) / 8 * 8, .slice = slice_of(pixels, depth * size, PATCH_BYTES)};
    p.padded_bytes = rounded(padded[0] * padded[1] * padded[2] * padded[3] * size);
    p.weight_bytes = rounded(p.channels * depth * size);
    if (p.channels > w[0]) p.out_bytes = rounded(pixels * p.channels * size) + rounded(p.channels * 4);
    p.patch_bytes = rounded(p.slice * depth * size);
    return p;
}

size_t para_cuda_conv3d_scratch(const para_conv3d_args *a) {
    para_conv3d_plan slices = para_plan_conv3d(a, (int64_t)para_dtype_size(a->x.dtype));
    if (slices.product) return product_scratch(&a->x, &a->w->weight, para_tensor_count(&a->x) / a->x.dim[4], false);
    para_cuda_conv3d_plan p = para_cuda_plan_conv3d(a, &slices);
    size_t patches = p.patch_bytes + product_scratch(&a->x, &a->w->weight, p.slice, true);
    return p.weight_bytes + p.padded_bytes + (patches > p.out_bytes ? patches : p.out_bytes);
}

para_cuda_attention_plan para_cuda_plan_attention(const para_attention_args *a) {
    int64_t keys = a->k.dim[2], queries = a->q.dim[2], dv = a->v.dim[3], size = (int64_t)para_dtype_size(a->v.dtype);
    /* Query heads of one key head, or all where each has its own, can share a call. */
    int64_t together = a->k.dim[1] == a->q.dim[1] ? a->q.dim[1] : a->q.dim[1] / a->k.dim[1];
    para_cuda_attention_plan p = {.row = (keys + 7) / 8 * 8};
    p.rows = slice_of(queries, p.row * 4, SCORE_BYTES);
    p.heads = slice_of(together, p.rows * p.row * 4, SCORE_BYTES);
    p.heads = p.rows < queries ? 1 : least(p.heads, p.row ? SCORE_BYTES / (p.rows * p.row * 4) : together);
    if (p.heads < 1) p.heads = 1;
    p.score_bytes = rounded(p.heads * p.rows * p.row * 4);
    p.weight_bytes = a->v.dtype == PARA_F32 ? 0 : rounded(p.heads * p.rows * p.row * size);
    p.sum_bytes = rounded(p.heads * p.rows * dv * 4);
    p.factor_bytes = rounded(p.heads * p.rows * 4);
    p.bytes = p.score_bytes + p.weight_bytes + p.sum_bytes + p.factor_bytes;
    return p;
}

/* A stride of a dimension of one entry is never used. */
static bool in_chunks(const para_tensor *t) {
    bool right = (uintptr_t)t->data % CHUNK_BYTES == 0;
    for (int i = 0; right && i < 3; i++) right = t->dim[i] <= 1 || t->stride[i] * (int64_t)para_dtype_size(t->dtype) % CHUNK_BYTES == 0;
    return right;
}

bool para_cuda_attention_fuses(const para_attention_args *a, bool wide) {
    const int64_t *q = a->q.dim, *k = a->k.dim;
    int64_t d = q[3];
    if (a->q.dtype == PARA_F32 || d != a->v.dim[3] || d == 0 || d % 8 || d > (wide ? 512 : 256) || (d > 256 && (a->mask.data || !(a->scale > 0)))) return false;
    if (q[0] > MOST_BLOCKS || q[1] > MOST_BLOCKS || q[2] > MOST_TOKENS || k[2] > MOST_TOKENS || k[2] == 0) return false;
    return in_chunks(&a->q) && in_chunks(&a->k) && in_chunks(&a->v) && in_chunks(&a->out);
}

size_t para_cuda_attention_scratch(const para_attention_args *a) {
    bool empty = a->q.dim[0] * a->q.dim[1] * a->q.dim[2] == 0;
    return empty || para_cuda_attention_fuses(a, false) ? 0 : para_cuda_plan_attention(a).bytes;
}

para_cuda_group_plan para_cuda_plan_group_norm(const para_group_norm_args *a) {
    int64_t n = a->x.dim[0], c = a->x.dim[a->x.rank - 1], all = n * c, pixels = all ? para_tensor_count(&a->x) / all : 0, chunks = least((pixels + CHUNK_PIXELS - 1) / CHUNK_PIXELS, MOST_CHUNKS);
    para_cuda_group_plan p = {.chunks = (int)(chunks < 1 ? 1 : chunks)};
    p.moment_bytes = rounded(n * p.chunks * a->groups * 8);
    p.vector_bytes = rounded(all * 8);
    return p;
}

size_t para_cuda_group_norm_scratch(const para_group_norm_args *a) {
    para_cuda_group_plan p = para_cuda_plan_group_norm(a);
    return p.moment_bytes + p.vector_bytes;
}
