/* y = f(a), y = f(a) · b. SPDX-License-Identifier: Apache-2.0 */
#include "backend/cuda/cuda_load.cuh"
#include "backend/cuda/cuda_math.cuh"
#include "backend/cuda/cuda_walk.cuh"

template <int N> static __global__ void map_kernel(const __grid_constant__ para_walk w, para_activation f) {
    int64_t index = para_thread() * N, at[PARA_WALK_MOST];
    if (index >= w.count) return;
    float a[N], b[N];
    para_walk_at(w, index, at);
    para_load(a, w.data[1], w.type[1], at[1]);
    if (w.n > 2) para_load(b, w.data[2], w.type[2], at[2]);
#pragma unroll
    for (int i = 0; i < N; i++) a[i] = para_activation_of(f, a[i]) * (w.n > 2 ? b[i] : 1);
    para_store(w.data[0], w.type[0], at[0], a);
}

void para_cuda_launch_map(const para_walk *w, para_activation f, cudaStream_t stream) {
    unsigned blocks = para_blocks(w->count / w->vector);
    if (w->vector == 8) map_kernel<8><<<blocks, 256, 0, stream>>>(*w, f);
    else map_kernel<1><<<blocks, 256, 0, stream>>>(*w, f);
}
