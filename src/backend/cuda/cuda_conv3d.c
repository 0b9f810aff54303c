/* Convolutions of videos: a padded copy of some frames, convolved by cuDNN where it has a kernel, else as a product with the patches. SPDX-License-Identifier:
 * Apache-2.0 */
#include "backend/cuda/cuda_conv.h"
#include "backend/cuda/cuda_kernels.h"
#include "backend/cuda_scratch.h"

/* A slice of y: frames of one item, and the padded copy that they are made of. */
typedef struct slice {
    para_pad_job pad;
    para_tensor padded; /* [1, frames, height, width, I] */
    para_tensor weight; /* [O, kt, kh, kw, I] */
    para_tensor y;      /* [1, frames, OH, OW, O] */
} slice;

static para_status run_patches(para_device *dev, const slice *s, int64_t most, void *columns) {
    const int64_t *w = s->weight.dim;
    int64_t pixels = para_tensor_count(&s->y) / w[0], depth = para_tensor_count(&s->weight) / w[0];
    para_linear layer = {PARA_RESHAPE(s->weight, w[0], depth), s->pad.a->w->bias};
    para_tensor y = PARA_RESHAPE(s->y, pixels, w[0]);
    for (int64_t first = 0; first < pixels; first += most) {
        int64_t rows = pixels - first < most ? pixels - first : most;
        para_tensor x = para_tensor_make(columns, s->y.dtype, 2, (int64_t[]){rows, depth});
        para_cuda_launch_video_patches(&s->pad, first, rows, columns, para_cuda_of(dev)->stream);
        PARA_TRY(para_cuda_launched("conv3d"));
        PARA_TRY(para_cuda_linear(dev, &(para_linear_args){.x = x, .w = &layer, .y = para_rows(y, first, rows)}));
    }
    return PARA_OK;
}

static para_status run_slice(para_device *dev, const slice *s, const para_cuda_conv3d_plan *p) {
    const para_conv3d_args *a = s->pad.a;
    para_cuda_conv conv = {.x = s->padded, .weight = s->weight, .bias = a->w->bias, .y = s->y, .stride = {a->stride_t, a->stride, a->stride}};
    bool done;
    void *columns;
    para_cuda_launch_pad(&s->pad, para_cuda_of(dev)->stream);
    PARA_TRY(para_cuda_launched("conv3d"));
    PARA_TRY(para_cuda_conv_by_cudnn(dev, &conv, p->channels, &done));
    if (done) return PARA_OK;
    size_t mark = para_arena_mark(&dev->arena);
    PARA_TRY(para_arena_take(&dev->arena, p->patch_bytes, &columns));
    para_status status = run_patches(dev, s, p->slice, columns);
    para_arena_release(&dev->arena, mark);
    return status;
}

static para_status run(para_device *dev, const para_conv3d_args *a, const para_conv3d_plan *slices) {
    const int64_t *w = a->w->weight.dim, *padded = slices->padded;
    para_cuda_conv3d_plan p = para_cuda_plan_conv3d(a, slices);
    slice s = {.pad = {.a = a, .grown = {slices->f, slices->h, slices->w}, .padded = {padded[0], padded[1], padded[2], padded[3]}}};
    void *weight;
    PARA_TRY(para_arena_take(&dev->arena, p.weight_bytes, &weight));
    PARA_TRY(para_arena_take(&dev->arena, p.padded_bytes, &s.pad.to));
    PARA_TRY(para_cuda_turn_weight(dev, &a->w->weight, a->x.dtype, weight));
    s.weight = para_tensor_make(weight, a->x.dtype, 5, (int64_t[]){w[0], w[2], w[3], w[4], w[1]});
    s.padded = para_tensor_make(s.pad.to, a->x.dtype, 5, (int64_t[]){1, padded[0], padded[1], padded[2], padded[3]});
    for (s.pad.item = 0; s.pad.item < a->x.dim[0]; s.pad.item++)
        for (int64_t i = 0; (s.pad.first = para_conv3d_slice(slices, a, i)) >= 0; i++) {
            s.y = para_slice(para_rows(a->y, s.pad.item, 1), 1, s.pad.first, slices->frames);
            s.y = para_tensor_make(s.y.data, s.y.dtype, 5, s.y.dim);
            PARA_TRY(run_slice(dev, &s, &p));
        }
    return PARA_OK;
}

para_status para_cuda_conv3d(para_device *dev, const para_conv3d_args *a) {
    const para_tensor *w = &a->w->weight;
    CUDA_BEGIN(dev, para_cuda_is_float(w->dtype) && para_cuda_aligned(&a->x) && para_cuda_aligned(&a->y) && para_cuda_aligned(w) && para_cuda_aligned(&a->before),
               "conv3d", "elements must lie at multiples of their size");
    PARA_TRY(para_conv3d_check(a));
    if (para_tensor_count(&a->y) == 0) return PARA_OK;
    para_conv3d_plan slices = para_plan_conv3d(a, (int64_t)para_dtype_size(a->x.dtype));
    if (slices.product) {
        para_linear layer;
        para_linear_args product = para_conv3d_product(a, &layer);
        return para_cuda_linear(dev, &product);
    }
    size_t mark = para_arena_mark(&dev->arena);
    para_status status = run(dev, a, &slices);
    para_arena_release(&dev->arena, mark);
    return status;
}
