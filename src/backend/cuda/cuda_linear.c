/* Linear layers: cuBLASLt with what it can do after the product, or a product in float32 and our own epilogue. SPDX-License-Identifier: Apache-2.0 */
#include "backend/cuda/cuda_kernels.h"
#include "backend/cuda/cuda_matmul.h"
#include "backend/cuda_scratch.h"

static bool at_16(const para_tensor *t) {
    return (uintptr_t)t->data % 16 == 0 && (t->dim[0] < 2 || t->stride[0] % 8 == 0) && t->dim[1] % 8 == 0;
}

/* Whether cuBLASLt's own epilogue is this layer's; *bias: the vector to hand it. It takes a bias of y's type: a bias of F32 for BF16 activations
 * only where BF16 holds all of it, and it adds y before bias and activation. Its kernels for Hopper round a short product before they add y; those
 * for what does not lie at multiples of 16 bytes round it before bias and activation, too, which is why such layers have our epilogue.
 * Weights of another type than the activations are converted at each use, in slices. */
static bool fuses(const para_device *dev, const para_linear_args *a, const void **bias) {
    const void *vector = a->w->bias.data;
    *bias = NULL;
    if (vector) {
        *bias = a->y.dtype == PARA_F32 ? vector : a->y.dtype == PARA_BF16 ? para_cuda_bf16_of(dev, vector) : NULL;
        if (!*bias) return false;
    }
    if (a->activation == PARA_ACT_NONE && !vector) return true;
    if (a->y.dtype != PARA_F32 && !(at_16(&a->x) && at_16(&a->y) && (a->w->weight.dtype != a->x.dtype || at_16(&a->w->weight)))) return false;
    if (a->activation == PARA_ACT_NONE) return true;
    if (a->accumulate || a->x.dim[0] < 16) return false; /* few rows: nothing is gained */
    return a->activation == PARA_ACT_RELU || (a->activation == PARA_ACT_GELU_TANH && a->y.dtype != PARA_F32);
}

static para_cuda_epilogue epilogue_of(para_activation f) {
    return f == PARA_ACT_RELU ? PARA_EPILOGUE_RELU : f == PARA_ACT_GELU_TANH ? PARA_EPILOGUE_GELU_TANH : PARA_EPILOGUE_NONE;
}

/* Weight rows [column, column + columns) → those columns of y. */
static para_status run_slice(para_device *dev, const para_linear_args *a, bool fused, const void *bias, char *weight, char *sum, int64_t column,
                             int64_t columns) {
    para_tensor w = para_slice(a->w->weight, 0, column, columns), y = para_slice(a->y, 1, column, columns);
    int64_t m = a->x.dim[0], k = a->x.dim[1], y_size = (int64_t)para_dtype_size(y.dtype);
    if (weight) {
        para_tensor converted = para_tensor_make(weight, a->x.dtype, 2, w.dim);
        PARA_TRY(para_cuda_copy(dev, converted, w));
        w = converted;
    }
    para_cuda_product p = {.x = a->x.data, .w = w.data, .in = a->x.dtype, .m = m, .n = columns, .k = k,
                           .x_row = a->x.stride[0], .w_row = w.stride[0], .batch = 1};
    if (fused) {
        p.y = y.data, p.out = y.dtype, p.y_row = y.stride[0];
        p.accumulate = a->accumulate, p.epilogue = epilogue_of(a->activation);
        p.bias = bias ? (const char *)bias + column * y_size : NULL;
        return para_cuda_multiply(dev, &p);
    }
    p.y = sum, p.out = PARA_F32, p.y_row = columns;
    PARA_TRY(para_cuda_multiply(dev, &p));
    const float *own = a->w->bias.data ? (const float *)a->w->bias.data + column : NULL;
    para_cuda_launch_epilogue((const float *)(const void *)sum, 1, y, own, a->activation, a->accumulate, para_cuda_of(dev)->stream);
    return para_cuda_launched("linear");
}

/* Weight rows [column, column + columns) times all parts of x → sums → those columns of y. */
static para_status run_split_slice(para_device *dev, const para_linear_args *a, const para_cuda_split_plan *p, const char *parts, float *sums, int64_t column,
                                   int64_t columns) {
    int64_t m = a->x.dim[0], k = a->x.dim[1], rows = PARA_CUDA_PARTS * m, whole = k / PARA_CUDA_PART_DEPTH, rest = k % PARA_CUDA_PART_DEPTH;
    const para_tensor *weight = &a->w->weight;
    const char *w = (const char *)weight->data + 2 * column * weight->stride[0];
    para_cuda_product product = {.x = parts, .w = w, .y = sums, .in = PARA_BF16, .out = PARA_F32, .m = rows, .n = columns, .k = PARA_CUDA_PART_DEPTH,
                                 .x_row = k, .w_row = weight->stride[0], .y_row = columns, .batch = whole,
                                 .x_batch = PARA_CUDA_PART_DEPTH, .w_batch = PARA_CUDA_PART_DEPTH, .y_batch = rows * columns};
    if (whole > 0) PARA_TRY(para_cuda_multiply(dev, &product));
    if (rest > 0) {
        product.x = parts + 2 * whole * PARA_CUDA_PART_DEPTH;
        product.w = w + 2 * whole * PARA_CUDA_PART_DEPTH;
        product.y = sums + whole * rows * columns;
        product.k = rest, product.batch = 1;
        PARA_TRY(para_cuda_multiply(dev, &product));
    }
    const float *bias = a->w->bias.data ? (const float *)a->w->bias.data + column : NULL;
    para_cuda_launch_epilogue(sums, (int)(p->chunks * PARA_CUDA_PARTS), para_slice(a->y, 1, column, columns), bias, a->activation, a->accumulate,
                              para_cuda_of(dev)->stream);
    return para_cuda_launched("linear");
}

static para_status run_split(para_device *dev, const para_linear_args *a, const para_cuda_split_plan *p) {
    int64_t n = a->y.dim[1];
    size_t mark = para_arena_mark(&dev->arena);
    void *parts, *sums;
    para_status status;
    PARA_TRY_GOTO(status, done, para_arena_take(&dev->arena, p->part_bytes, &parts));
    PARA_TRY_GOTO(status, done, para_arena_take(&dev->arena, p->sum_bytes, &sums));
    para_cuda_launch_split(a->x, parts, para_cuda_of(dev)->stream);
    PARA_TRY_GOTO(status, done, para_cuda_launched("linear"));
    for (int64_t column = 0; column < n; column += p->slice)
        PARA_TRY_GOTO(status, done, run_split_slice(dev, a, p, parts, sums, column, n - column < p->slice ? n - column : p->slice));
done:
    para_arena_release(&dev->arena, mark);
    return status;
}

para_status para_cuda_linear(para_device *dev, const para_linear_args *a) {
    const para_tensor *w = &a->w->weight;
    CUDA_BEGIN(dev, a->x.rank == 2 && w->rank == 2 && a->y.rank == 2 && a->x.dim[0] == a->y.dim[0] && a->x.dim[1] == w->dim[1] &&
                        a->y.dim[1] == w->dim[0] && a->x.dtype == a->y.dtype && para_cuda_computes(a->x.dtype) && para_cuda_is_float(w->dtype),
               "linear", "x [M, K], weight [N, K] and y [M, N] do not fit together");
    PARA_TRY(para_cuda_check(para_cuda_vector(&a->w->bias, a->y.dim[1]) && para_cuda_aligned(&a->x) && para_cuda_aligned(w) && para_cuda_aligned(&a->y),
                             "linear", "the bias must be [N] of F32, and every tensor lie at a multiple of its elements' size"));
    int64_t n = a->y.dim[1];
    if (a->x.dim[0] == 0 || n == 0) return PARA_OK;
    para_cuda_split_plan split = para_cuda_plan_split(a);
    if (split.serves && at_16(w)) return run_split(dev, a, &split);
    const void *bias;
    bool fused = fuses(dev, a, &bias);
    para_cuda_linear_plan plan = para_cuda_plan_linear(a, fused);
    size_t mark = para_arena_mark(&dev->arena);
    void *weight = NULL, *sum = NULL;
    para_status status = PARA_OK;
    if (plan.weight_bytes) PARA_TRY_GOTO(status, done, para_arena_take(&dev->arena, plan.weight_bytes, &weight));
    if (plan.sum_bytes) PARA_TRY_GOTO(status, done, para_arena_take(&dev->arena, plan.sum_bytes, &sum));
    for (int64_t column = 0; column < n; column += plan.slice)
        PARA_TRY_GOTO(status, done, run_slice(dev, a, fused, bias, weight, sum, column, n - column < plan.slice ? n - column : plan.slice));
done:
    para_arena_release(&dev->arena, mark);
    return status;
}
