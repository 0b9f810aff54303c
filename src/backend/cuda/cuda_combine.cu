/* y = Σ c[i] x[i]. SPDX-License-Identifier: Apache-2.0 */
#include "backend/cuda/cuda_load.cuh"
#include "backend/cuda/cuda_walk.cuh"

struct terms {
    int n;
    int64_t count;
    const void *x[4];
    para_dtype type[4], y_type;
    float c[4];
    void *y;
};

template <int N> static __global__ void combine_kernel(const __grid_constant__ terms t) {
    int64_t index = para_thread() * N;
    if (index >= t.count) return;
    float sum[N] = {0}, x[N];
#pragma unroll
    for (int k = 0; k < 4; k++) {
        if (k >= t.n) break;
        para_load(x, t.x[k], t.type[k], index);
#pragma unroll
        for (int i = 0; i < N; i++) sum[i] = fmaf(t.c[k], x[i], sum[i]);
    }
    para_store(t.y, t.y_type, index, sum);
}

void para_cuda_launch_combine(para_tensor y, int n, const para_tensor *x, const float *c, cudaStream_t stream) {
    terms t = {};
    t.n = n, t.count = para_tensor_count(&y), t.y = y.data, t.y_type = y.dtype;
    bool by_eight = t.count % 8 == 0 && (uintptr_t)y.data % 16 == 0;
    for (int i = 0; i < n; i++) {
        t.x[i] = x[i].data, t.type[i] = x[i].dtype, t.c[i] = c[i];
        by_eight = by_eight && (uintptr_t)x[i].data % 16 == 0;
    }
    if (by_eight) combine_kernel<8><<<para_blocks(t.count / 8), 256, 0, stream>>>(t);
    else combine_kernel<1><<<para_blocks(t.count), 256, 0, stream>>>(t);
}
