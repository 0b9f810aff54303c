/* LayerNorm and RMSNorm with modulation, and the gated residual before it: one pass over memory, a row in the registers of a block.
 * SPDX-License-Identifier: Apache-2.0 */
#include "backend/cuda/cuda_kernels.h"
#include "backend/cuda/cuda_load.cuh"
#include "backend/cuda/cuda_math.cuh"
#include "backend/cuda/cuda_norm.cuh"

/* Thread t holds elements [(j · threads + t) · N, … + N) of its row, for j below PARTS. */
template <int N, int PARTS> static __global__ void __launch_bounds__(N == 8 ? 512 : 1024) norm_kernel(const __grid_constant__ para_norm_rows r) {
    __shared__ float room[32];
    int64_t row = blockIdx.x;
    float x[PARTS][N], v[N], sum = 0;
    int step = blockDim.x * N, first = threadIdx.x * N;
#pragma unroll
    for (int j = 0; j < PARTS; j++) {
        int at = first + j * step;
#pragma unroll
        for (int i = 0; i < N; i++) x[j][i] = 0;
        if (at < r.d) para_load(x[j], r.x, r.type, row * r.x_row + at);
    }
    if (r.add) {
        float factor = 1;
        if (r.add_rms) { /* read twice: the second time from the cache */
#pragma unroll
            for (int j = 0; j < PARTS; j++) {
                int at = first + j * step;
                if (at >= r.d) continue;
                para_load(v, r.add, r.type, row * r.add_row + at);
#pragma unroll
                for (int i = 0; i < N; i++) sum = fmaf(v[i], v[i], sum);
            }
            factor = 1 / sqrtf(para_block_sum(sum, room) / r.d + r.add_eps);
            sum = 0;
        }
#pragma unroll
        for (int j = 0; j < PARTS; j++) {
            int at = first + j * step;
            if (at >= r.d) continue;
            float gate[N];
            para_load(v, r.add, r.type, row * r.add_row + at);
#pragma unroll
            for (int i = 0; i < N; i++) v[i] *= factor;
            if (r.gate) para_load(gate, r.gate, PARA_F32, at);
#pragma unroll
            for (int i = 0; i < N; i++) x[j][i] = para_rounded(r.gate ? fmaf(gate[i], v[i], x[j][i]) : x[j][i] + v[i], r.type);
            para_store(r.x, r.type, row * r.x_row + at, x[j]);
        }
    }
    if (!r.y) return;
    float mean = 0;
    if (!r.rms) {
#pragma unroll
        for (int j = 0; j < PARTS; j++)
#pragma unroll
            for (int i = 0; i < N; i++) sum += x[j][i];
        mean = para_block_sum(sum, room) / r.d;
        sum = 0;
    }
#pragma unroll
    for (int j = 0; j < PARTS; j++)
#pragma unroll
        for (int i = 0; i < N; i++) {
            float off = first + j * step < r.d ? x[j][i] - mean : 0;
            sum = fmaf(off, off, sum);
        }
    float factor = 1 / sqrtf(para_block_sum(sum, room) / r.d + r.eps);
#pragma unroll
    for (int j = 0; j < PARTS; j++) {
        int at = first + j * step;
        if (at >= r.d) continue;
#pragma unroll
        for (int i = 0; i < N; i++) x[j][i] = (x[j][i] - mean) * factor;
        if (r.weight) {
            para_load(v, r.weight, PARA_F32, at);
#pragma unroll
            for (int i = 0; i < N; i++) x[j][i] *= v[i];
        }
        if (r.bias) {
            para_load(v, r.bias, PARA_F32, at);
#pragma unroll
            for (int i = 0; i < N; i++) x[j][i] += v[i];
        }
        if (r.scale) {
            para_load(v, r.scale, PARA_F32, at);
#pragma unroll
            for (int i = 0; i < N; i++) x[j][i] = fmaf(x[j][i], v[i], x[j][i]);
        }
        if (r.shift) {
            para_load(v, r.shift, PARA_F32, at);
#pragma unroll
            for (int i = 0; i < N; i++) x[j][i] += v[i];
        }
        para_store(r.y, r.type, row * r.y_row + at, x[j]);
    }
}

static bool by_eight(const para_norm_rows *r) {
    return r->d % 8 == 0 && r->x_row % 8 == 0 && r->add_row % 8 == 0 && r->y_row % 8 == 0 && para_cuda_at_16(r->x) && para_cuda_at_16(r->add) && para_cuda_at_16(r->y) &&
           para_cuda_at_16(r->gate) && para_cuda_at_16(r->weight) && para_cuda_at_16(r->bias) && para_cuda_at_16(r->scale) && para_cuda_at_16(r->shift);
}

static const float *floats(const para_tensor *t) {
    return static_cast<const float *>(t->data);
}

void para_cuda_launch_norm(const para_norm_args *norm, const para_residual_args *residual, cudaStream_t stream) {
    const para_tensor *x = residual ? &residual->x : &norm->x;
    para_norm_rows r = {};
    r.type = x->dtype, r.d = (int)x->dim[1], r.x = x->data, r.x_row = x->stride[0];
    if (residual) {
        r.add = residual->y.data, r.add_row = residual->y.stride[0], r.gate = floats(&residual->gate);
        r.add_rms = residual->rms_norm, r.add_eps = residual->eps;
    }
    if (norm) {
        r.y = norm->y.data, r.y_row = norm->y.stride[0], r.rms = norm->kind == PARA_NORM_RMS, r.eps = norm->eps;
        r.weight = floats(&norm->weight), r.bias = floats(&norm->bias), r.scale = floats(&norm->scale), r.shift = floats(&norm->shift);
    }
    unsigned rows = (unsigned)x->dim[0];
    r.rows = rows;
    bool eight = by_eight(&r);
    if (para_cuda_launch_norm_stream(&r, eight, stream)) return;
    int pieces = eight ? r.d / 8 : r.d, most = eight ? 512 : 1024, parts = 1;
    while (pieces > parts * (parts < 4 ? 256 : most)) parts *= 2;
    int threads = ((pieces + parts - 1) / parts + 31) / 32 * 32;
    switch (parts) {
    case 1: eight ? norm_kernel<8, 1><<<rows, threads, 0, stream>>>(r) : norm_kernel<1, 1><<<rows, threads, 0, stream>>>(r); break;
    case 2: eight ? norm_kernel<8, 2><<<rows, threads, 0, stream>>>(r) : norm_kernel<1, 2><<<rows, threads, 0, stream>>>(r); break;
    case 4: eight ? norm_kernel<8, 4><<<rows, threads, 0, stream>>>(r) : norm_kernel<1, 4><<<rows, threads, 0, stream>>>(r); break;
    case 8: eight ? norm_kernel<8, 8><<<rows, threads, 0, stream>>>(r) : norm_kernel<1, 8><<<rows, threads, 0, stream>>>(r); break;
    default: norm_kernel<1, 32><<<rows, 1024, 0, stream>>>(r); break;
    }
}
