/* Where the accumulators of the attention kernels start from and are written to. P is a kernel's own arguments: it has the members named here as
 * para_cuda_attention has them. (As a base class of those it would shift the others, for which the assembler finds a slower order.) SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include "backend/cuda/attention_softmax.cuh"

namespace attention {

struct strides {
    int64_t batch, head, token; /* in elements */
};

struct position {
    int q_tile, head, batch;
};

__device__ __forceinline__ int64_t offset(const strides &s, const position &x, int token) {
    return x.batch * s.batch + x.head * s.head + token * s.token;
}

/* Where token 0 of the result would be, were it where this token is. Kernels with several results have one of their own, for their arguments. */
template <class P> __device__ __forceinline__ void *result_of(const P &p, int) {
    return p.out;
}

/* The result over other keys as the start of this one: of the `columns` that there are. */
template <class P, int N> __device__ void read_carry(const P &p, const position &x, int row, int columns, float (&o)[N], softmax_rows &rows) {
#pragma unroll
    for (int r = 0; r < 2; r++) {
        int token = row + 8 * r, first = 2 * (threadIdx.x % 4);
        if (token >= p.q_len) continue;
        float lse = p.carry_lse[offset(p.carry_lse_stride, x, token)];
        rows.max[r] = lse * LOG2_E;
        rows.sum[r] = lse > -INFINITY && threadIdx.x % 4 == 0 ? 1 : 0; /* one thread of the four that share the row */
        const float *from = p.carry_out + offset(p.carry_out_stride, x, token) + first;
#pragma unroll
        for (int j = 0; j < N / 4; j++) {
            if (first + 8 * j >= columns) continue;
            float2 y = *(const float2 *)(from + 8 * j);
            o[4 * j + 2 * r] = y.x;
            o[4 * j + 2 * r + 1] = y.y;
        }
    }
}

/* Among the four lanes of a quad: lane i's x[j] goes to lane j's x[i]. */
__device__ __forceinline__ void quad_transpose(uint32_t (&x)[4]) {
#pragma unroll
    for (int step = 1; step <= 2; step++) {
        bool upper = threadIdx.x & step;
#pragma unroll
        for (int i = 0; i < 2; i++) {
            uint32_t &low = x[step == 1 ? 2 * i : i], &high = x[step == 1 ? 2 * i + 1 : i + 2];
            uint32_t got = __shfl_xor_sync(~0u, upper ? low : high, step);
            (upper ? low : high) = got;
        }
    }
}

/* Row r of a thread's two: `sum` is that of all its columns. The accumulators hold columns from `first` on, of `columns` that there are. */
template <typename T, bool F32, class P, int N>
__device__ __forceinline__ void write_row(const P &p, const position &x, int token, int first, int columns, int r, const float (&o)[N], float max, float sum) {
    int quad_lane = threadIdx.x % 4;
    bool inside = token < p.q_len;
    float inverse = sum > 0 ? 1 / sum : 0;
    if (p.lse && inside && quad_lane == 0 && first == 0) p.lse[offset(p.lse_stride, x, token)] = sum > 0 ? LN_2 * (max + __log2f(sum)) : -INFINITY;
    int64_t at = offset(p.out_stride, x, token) + first;
    if (F32 && p.out_f32) {
        float *to = (float *)result_of(p, token) + at + 2 * quad_lane;
#pragma unroll
        for (int j = 0; j < N / 4; j++) {
            if (inside && first + 8 * j + 2 * quad_lane < columns)
                *(float2 *)(to + 8 * j) = make_float2(o[4 * j + 2 * r] * inverse, o[4 * j + 2 * r + 1] * inverse);
        }
    } else {
        T *to = (T *)result_of(p, token) + at + 8 * quad_lane;
#pragma unroll
        for (int j = 0; j < N / 4; j += 4) { /* 32 columns of the row: 8 to each lane */
            uint32_t y[4];
#pragma unroll
            for (int i = 0; i < 4; i++) y[i] = pack<T>(o[4 * (j + i) + 2 * r] * inverse, o[4 * (j + i) + 2 * r + 1] * inverse);
            quad_transpose(y);
            if (inside && first + 8 * j + 8 * quad_lane < columns) *(uint4 *)(to + 8 * j) = make_uint4(y[0], y[1], y[2], y[3]);
        }
    }
}

/* Both rows of a thread: `row` and the one 8 below. F32: out may be float32. */
template <typename T, bool F32, class P, int N> __device__ void write_result(const P &p, const position &x, int row, int columns, const float (&o)[N], const softmax_rows &rows) {
#pragma unroll
    for (int r = 0; r < 2; r++) write_row<T, F32>(p, x, row + 8 * r, 0, columns, r, o, rows.max[r], quad_sum(rows.sum[r]));
}

} // namespace attention
