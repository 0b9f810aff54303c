/* Activations, and sums over a warp and a block. SPDX-License-Identifier: Apache-2.0 */
#ifndef PARA_CUDA_MATH_CUH
#define PARA_CUDA_MATH_CUH

#include "backend/backend.h"

/* Written so that nothing cancels where the result is small, and a NaN stays one. */
static __device__ __forceinline__ float para_activation_of(para_activation f, float x) {
    switch (f) {
    case PARA_ACT_SILU: return __fdividef(x, 1.0f + expf(-x));
    case PARA_ACT_GELU_TANH: /* 1/2 (1 + tanh u) = 1 / (1 + exp(-2u)) */
        return __fdividef(x, 1.0f + expf(-1.5957691216057308f * (x + 0.044715f * x * x * x)));
    case PARA_ACT_GELU_ERF: return 0.5f * x * erfcf(-0.70710678118654752f * x);
    case PARA_ACT_QUICK_GELU: return __fdividef(x, 1.0f + expf(-1.702f * x));
    case PARA_ACT_RELU: return x < 0 ? 0 : x;
    case PARA_ACT_TANH: return tanhf(x);
    default: return x;
    }
}

template <int WIDTH = 32> static __device__ __forceinline__ float para_warp_sum(float x) {
#pragma unroll
    for (int step = WIDTH / 2; step > 0; step /= 2) x += __shfl_xor_sync(0xffffffffu, x, step);
    return x;
}

static __device__ __forceinline__ float para_warp_max(float x) {
#pragma unroll
    for (int step = 16; step > 0; step /= 2) x = fmaxf(x, __shfl_xor_sync(0xffffffffu, x, step));
    return x;
}

/* The same sum for every thread of the block; `room` [33] shared. All threads call it, and may call it again with the same room. */
static __device__ __forceinline__ float para_block_sum(float x, float *room) {
    int warp = threadIdx.x / 32, lane = threadIdx.x % 32, warps = (blockDim.x + 31) / 32;
    x = para_warp_sum(x);
    if (warps == 1) return x;
    __syncthreads(); /* room may still be read from the call before */
    if (lane == 0) room[warp] = x;
    __syncthreads();
    float all = lane < warps ? room[lane] : 0;
    return para_warp_sum(all);
}

static __device__ __forceinline__ float para_block_max(float x, float *room) {
    int warp = threadIdx.x / 32, lane = threadIdx.x % 32, warps = (blockDim.x + 31) / 32;
    x = para_warp_max(x);
    if (warps == 1) return x;
    __syncthreads();
    if (lane == 0) room[warp] = x;
    __syncthreads();
    float all = lane < warps ? room[lane] : room[0];
    return para_warp_max(all);
}

#endif
