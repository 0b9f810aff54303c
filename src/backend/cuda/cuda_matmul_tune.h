/* A kind of product, and the choice of its kernel by timing. SPDX-License-Identifier: Apache-2.0 */
#ifndef PARA_CUDA_MATMUL_TUNE_H
#define PARA_CUDA_MATMUL_TUNE_H

#include "backend/cuda/cuda_matmul.h"

#include <cublasLt.h>

enum { PARA_LT_WORKSPACE = 32 << 20 };

/* What tells one kind of product from another; compared as bytes. */
typedef struct para_product_key {
    int64_t m, n, k, x_row, w_row, y_row, batch, x_batch, w_batch, y_batch;
    int32_t in, out, turned, accumulate, epilogue, bias;
    uint32_t x_align, w_align, y_align, padding;
} para_product_key;

typedef struct para_product_plan {
    para_product_key key;
    cublasLtMatmulDesc_t product;
    cublasLtMatrixLayout_t w, x, y;
    cublasLtMatmulAlgo_t proposed, fastest; /* by cuBLASLt; of those that were timed */
    bool tuned;                             /* fastest is set */
} para_product_plan;

typedef struct para_cuda_lt {
    cublasLtHandle_t handle;
    void *workspace; /* [PARA_LT_WORKSPACE] */
} para_cuda_lt;

/* Kernels that cuBLASLt proposes where there is so much workspace, the one that it takes for the fastest first: out [room], *count of them. All give the same
 * result each time. */
cublasStatus_t para_cuda_propose(const para_cuda_lt *lt, const para_product_plan *plan, size_t workspace, int room,
                                 cublasLtMatmulHeuristicResult_t *out, int *count);

/* Sets `fastest`: what the choices of this machine say; else what times say, which the choices keep. Takes up to half a second where a product is new and large.
 * The product's own operands are not touched. Waits. */
para_status para_cuda_tune(para_device *dev, const para_cuda_lt *lt, para_product_plan *plan);

#endif
