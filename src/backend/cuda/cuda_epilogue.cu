/* What is left of a linear layer after its product in float32: bias, activation, sum. SPDX-License-Identifier: Apache-2.0 */
#include "backend/cuda/cuda_kernels.h"
#include "backend/cuda/cuda_load.cuh"
#include "backend/cuda/cuda_math.cuh"
#include "backend/cuda/cuda_walk.cuh"

struct epilogue {
    const float *sum, *bias;
    void *y;
    para_dtype type;
    int64_t n, y_row, count;
    para_activation f;
    bool accumulate;
};

template <int N> static __global__ void epilogue_kernel(const __grid_constant__ epilogue e) {
    int64_t index = para_thread() * N;
    if (index >= e.count) return;
    int64_t row = index / e.n, column = index % e.n, at = row * e.y_row + column;
    float x[N], v[N];
    para_load(x, e.sum, PARA_F32, index);
#pragma unroll
    for (int i = 0; i < N; i++) x[i] = para_activation_of(e.f, e.bias ? x[i] + e.bias[column + i] : x[i]);
    if (e.accumulate) {
        para_load(v, e.y, e.type, at);
#pragma unroll
        for (int i = 0; i < N; i++) x[i] += v[i];
    }
    para_store(e.y, e.type, at, x);
}

void para_cuda_launch_epilogue(const float *sum, para_tensor y, const float *bias, para_activation f, bool accumulate, cudaStream_t stream) {
    epilogue e = {sum, bias, y.data, y.dtype, y.dim[1], y.stride[0], para_tensor_count(&y), f, accumulate};
    bool eight = e.n % 8 == 0 && e.y_row % 8 == 0 && (uintptr_t)y.data % 16 == 0;
    if (eight) epilogue_kernel<8><<<para_blocks(e.count / 8), 256, 0, stream>>>(e);
    else epilogue_kernel<1><<<para_blocks(e.count), 256, 0, stream>>>(e);
}
