/* Copies between any strides and float types. SPDX-License-Identifier: Apache-2.0 */
#include "backend/cuda/cuda_load.cuh"
#include "backend/cuda/cuda_walk.cuh"

template <int N> static __global__ void convert_kernel(const __grid_constant__ para_walk w) {
    int64_t index = para_thread() * N, at[PARA_WALK_MOST];
    if (index >= w.count) return;
    float f[N];
    para_walk_at(w, index, at);
    para_load(f, w.data[1], w.type[1], at[1]);
    para_store(w.data[0], w.type[0], at[0], f);
}

/* Elements, or eight of them at once, as nothing but bits. */
template <int N, typename Bits> static __global__ void move_kernel(const __grid_constant__ para_walk w) {
    int64_t index = para_thread() * N, at[PARA_WALK_MOST];
    if (index >= w.count) return;
    para_walk_at(w, index, at);
    static_cast<Bits *>(w.data[0])[at[0] / N] = static_cast<const Bits *>(w.data[1])[at[1] / N];
}

struct alignas(16) bits256 {
    uint4 a, b;
};

void para_cuda_launch_copy(const para_walk *w, cudaStream_t stream) {
    unsigned blocks = para_blocks(w->count / w->vector);
    size_t size = para_dtype_size(w->type[0]);
    bool by_eight = w->vector == 8;
    if (w->type[0] != w->type[1]) {
        if (by_eight) convert_kernel<8><<<blocks, 256, 0, stream>>>(*w);
        else convert_kernel<1><<<blocks, 256, 0, stream>>>(*w);
    } else if (size == 1) {
        if (by_eight) move_kernel<8, uint2><<<blocks, 256, 0, stream>>>(*w);
        else move_kernel<1, unsigned char><<<blocks, 256, 0, stream>>>(*w);
    } else if (size == 2) {
        if (by_eight) move_kernel<8, uint4><<<blocks, 256, 0, stream>>>(*w);
        else move_kernel<1, unsigned short><<<blocks, 256, 0, stream>>>(*w);
    } else if (size == 4) {
        if (by_eight) move_kernel<8, bits256><<<blocks, 256, 0, stream>>>(*w);
        else move_kernel<1, unsigned><<<blocks, 256, 0, stream>>>(*w);
    } else {
        move_kernel<1, unsigned long long><<<blocks, 256, 0, stream>>>(*w);
    }
}
