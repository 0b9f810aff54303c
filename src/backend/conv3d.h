/* Convolutions in time and space in slices of frames: each reads a padded copy, so that no back end needs paddings of its own. SPDX-License-Identifier:
 * Apache-2.0
 *
 * Only types, sizes and strides are read, no data. */
#ifndef PARA_BACKEND_CONV3D_H
#define PARA_BACKEND_CONV3D_H

#include "backend/backend.h"

typedef struct para_conv3d_plan {
    bool product;      /* 1 × 1 × 1: pixels are rows of a linear layer */
    int64_t f, h, w;   /* of x, enlarged */
    int64_t frames;    /* of y in every slice; the last one begins earlier than it need, so that all are of one size */
    int64_t padded[4]; /* a slice's padded copy: frames, height, width, I */
} para_conv3d_plan;

/* Fails with PARA_ERR_SHAPE where operands do not fit together. */
para_status para_conv3d_check(const para_conv3d_args *a);
/* `size`: bytes of an element of the padded copy. */
para_conv3d_plan para_plan_conv3d(const para_conv3d_args *a, int64_t size);
/* The first frame of y of slice i, less than 0 after the last. */
int64_t para_conv3d_slice(const para_conv3d_plan *p, const para_conv3d_args *a, int64_t i);
/* A 1 × 1 × 1 convolution as a linear layer; `layer` is where its weight's view goes. */
para_linear_args para_conv3d_product(const para_conv3d_args *a, para_linear *layer);

/* Where padded frame p of the slice that begins with y's frame `first` comes from: frame t of x, enlarged, or frame -1 - t of `before` where t < 0. */
static inline int64_t para_conv3d_source(const para_conv3d_args *a, int64_t first, int64_t p) {
    int64_t back = a->w->weight.dim[2] - 1, t = first * a->stride_t + p - back;
    return t >= 0 ? t : a->before.data ? -1 - (t + back) : 0;
}

#endif
