/* Convolutions: a linear layer where the kernel is 1 × 1, cuDNN where it has a kernel, else a product with the patches. SPDX-License-Identifier: Apache-2.0 */
#include "backend/cuda/cuda_conv.h"
#include "backend/cuda/cuda_kernels.h"
#include "backend/cuda_scratch.h"

static int64_t out_size(int64_t in, int before, int after, int64_t kernel, int stride) {
    return (in + before + after - kernel) / stride + 1;
}

static para_tensor matrix(void *data, para_dtype type, int64_t rows, int64_t columns) {
    return para_tensor_make(data, type, 2, (int64_t[]){rows, columns});
}

para_status para_cuda_turn_weight(para_device *dev, const para_tensor *w, para_dtype type, void *to) {
    int64_t taps = w->dim[2] * w->dim[3] * (w->rank == 5 ? w->dim[4] : 1);
    if (para_tensor_contiguous(w) && taps <= PARA_CUDA_TURN_TAPS && w->dim[1] <= UINT16_MAX) {
        para_cuda_launch_turn(*w, taps, to, type, para_cuda_of(dev)->stream);
        return para_cuda_launched("conv");
    }
    para_tensor video = w->rank == 5 ? *w : PARA_RESHAPE(*w, w->dim[0], w->dim[1], 1, w->dim[2], w->dim[3]); /* [O, I, kt, kh, kw] */
    para_tensor turned = para_tensor_make(to, type, 5, (int64_t[]){video.dim[0], video.dim[2], video.dim[3], video.dim[4], video.dim[1]});
    return para_cuda_copy(dev, turned, PARA_PERMUTE(video, 0, 2, 3, 4, 1));
}

/* The bias in the type that cuDNN's compiled kernels take, where that holds all of it; those for F32 are compiled when they are met. */
static para_tensor bias_of(const para_device *dev, para_tensor bias, para_dtype type) {
    void *bf16 = type == PARA_BF16 && bias.data ? (void *)(uintptr_t)para_cuda_bf16_of(dev, bias.data) : NULL;
    return bf16 ? para_tensor_make(bf16, PARA_BF16, 1, bias.dim) : bias;
}

/* With more output channels than y has: those added have a weight and a bias of 0. */
static para_status run_padded(para_device *dev, para_cuda_conv c, int64_t channels, para_tensor y, bool *done) {
    cudaStream_t stream = para_cuda_of(dev)->stream;
    int last = y.rank - 1;
    size_t used = (size_t)para_tensor_count(&c.weight) * para_dtype_size(c.weight.dtype);
    c.weight.dim[0] = c.y.dim[last] = channels;
    c.y = para_tensor_make(NULL, y.dtype, y.rank, c.y.dim);
    PARA_TRY(para_arena_take(&dev->arena, (size_t)para_tensor_count(&c.y) * para_dtype_size(y.dtype), &c.y.data));
    CUDA_TRY(cudaMemsetAsync((char *)c.weight.data + used, 0, (size_t)channels * used / (size_t)y.dim[last] - used, stream), "clear memory on the GPU");
    if (c.bias.data) {
        void *padded;
        size_t bytes = (size_t)c.bias.dim[0] * para_dtype_size(c.bias.dtype), all = (size_t)channels * 4;
        PARA_TRY(para_arena_take(&dev->arena, all, &padded));
        CUDA_TRY(cudaMemsetAsync(padded, 0, all, stream), "clear memory on the GPU");
        CUDA_TRY(cudaMemcpyAsync(padded, c.bias.data, bytes, cudaMemcpyDeviceToDevice, stream), "copy on the GPU");
        c.bias = para_tensor_make(padded, c.bias.dtype, 1, &channels);
    }
    PARA_TRY(para_cuda_cudnn_conv(dev, &c, done));
    return *done ? para_cuda_copy(dev, y, para_slice(c.y, last, 0, y.dim[last])) : PARA_OK;
}

para_status para_cuda_conv_by_cudnn(para_device *dev, const para_cuda_conv *conv, int64_t channels, bool *done) {
    para_cuda_conv c = *conv;
    c.bias = bias_of(dev, c.bias, c.x.dtype);
    if (channels == c.y.dim[c.y.rank - 1]) return para_cuda_cudnn_conv(dev, &c, done);
    size_t mark = para_arena_mark(&dev->arena);
    para_status status = run_padded(dev, c, channels, c.y, done);
    para_arena_release(&dev->arena, mark);
    return status;
}

static para_status run_cudnn(para_device *dev, const para_conv2d_args *a, const para_cuda_conv_plan *p, void *weight, bool *done) {
    const int64_t *w = a->w->weight.dim;
    para_cuda_conv c = {.x = a->x, .weight = para_tensor_make(weight, a->x.dtype, 4, (int64_t[]){w[0], w[2], w[3], w[1]}), .bias = a->w->bias, .y = a->y,
                        .stride = {1, a->stride, a->stride}, .before = {0, a->pad_top, a->pad_left}, .after = {0, a->pad_bottom, a->pad_right}};
    return para_cuda_conv_by_cudnn(dev, &c, p->channels, done);
}

static para_status run_patches(para_device *dev, const para_conv2d_args *a, const para_cuda_conv_plan *p, void *weight, void *patches) {
    const int64_t *w = a->w->weight.dim;
    int64_t pixels = a->y.dim[0] * a->y.dim[1] * a->y.dim[2], depth = w[1] * w[2] * w[3];
    para_linear layer = {matrix(weight, a->x.dtype, w[0], depth), a->w->bias};
    para_tensor y = matrix(a->y.data, a->y.dtype, pixels, w[0]);
    for (int64_t first = 0; first < pixels; first += p->slice) {
        int64_t rows = pixels - first < p->slice ? pixels - first : p->slice;
        para_cuda_launch_patches(a, first, rows, patches, para_cuda_of(dev)->stream);
        PARA_TRY(para_cuda_launched("conv2d"));
        PARA_TRY(para_cuda_linear(dev, &(para_linear_args){.x = matrix(patches, a->x.dtype, rows, depth), .w = &layer, .y = para_rows(y, first, rows)}));
    }
    return PARA_OK;
}

/* 1 × 1: pixels are rows. */
static para_status run_product(para_device *dev, const para_conv2d_args *a) {
    const int64_t *w = a->w->weight.dim;
    int64_t pixels = a->x.dim[0] * a->x.dim[1] * a->x.dim[2];
    para_linear layer = {matrix(a->w->weight.data, a->w->weight.dtype, w[0], w[1]), a->w->bias};
    return para_cuda_linear(dev, &(para_linear_args){.x = matrix(a->x.data, a->x.dtype, pixels, w[1]),
                                                     .w = &layer,
                                                     .y = matrix(a->y.data, a->y.dtype, pixels, w[0])});
}

para_status para_cuda_conv2d(para_device *dev, const para_conv2d_args *a) {
    const para_tensor *w = &a->w->weight;
    void *weight, *patches;
    bool by_cudnn = false;
    CUDA_BEGIN(dev, a->x.rank == 4 && a->y.rank == 4 && w->rank == 4 && a->x.dim[0] == a->y.dim[0] && a->x.dim[3] == w->dim[1] &&
                        a->y.dim[3] == w->dim[0] && a->x.dtype == a->y.dtype && a->stride > 0 && para_cuda_computes(a->x.dtype) &&
                        para_cuda_is_float(w->dtype) && para_cuda_vector(&a->w->bias, w->dim[0]),
               "conv2d", "x [N, H, W, I], weight [O, I, kh, kw], bias [O] and y [N, OH, OW, O] do not fit together");
    PARA_TRY(para_cuda_check(a->y.dim[1] == out_size(a->x.dim[1], a->pad_top, a->pad_bottom, w->dim[2], a->stride) &&
                                 a->y.dim[2] == out_size(a->x.dim[2], a->pad_left, a->pad_right, w->dim[3], a->stride),
                             "conv2d", "y's height and width do not follow from x, padding, kernel and stride"));
    PARA_TRY(para_cuda_check(para_tensor_contiguous(&a->x) && para_tensor_contiguous(&a->y) && para_tensor_contiguous(w) && para_cuda_aligned(&a->x) &&
                                 para_cuda_aligned(&a->y) && para_cuda_aligned(w),
                             "conv2d", "x, y and the weight must be contiguous, at multiples of their elements' size"));
    if (para_tensor_count(&a->y) == 0) return PARA_OK;
    para_cuda_conv_plan plan = para_cuda_plan_conv(a);
    if (plan.product) return run_product(dev, a);
    size_t mark = para_arena_mark(&dev->arena);
    para_status status;
    PARA_TRY_GOTO(status, done, para_arena_take(&dev->arena, plan.weight_bytes, &weight));
    PARA_TRY_GOTO(status, done, para_cuda_turn_weight(dev, w, a->x.dtype, weight));
    PARA_TRY_GOTO(status, done, run_cudnn(dev, a, &plan, weight, &by_cudnn));
    if (by_cudnn) goto done;
    PARA_TRY_GOTO(status, done, para_arena_take(&dev->arena, plan.patch_bytes, &patches));
    status = run_patches(dev, a, &plan, weight, patches);
done:
    para_arena_release(&dev->arena, mark);
    return status;
}
