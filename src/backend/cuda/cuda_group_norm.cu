/* Group norm with an activation, channels last: x is read for the moments and once more for the result. SPDX-License-Identifier: Apache-2.0
 *
 * Moments are taken about the group's first element, so that a mean far from 0 costs no digits; they are added up in a fixed order. */
#include "backend/cuda/cuda_kernels.h"
#include "backend/cuda/cuda_load.cuh"
#include "backend/cuda/cuda_math.cuh"

struct groups {
    const void *x;
    void *y;
    para_dtype type;
    int64_t pixels;
    int c, groups, chunks;
    float eps;
    const float *weight, *bias;
    float *moments; /* [N, chunks, groups, 2] */
    float *vectors; /* [N, 2, C]: mean and factor of each channel's group */
    para_activation f;
    const void *scale, *shift;          /* [N, from…, C] of x's type, or NULL */
    unsigned size[3], from[3];          /* frames, height, width of x, and of scale and shift */
};

/* The value that the group's moments are taken about. */
static __device__ __forceinline__ float pivot_of(const groups &g, int64_t n, int group) {
    float f[1];
    para_load(f, g.x, g.type, n * g.pixels * g.c + group * (g.c / g.groups));
    return f[0];
}

/* Block (chunk, n): shared [2][C] for the channels' sums over the chunk's pixels, then a thread for each group. */
template <int N> static __global__ void moments_kernel(const __grid_constant__ groups g) {
    extern __shared__ float sums[];
    int64_t n = blockIdx.y, first = g.pixels * blockIdx.x / g.chunks, last = g.pixels * (blockIdx.x + 1) / g.chunks;
    int size = g.c / g.groups, pieces = g.c / N, width = pieces < 256 ? pieces : 256, lanes = 256 / width;
    int lane = threadIdx.x / width;
    for (int i = threadIdx.x; i < 2 * g.c; i += 256) sums[i] = 0;
    __syncthreads();
    for (int base = 0; base < pieces; base += width) {
        int piece = base + threadIdx.x % width;
        bool here = lane < lanes && piece < pieces;
        float sum[N] = {0}, square[N] = {0}, pivot[N], x[N];
#pragma unroll
        for (int i = 0; i < N; i++) pivot[i] = here ? pivot_of(g, n, (piece * N + i) / size) : 0;
#pragma unroll 4
        for (int64_t p = first + lane; here && p < last; p += lanes) {
            para_load(x, g.x, g.type, (n * g.pixels + p) * g.c + piece * N);
#pragma unroll
            for (int i = 0; i < N; i++) {
                float off = x[i] - pivot[i];
                sum[i] += off;
                square[i] = fmaf(off, off, square[i]);
            }
        }
        for (int turn = 0; turn < lanes; turn++) {
            if (here && turn == lane) {
#pragma unroll
                for (int i = 0; i < N; i++) {
                    sums[piece * N + i] += sum[i];
                    sums[g.c + piece * N + i] += square[i];
                }
            }
            __syncthreads();
        }
    }
    for (int i = threadIdx.x; i < g.groups; i += 256) {
        float sum = 0, square = 0;
        for (int c = i * size; c < (i + 1) * size; c++) sum += sums[c], square += sums[g.c + c];
        float *to = g.moments + ((n * g.chunks + blockIdx.x) * g.groups + i) * 2;
        to[0] = sum;
        to[1] = square;
    }
}

/* Block n. */
static __global__ void vectors_kernel(const __grid_constant__ groups g) {
    int64_t n = blockIdx.x;
    int size = g.c / g.groups;
    for (int i = threadIdx.x; i < g.groups; i += blockDim.x) {
        double sum = 0, square = 0, count = (double)g.pixels * size;
        for (int chunk = 0; chunk < g.chunks; chunk++) {
            const float *from = g.moments + ((n * g.chunks + chunk) * g.groups + i) * 2;
            sum += from[0], square += from[1];
        }
        double off = sum / count, mean = pivot_of(g, n, i) + off, variance = fmax(square / count - off * off, 0.0);
        float factor = (float)(1 / sqrt(variance + g.eps));
        for (int c = i * size; c < (i + 1) * size; c++) {
            g.vectors[2 * n * g.c + c] = (float)mean;
            g.vectors[(2 * n + 1) * g.c + c] = factor * g.weight[c];
        }
    }
}

/* The pixel of scale and shift, of all items, that pixel `at` of item n is conditioned by; frames as para_nearest_frame has them. */
static __device__ __forceinline__ int64_t condition_of(const groups &g, int64_t n, unsigned at) {
    const unsigned *size = g.size, *from = g.from;
    unsigned line = at / size[2], t = line / size[1], column = at - line * size[2];
    line -= t * size[1];
    bool alone = size[0] > 1 && size[0] % 2 == 1;
    t = t == 0 || from[0] == 1 ? 0 : alone ? 1 + (t - 1) * (from[0] - 1) / (size[0] - 1) : t * from[0] / size[0];
    return ((n * from[0] + t) * from[1] + line * from[1] / size[1]) * from[2] + column * from[2] / size[2];
}

template <int N, bool CONDITIONED> static __global__ void apply_kernel(const __grid_constant__ groups g, int64_t count) {
    int64_t index = ((int64_t)blockIdx.x * 256 + threadIdx.x) * N;
    if (index >= count) return;
    int64_t n = index / (g.pixels * g.c);
    int c = (int)(index % g.c);
    float x[N], mean[N], factor[N];
    para_load(x, g.x, g.type, index);
    para_load(mean, g.vectors + 2 * n * g.c, PARA_F32, c);
    para_load(factor, g.vectors + (2 * n + 1) * g.c, PARA_F32, c);
#pragma unroll
    for (int i = 0; i < N; i++) x[i] = fmaf(x[i] - mean[i], factor[i], g.bias[c + i]);
    if (CONDITIONED) {
        float scale[N], shift[N];
        int64_t from = condition_of(g, n, (unsigned)(index / g.c - n * g.pixels)) * g.c + c;
        para_load(scale, g.scale, g.type, from);
        para_load(shift, g.shift, g.type, from);
#pragma unroll
        for (int i = 0; i < N; i++) x[i] = fmaf(x[i], scale[i], shift[i]);
    }
#pragma unroll
    for (int i = 0; i < N; i++) x[i] = para_activation_of(g.f, x[i]);
    para_store(g.y, g.type, index, x);
}

void para_cuda_launch_group_norm(const para_group_norm_args *a, int chunks, float *moments, float *vectors, cudaStream_t stream) {
    int64_t n = a->x.dim[0], count = para_tensor_count(&a->x), c = a->x.dim[a->x.rank - 1];
    groups g = {a->x.data, a->y.data, a->x.dtype, count / n / c, (int)c, a->groups, chunks, a->eps,
                static_cast<const float *>(a->weight.data), static_cast<const float *>(a->bias.data), moments, vectors, a->activation,
                a->scale.data, a->shift.data, {(unsigned)a->x.dim[1], (unsigned)a->x.dim[2], (unsigned)a->x.dim[3]},
                {(unsigned)a->scale.dim[1], (unsigned)a->scale.dim[2], (unsigned)a->scale.dim[3]}};
    bool conditioned = g.scale != NULL;
    bool eight = g.c % 8 == 0 && para_cuda_at_16(g.x) && para_cuda_at_16(g.y) && para_cuda_at_16(g.scale) && para_cuda_at_16(g.shift);
    dim3 grid((unsigned)chunks, (unsigned)n);
    size_t shared = 2 * g.c * sizeof(float);
    unsigned blocks = (unsigned)((count / (eight ? 8 : 1) + 255) / 256);
    if (eight) moments_kernel<8><<<grid, 256, shared, stream>>>(g);
    else moments_kernel<1><<<grid, 256, shared, stream>>>(g);
    vectors_kernel<<<(unsigned)n, 128, 0, stream>>>(g);
    if (eight && conditioned) apply_kernel<8, true><<<blocks, 256, 0, stream>>>(g, count);
    else if (eight) apply_kernel<8, false><<<blocks, 256, 0, stream>>>(g, count);
    else if (conditioned) apply_kernel<1, true><<<blocks, 256, 0, stream>>>(g, count);
    else apply_kernel<1, false><<<blocks, 256, 0, stream>>>(g, count);
}
