/* Where the elements of a walk lie. SPDX-License-Identifier: Apache-2.0 */
#ifndef PARA_CUDA_WALK_CUH
#define PARA_CUDA_WALK_CUH

#include "backend/cuda/cuda_kernels.h"

/* at[k] ← offset of element `index` in each tensor. */
template <typename Index>
static __device__ __forceinline__ void para_walk_split(const para_walk &w, Index index, int64_t (&at)[PARA_WALK_MOST]) {
    at[0] = at[1] = at[2] = 0;
#pragma unroll
    for (int i = PARA_MAX_DIMS - 1; i >= 0; i--) {
        if (i >= w.rank) continue;
        Index inner = index;
        if (i > 0) {
            Index dim = (Index)w.dim[i], outer = index / dim;
            inner = index - outer * dim;
            index = outer;
        }
#pragma unroll
        for (int k = 0; k < PARA_WALK_MOST; k++)
            if (k < w.n) at[k] += (int64_t)inner * w.stride[k][i];
    }
}

static __device__ __forceinline__ void para_walk_at(const para_walk &w, int64_t index, int64_t (&at)[PARA_WALK_MOST]) {
    if (w.count <= 0xffffffffll) para_walk_split<unsigned>(w, (unsigned)index, at);
    else para_walk_split<unsigned long long>(w, (unsigned long long)index, at);
}

/* Blocks of 256 threads for `count` threads. */
static inline unsigned para_blocks(int64_t count) {
    return (unsigned)((count + 255) / 256);
}
static __device__ __forceinline__ int64_t para_thread(void) {
    return (int64_t)blockIdx.x * 256 + threadIdx.x;
}

#endif
