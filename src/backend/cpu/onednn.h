/* oneDNN's matrix product and convolution behind one interface for its versions 2 and 3. SPDX-License-Identifier: Apache-2.0
 *
 * Primitives are made once for each shape and kept. One thread at a time per para_onednn. */
#ifndef PARA_CPU_ONEDNN_H
#define PARA_CPU_ONEDNN_H

#include "backend/backend.h"

typedef struct para_onednn para_onednn;

/* What a primitive computes; all fields count, so zero it first. Sizes in elements. */
typedef struct para_onednn_key {
    para_dtype type; /* F32 or BF16: of src, weights and dst; bias is F32 */
    para_activation activation;
    int32_t bias, accumulate; /* flags */
    int32_t conv;             /* 0: matmul; 2, 3: convolution in so many dimensions */
    int32_t stride_t, stride, pad_top, pad_left, pad_bottom, pad_right;
    int64_t threads;                       /* that compute it */
    int64_t m, n, k;                       /* matmul: dst[m, n] = src[m, k] · weights[n, k]ᵀ */
    int64_t src_row, weights_row, dst_row; /* its strides */
    int64_t batch, frames, height, width, inputs, outputs, kernel_t, kernel_h, kernel_w, out_frames, out_height, out_width; /* conv */
} para_onednn_key;

typedef struct para_onednn_op {
    size_t scratch_bytes;
    size_t packed_bytes; /* conv: of the weights in the layout that the implementation wants; 0: as they are */
    bool reference;      /* oneDNN has only slow plain loops here, or in BF16 nothing that runs: convert to F32 */
} para_onednn_op;

/* Operands of a run; packed and scratch as large as the op says. */
typedef struct para_onednn_run_args {
    const void *src, *weights, *bias;
    void *dst, *packed, *scratch;
} para_onednn_run_args;

/* PARA_ERR_LIBRARY, PARA_ERR_MEMORY. */
para_status para_onednn_open(para_onednn **out);
void para_onednn_close(para_onednn **o);
/* From now on it is as on a processor for which oneDNN has no BF16 (below AVX-512): so that tests see that path anywhere. */
void para_onednn_without_bf16(para_onednn *o);

/* Finds or makes the primitive; valid until the next call. With `describe_only` it may be one that cannot be run (cheaper, for plans). */
para_status para_onednn_find(para_onednn *o, const para_onednn_key *key, bool describe_only,
                             const para_onednn_op **out);
para_status para_onednn_run(para_onednn *o, const para_onednn_op *op, const para_onednn_run_args *args);

#endif
