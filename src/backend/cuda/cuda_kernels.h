/* The kernels' launchers: each starts one op on a stream and returns at once. SPDX-License-Identifier: Apache-2.0
 *
 * Arguments were checked by the caller; what a launch says is in cudaGetLastError(). */
#ifndef PARA_CUDA_KERNELS_H
#define PARA_CUDA_KERNELS_H

#include <cuda_runtime_api.h>

#include "backend/backend.h"

/* Whether vectors of 16 bytes may be read there; NULL, too. */
static inline bool para_cuda_at_16(const void *p) {
    return (uintptr_t)p % 16 == 0;
}

#ifdef __cplusplus
extern "C" {
#endif

/* Up to three tensors of the same sizes, gone through element by element: dimensions that lie alike in all are one. */
enum { PARA_WALK_MOST = 3 };
typedef struct para_walk {
    int n;                                   /* tensors */
    int vector;                              /* elements that are read at once, 1 or 8 */
    int rank;                                /* at least 1 */
    int64_t count;                           /* elements */
    int64_t dim[PARA_MAX_DIMS];
    int64_t stride[PARA_WALK_MOST][PARA_MAX_DIMS];
    void *data[PARA_WALK_MOST];
    para_dtype type[PARA_WALK_MOST];
} para_walk;

/* Outer dimensions in the order in which the first tensor lies in memory. */
para_walk para_walk_of(int n, const para_tensor *const *t);

/* y = f(a) or f(a) · b; walk: y, a[, b] */
void para_cuda_launch_map(const para_walk *w, para_activation f, cudaStream_t stream);
/* walk: dst, src. Same types: bit for bit. */
void para_cuda_launch_copy(const para_walk *w, cudaStream_t stream);
/* contiguous */
void para_cuda_launch_combine(para_tensor y, int n, const para_tensor *x, const float *c, cudaStream_t stream);
/* Rows of ids outside the table become NaN. */
void para_cuda_launch_embedding(para_tensor table, para_tensor ids, para_tensor y, cudaStream_t stream);
/* residual (with its norm or without), or norm alone where residual is NULL */
void para_cuda_launch_norm(const para_norm_args *norm, const para_residual_args *residual, cudaStream_t stream);
enum { PARA_CUDA_NORM_WIDTH = 32768 }; /* the longest row */
void para_cuda_launch_heads(int n, const para_head_args *a, cudaStream_t stream); /* [n], n ≤ PARA_OPERANDS; those whose rows are alike in one launch */

/* Moments of each group in `chunks` parts, then scale and offset of each channel, then y. */
void para_cuda_launch_group_norm(const para_group_norm_args *a, int chunks, float *moments, float *vectors, cudaStream_t stream);

void para_cuda_launch_upsample2x(para_tensor x, para_tensor y, cudaStream_t stream);
void para_cuda_launch_blend(para_tensor edge, para_tensor dst, int axis, cudaStream_t stream);

/* *flag ← 1 where an element is not finite; *flag is 0 before. */
void para_cuda_launch_find_not_finite(para_tensor x, int *flag, cudaStream_t stream);
/* out [2] ← Σ |before − now|, Σ |before|, added up in one order; sums: scratch [2, PARA_CUDA_CHANGE_BLOCKS] */
enum { PARA_CUDA_CHANGE_BLOCKS = 1024 };
void para_cuda_launch_change(para_tensor before, para_tensor now, double *sums, float *out, cudaStream_t stream);
/* out [B · keys] ← para_mask_column */
void para_cuda_launch_mask_columns(para_tensor mask, uint8_t *out, cudaStream_t stream);

/* y[m, n] (+)= f(Σ sums[i, m, n] + bias[n]); sums [count, m, n] contiguous F32 */
void para_cuda_launch_epilogue(const float *sums, int count, para_tensor y, const float *bias, para_activation f, bool accumulate, cudaStream_t stream);
/* parts [3, M, K] BF16 ← numbers whose sum is x [M, K] F32, the largest first */
void para_cuda_launch_split(para_tensor x, void *parts, cudaStream_t stream);
/* columns [rows, kh · kw · I] ← the patches that output pixels [first, first + rows) of [N, OH, OW] see */
void para_cuda_launch_patches(const para_conv2d_args *a, int64_t first, int64_t rows, void *columns, cudaStream_t stream);

/* A slice of a 3-d convolution: what its padded copy [padded…] holds, and the columns [rows, kt · kh · kw · I] of its output pixels [first, first + rows) */
typedef struct para_pad_job {
    const para_conv3d_args *a;
    int64_t item, first; /* of the batch; of y's frames */
    int64_t grown[3];    /* F, H, W of x, enlarged */
    int64_t padded[4];   /* frames, height, width, I */
    void *to;            /* the copy */
} para_pad_job;
void para_cuda_launch_pad(const para_pad_job *job, cudaStream_t stream);
void para_cuda_launch_video_patches(const para_pad_job *job, int64_t first, int64_t rows, void *columns, cudaStream_t stream);

/* to [O, taps, I] of `type` ← weight [O, I, …] contiguous, of `taps` elements for each input; taps ≤ PARA_CUDA_TURN_TAPS */
enum { PARA_CUDA_TURN_TAPS = 128 };
void para_cuda_launch_turn(para_tensor weight, int64_t taps, void *to, para_dtype type, cudaStream_t stream);
/* y [.., C] += bias [C]; y contiguous */
void para_cuda_launch_add_bias(para_tensor y, para_tensor bias, cudaStream_t stream);

/* For each row of scores [heads][rows][keys] F32 of batch item b, heads from `head` and queries from `first` on: weights = exp(score · scale
 * + mask - max), in the type of v, and 1 / their sum, and lse. */
typedef struct para_softmax_job {
    const para_attention_args *a;
    int64_t b, head, heads, first, rows;
    const float *scores;  /* [heads, rows, row] */
    void *weights;        /* [heads, rows, row]; F32: may be scores */
    int64_t row;          /* elements from a row of scores, or of weights, to the next */
    float *factor;        /* [heads, rows] */
} para_softmax_job;
void para_cuda_launch_softmax(const para_softmax_job *job, cudaStream_t stream);
/* out ← sum · factor of its row; sum [heads, rows, Dv] F32 */
void para_cuda_launch_attention_out(const para_softmax_job *job, const float *sum, cudaStream_t stream);
void para_cuda_launch_merge(const para_merge_args *a, cudaStream_t stream);

/* x [count], 4- or 2-byte floats ← numbers between -1 and 1 */
void para_cuda_launch_noise(void *x, para_dtype type, int64_t count, cudaStream_t stream);

#ifdef __cplusplus
}
#endif
#endif
