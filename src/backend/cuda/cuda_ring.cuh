/* A thread's own copies from memory, so many pieces of work ahead: what a kernel that only moves memory needs on its way to keep memory busy.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef PARA_CUDA_RING_CUH
#define PARA_CUDA_RING_CUH

#include <cstdint>
#include <cuda_runtime_api.h>

/* Vectors of 16 bytes: COUNT to a piece, STAGES pieces in shared memory. All threads of a block call the same functions; none sees another's vectors. */
template <int COUNT, int STAGES> struct para_ring {
    uint4 *own; /* [STAGES, COUNT, threads], from this thread's column on */

    static constexpr size_t bytes(int threads) { return sizeof(uint4) * STAGES * COUNT * threads; }

    __device__ __forceinline__ uint4 *at(int stage, int i) const { return own + (stage * COUNT + i) * blockDim.x; }

    __device__ __forceinline__ void fetch(int stage, int i, const void *from) const {
        uint32_t to = (uint32_t)__cvta_generic_to_shared(at(stage, i));
        asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" ::"r"(to), "l"(from) : "memory");
    }

    /* Ends a piece; called for each, also where there was nothing left to fetch. */
    __device__ __forceinline__ void end_piece() const { asm volatile("cp.async.commit_group;" ::: "memory"); }

    /* Waits for the oldest piece, STAGES - 1 having been begun. */
    __device__ __forceinline__ void wait() const { asm volatile("cp.async.wait_group %0;" ::"n"(STAGES - 2) : "memory"); }
};

/* Blocks of a kernel that the device works on at once; 0 where it has too little shared memory for one. */
template <class Kernel> int para_cuda_blocks_at_once(Kernel *kernel, int threads, size_t shared_bytes) {
    int device = 0, processors = 0, blocks = 0;
    if (cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, (int)shared_bytes) != cudaSuccess ||
        cudaGetDevice(&device) != cudaSuccess || cudaDeviceGetAttribute(&processors, cudaDevAttrMultiProcessorCount, device) != cudaSuccess ||
        cudaOccupancyMaxActiveBlocksPerMultiprocessor(&blocks, kernel, threads, shared_bytes) != cudaSuccess) {
        cudaGetLastError(); /* the caller has another kernel */
        return 0;
    }
    return processors * blocks;
}

#endif
