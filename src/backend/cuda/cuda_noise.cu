/* Numbers without order, as operands of what is timed: zeros would be multiplied faster. SPDX-License-Identifier: Apache-2.0 */
#include "backend/cuda/cuda_kernels.h"
#include "backend/cuda/cuda_load.cuh"
#include "backend/cuda/cuda_walk.cuh"

static __global__ void noise_kernel(void *x, para_dtype type, int64_t count) {
    int64_t index = para_thread();
    if (index >= count) return;
    uint32_t bits = (uint32_t)index * 2654435761u + 12345;
    bits = (bits ^ bits >> 16) * 0x85ebca6bu;
    bits = (bits ^ bits >> 13) * 0xc2b2ae35u;
    float f[1] = {(float)(int32_t)(bits ^ bits >> 16) * 0x1p-31f};
    para_store(x, type, index, f);
}

void para_cuda_launch_noise(void *x, para_dtype type, int64_t count, cudaStream_t stream) {
    noise_kernel<<<para_blocks(count), 256, 0, stream>>>(x, type, count);
}
