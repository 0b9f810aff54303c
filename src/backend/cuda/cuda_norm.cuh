/* What the kernels of norms and residuals work on. SPDX-License-Identifier: Apache-2.0 */
#ifndef PARA_CUDA_NORM_CUH
#define PARA_CUDA_NORM_CUH

#include <cuda_runtime_api.h>
#include <paraattn/tensor.h>

struct para_norm_rows {
    para_dtype type;
    int64_t rows;
    int d;
    void *x; /* [rows, d] */
    int64_t x_row;
    const void *add; /* [rows, d], or NULL: x += gate · add */
    int64_t add_row;
    bool add_rms; /* add's rms norm in its place */
    float add_eps;
    const float *gate; /* [d] */
    void *y; /* [rows, d], or NULL: no norm */
    int64_t y_row;
    bool rms;
    float eps;
    const float *weight, *bias, *scale, *shift; /* [d] */
};

/* Rows one after the other through blocks that keep the vectors: false, and nothing is started, where it is not made for these rows. `eight`: all of it can
 * be read by eight elements. */
bool para_cuda_launch_norm_stream(const para_norm_rows *r, bool eight, cudaStream_t stream);

#endif
