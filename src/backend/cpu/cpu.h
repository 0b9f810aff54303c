/* The cpu back end's own state and the way it splits work. SPDX-License-Identifier: Apache-2.0 */
#ifndef PARA_CPU_CPU_H
#define PARA_CPU_CPU_H

#include "backend/backend.h"
#include "backend/cpu/onednn.h"
#include "backend/cpu/simd/simd.h"

typedef struct para_cpu {
    const para_simd *simd;
    para_onednn *onednn;
} para_cpu;

static inline para_cpu *para_cpu_of(const para_device *dev) {
    return dev->impl;
}

static inline const para_simd *para_simd_of(const para_device *dev) {
    return para_cpu_of(dev)->simd;
}

/* Work on [first, last) by thread `worker`. */
typedef void (*para_cpu_task)(void *context, int64_t first, int64_t last, int worker);

/* Splits [0, n) into one range for each of at most dev->threads threads, none shorter than `grain`. */
void para_cpu_split(const para_device *dev, int64_t n, int64_t grain, para_cpu_task task, void *context);

/* Rows of at least `bytes` each: the grain that makes a thread's start worth its while. */
int64_t para_cpu_grain(int64_t bytes);

/* Offset in elements of the row-th row (the last dimension) of a tensor, rows counted in order of the outer dimensions. */
int64_t para_cpu_row(const para_tensor *t, int64_t row);

/* PARA_ERR_SHAPE with a sentence that names the op when `right` is false. */
para_status para_cpu_check(bool right, const char *op, const char *rule);

para_status para_cpu_linear(para_device *dev, const para_linear_args *a);
para_status para_cpu_conv2d(para_device *dev, const para_conv2d_args *a);
para_status para_cpu_conv3d(para_device *dev, const para_conv3d_args *a);
para_status para_cpu_embedding(para_device *dev, para_tensor table, para_tensor ids, para_tensor y);
para_status para_cpu_norm(para_device *dev, const para_norm_args *a);
para_status para_cpu_residual(para_device *dev, const para_residual_args *a);
para_status para_cpu_group_norm(para_device *dev, const para_group_norm_args *a);
para_status para_cpu_heads(para_device *dev, int n, const para_head_args *a);
para_status para_cpu_attention(para_device *dev, const para_attention_args *a);
para_status para_cpu_attention_parts(para_device *dev, int parts, const para_attention_args *a);
para_status para_cpu_attention_merge(para_device *dev, const para_merge_args *a);
para_status para_cpu_activate(para_device *dev, para_activation f, para_tensor x, para_tensor y);
para_status para_cpu_gated(para_device *dev, para_activation f, para_tensor a, para_tensor b, para_tensor y);
para_status para_cpu_combine(para_device *dev, para_tensor y, int n, const para_tensor *x, const float *c);
para_status para_cpu_change(para_device *dev, para_tensor before, para_tensor now, para_tensor sums);
para_status para_cpu_upsample2x(para_device *dev, para_tensor x, para_tensor y);
para_status para_cpu_blend(para_device *dev, para_tensor edge, para_tensor dst, int axis);
para_status para_cpu_copy(para_device *dev, para_tensor dst, para_tensor src);
para_status para_cpu_all_finite(para_device *dev, para_tensor x, bool *out);
para_status para_cpu_mask_columns(para_device *dev, para_tensor mask, uint8_t *out);

#endif
