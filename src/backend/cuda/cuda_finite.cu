/* What is asked of a tensor: whether all is finite, how much it changed, what a mask does to each key. SPDX-License-Identifier: Apache-2.0 */
#include "backend/cuda/cuda_load.cuh"
#include "backend/cuda/cuda_math.cuh"
#include "backend/cuda/cuda_walk.cuh"

template <int N> static __global__ void finite_kernel(const void *x, para_dtype type, int64_t count, int *flag) {
    bool bad = false;
    for (int64_t i = para_thread() * N; i < count; i += (int64_t)gridDim.x * 256 * N) {
        float f[N];
        para_load(f, x, type, i);
#pragma unroll
        for (int j = 0; j < N; j++) bad = bad || !isfinite(f[j]);
    }
    if (bad) *flag = 1; /* whoever writes, writes the same */
}

void para_cuda_launch_find_not_finite(para_tensor x, int *flag, cudaStream_t stream) {
    int64_t count = para_tensor_count(&x);
    bool by_eight = count % 8 == 0 && (uintptr_t)x.data % 16 == 0;
    int64_t blocks = para_blocks(by_eight ? count / 8 : count);
    if (blocks > 4096) blocks = 4096;
    if (by_eight) finite_kernel<8><<<(unsigned)blocks, 256, 0, stream>>>(x.data, x.dtype, count, flag);
    else finite_kernel<1><<<(unsigned)blocks, 256, 0, stream>>>(x.data, x.dtype, count, flag);
}

/* sums: [2, CHANGE_BLOCKS] of float64, one pair for each block's share. */
template <int N>
static __global__ void change_kernel(const void *before, const void *now, para_dtype type, int64_t count, double *sums) {
    __shared__ float room[32];
    int64_t share = (count / N + gridDim.x - 1) / gridDim.x * N, first = share * blockIdx.x, last = min(first + share, count);
    float difference = 0, size = 0;
    for (int64_t i = first + threadIdx.x * N; i < last; i += 256 * N) {
        float b[N], n[N];
        para_load(b, before, type, i);
        para_load(n, now, type, i);
#pragma unroll
        for (int j = 0; j < N; j++) difference += fabsf(b[j] - n[j]), size += fabsf(b[j]);
    }
    difference = para_block_sum(difference, room), size = para_block_sum(size, room);
    if (threadIdx.x == 0) sums[blockIdx.x] = difference, sums[gridDim.x + blockIdx.x] = size;
}

/* A warp. */
static __global__ void change_sum_kernel(const double *sums, float *out) {
    double sum[2] = {0, 0};
    for (int k = 0; k < 2; k++) {
        for (int i = threadIdx.x; i < PARA_CUDA_CHANGE_BLOCKS; i += 32) sum[k] += sums[k * PARA_CUDA_CHANGE_BLOCKS + i];
        for (int step = 16; step > 0; step /= 2) sum[k] += __shfl_xor_sync(0xffffffffu, sum[k], step);
        if (threadIdx.x == 0) out[k] = (float)sum[k];
    }
}

void para_cuda_launch_change(para_tensor before, para_tensor now, double *sums, float *out, cudaStream_t stream) {
    int64_t count = para_tensor_count(&now);
    bool by_eight = count % 8 == 0 && (uintptr_t)before.data % 16 == 0 && (uintptr_t)now.data % 16 == 0;
    if (by_eight) change_kernel<8><<<PARA_CUDA_CHANGE_BLOCKS, 256, 0, stream>>>(before.data, now.data, now.dtype, count, sums);
    else change_kernel<1><<<PARA_CUDA_CHANGE_BLOCKS, 256, 0, stream>>>(before.data, now.data, now.dtype, count, sums);
    change_sum_kernel<<<1, 32, 0, stream>>>(sums, out);
}

/* A block for each item and key: all heads and queries. */
static __global__ void columns_kernel(const __grid_constant__ para_tensor mask, uint8_t *out) {
    int64_t b = blockIdx.x / mask.dim[3], key = blockIdx.x % mask.dim[3];
    bool hides = true, passes = true;
    for (int64_t i = threadIdx.x; i < mask.dim[1] * mask.dim[2]; i += blockDim.x) {
        int64_t at = b * mask.stride[0] + i / mask.dim[2] * mask.stride[1] + i % mask.dim[2] * mask.stride[2] + key * mask.stride[3];
        if (mask.dtype == PARA_BOOL) {
            bool attends = static_cast<const uint8_t *>(mask.data)[at] != 0;
            hides = hides && !attends, passes = passes && attends;
        } else {
            float f = static_cast<const float *>(mask.data)[at];
            hides = hides && f == -INFINITY, passes = passes && f == 0;
        }
    }
    hides = __syncthreads_and(hides), passes = __syncthreads_and(passes);
    if (threadIdx.x == 0) out[blockIdx.x] = hides ? PARA_COLUMN_HIDES : passes ? PARA_COLUMN_PASSES : PARA_COLUMN_CHANGES;
}

void para_cuda_launch_mask_columns(para_tensor mask, uint8_t *out, cudaStream_t stream) {
    for (int i = 1; i < 3; i++)
        if (mask.stride[i] == 0) mask.dim[i] = 1; /* the same over and over */
    columns_kernel<<<(unsigned)(mask.dim[0] * mask.dim[3]), 128, 0, stream>>>(mask, out);
}
