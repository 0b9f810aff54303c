/* Matrix products by cuBLASLt, row-major. SPDX-License-Identifier: Apache-2.0 */
#ifndef PARA_CUDA_MATMUL_H
#define PARA_CUDA_MATMUL_H

#include "backend/cuda/cuda.h"

typedef enum para_cuda_epilogue { PARA_EPILOGUE_NONE, PARA_EPILOGUE_RELU, PARA_EPILOGUE_GELU_TANH } para_cuda_epilogue;

/* y[i][m, n] = epilogue(x[i][m, k] · w[i][n, k]ᵀ + beta · y + bias[n]); w [k, n] when `turned`. Accumulates in float32. */
typedef struct para_cuda_product {
    const void *x, *w, *bias; /* bias: NULL for none */
    void *y;
    para_dtype in, out;       /* types: of x and w; of y and bias */
    bool turned, accumulate;  /* accumulate: beta is 1 */
    para_cuda_epilogue epilogue;
    int64_t m, n, k, x_row, w_row, y_row; /* elements from a row to the next */
    int64_t batch, x_batch, w_batch, y_batch; /* products, and elements from one to the next (1) */
} para_cuda_product;

para_status para_cuda_multiply(para_device *dev, const para_cuda_product *p);

para_status para_cuda_matmuls_open(para_cuda *cuda);
void para_cuda_matmuls_close(para_cuda *cuda);

#endif
