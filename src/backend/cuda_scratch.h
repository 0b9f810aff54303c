/* Arena bytes that an op of the cuda back end takes while it runs; no part of it needs CUDA. SPDX-License-Identifier: Apache-2.0
 *
 * Only types, sizes and strides are read, no data. Where it depends on the weights' values, the most that it can be. */
#ifndef PARA_CUDA_SCRATCH_H
#define PARA_CUDA_SCRATCH_H

#include "backend/conv3d.h"

/* What CUDA, its libraries with their workspaces, and kernels take of a GPU beside weights and activations; measured on an H200, see bench/RESULTS.md. */
#define PARA_CUDA_CONTEXT_BYTES ((int64_t)768 << 20)

/* A linear layer in slices of the weight's rows: what is converted, and sums that wait for their epilogue. */
typedef struct para_cuda_linear_plan {
    bool convert;      /* the weight to the activations' type */
    int64_t slice;     /* rows of the weight at a time */
    size_t weight_bytes, sum_bytes;
} para_cuda_linear_plan;
/* `fused`: no sum waits. */
para_cuda_linear_plan para_cuda_plan_linear(const para_linear_args *a, bool fused);

/* Few rows of F32 by a weight of BF16: rather than the weight, the activations change their type, as three numbers of BF16 each whose sum they are. The products are
 * cut along K, too: tensor cores round sums downwards, which over a long K adds up to more than float32's own error. */
enum { PARA_CUDA_PARTS = 3, PARA_CUDA_PART_DEPTH = 768 };
typedef struct para_cuda_split_plan {
    bool serves;       /* types and sizes are such; strides and addresses at 16 bytes are wanted besides */
    int64_t chunks;    /* of K */
    int64_t slice;     /* rows of the weight at a time */
    size_t part_bytes; /* [3, M, K] BF16 */
    size_t sum_bytes;  /* [chunks, 3, M, slice] F32 */
} para_cuda_split_plan;
para_cuda_split_plan para_cuda_plan_split(const para_linear_args *a);

/* A convolution by cuDNN, with output channels added up to a multiple of 8; or one whose patches are written out, output pixels in slices. */
typedef struct para_cuda_conv_plan {
    bool product;      /* 1 × 1: a linear layer as it is */
    int64_t channels;  /* of the output, with those that are added */
    int64_t slice;     /* output pixels at a time */
    size_t weight_bytes, bias_bytes, padded_bytes, patch_bytes; /* padded: all output channels, where some are added; the bias likewise */
} para_cuda_conv_plan;
para_cuda_conv_plan para_cuda_plan_conv(const para_conv2d_args *a);

/* A convolution of videos, in slices of frames: as one of pictures, from a padded copy of each slice. */
typedef struct para_cuda_conv3d_plan {
    int64_t channels, slice; /* as above; output pixels of a slice of frames at a time */
    size_t padded_bytes, weight_bytes, patch_bytes;
    size_t out_bytes; /* of a slice's y and the bias with all channels, where some are added */
} para_cuda_conv3d_plan;
para_cuda_conv3d_plan para_cuda_plan_conv3d(const para_conv3d_args *a, const para_conv3d_plan *slices);

/* Whether a fused kernel computes it, which takes nothing of the arena: BF16 or F16, all rows and strides multiples of 16 bytes, head dims that are multiples
 * of 8 up to 256; where `wide`, up to 512 without a mask. */
bool para_cuda_attention_fuses(const para_attention_args *a, bool wide);

/* Plain attention: scores of some heads and queries at a time. */
typedef struct para_cuda_attention_plan {
    int64_t heads, rows, row; /* row: elements from one query's scores to the next's */
    size_t score_bytes, weight_bytes, sum_bytes, factor_bytes, bytes; /* bytes: of all */
} para_cuda_attention_plan;
para_cuda_attention_plan para_cuda_plan_attention(const para_attention_args *a);

typedef struct para_cuda_group_plan {
    int chunks;
    size_t moment_bytes, vector_bytes;
} para_cuda_group_plan;
para_cuda_group_plan para_cuda_plan_group_norm(const para_group_norm_args *a);

size_t para_cuda_linear_scratch(const para_linear_args *a);
size_t para_cuda_conv2d_scratch(const para_conv2d_args *a);
size_t para_cuda_conv3d_scratch(const para_conv3d_args *a);
size_t para_cuda_attention_scratch(const para_attention_args *a);
size_t para_cuda_group_norm_scratch(const para_group_norm_args *a);

#endif
