/* What is left of a linear layer after its products in float32: their sum, bias, activation, accumulation; and what goes before products of parts. SPDX-License-Identifier: Apache-2.0 */
#include "backend/cuda/cuda_kernels.h"
#include "backend/cuda/cuda_load.cuh"
#include "backend/cuda/cuda_math.cuh"
#include "backend/cuda/cuda_walk.cuh"

struct epilogue {
    const float *sums, *bias;
    int parts; /* sums that are added up */
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
    para_load(x, e.sums, PARA_F32, index + (e.parts - 1) * e.count);
    for (int part = e.parts - 2; part >= 0; part--) {
        para_load(v, e.sums, PARA_F32, index + part * e.count);
#pragma unroll
        for (int i = 0; i < N; i++) x[i] += v[i];
    }
#pragma unroll
    for (int i = 0; i < N; i++) x[i] = para_activation_of(e.f, e.bias ? x[i] + e.bias[column + i] : x[i]);
    if (e.accumulate) {
        para_load(v, e.y, e.type, at);
#pragma unroll
        for (int i = 0; i < N; i++) x[i] += v[i];
    }
    para_store(e.y, e.type, at, x);
}

void para_cuda_launch_epilogue(const float *sums, int count, para_tensor y, const float *bias, para_activation f, bool accumulate, cudaStream_t stream) {
    epilogue e = {sums, bias, count, y.data, y.dtype, y.dim[1], y.stride[0], para_tensor_count(&y), f, accumulate};
    bool eight = e.n % 8 == 0 && e.y_row % 8 == 0 && (uintptr_t)y.data % 16 == 0;
    if (eight) epilogue_kernel<8><<<para_blocks(e.count / 8), 256, 0, stream>>>(e);
    else epilogue_kernel<1><<<para_blocks(e.count), 256, 0, stream>>>(e);
}

/* What BF16 cannot hold of a number goes to the next part. Infinities and what is not a number have one part only, so that they stay what they are. */
static __global__ void split_kernel(const float *x, int64_t row, int64_t k, int64_t count, __nv_bfloat16 *parts) {
    int64_t index = para_thread();
    if (index >= count) return;
    float left = x[index / k * row + index % k];
#pragma unroll
    for (int part = 0; part < 3; part++) {
        __nv_bfloat16 now = __float2bfloat16_rn(left);
        parts[part * count + index] = now;
        left = isfinite(__bfloat162float(now)) ? left - __bfloat162float(now) : 0;
    }
}

void para_cuda_launch_split(para_tensor x, void *parts, cudaStream_t stream) {
    int64_t count = para_tensor_count(&x);
    split_kernel<<<para_blocks(count), 256, 0, stream>>>((const float *)x.data, x.stride[0], x.dim[1], count, (__nv_bfloat16 *)parts);
}
