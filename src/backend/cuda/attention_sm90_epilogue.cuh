/* What becomes of a tile's accumulators in attention_sm90_kernel.cuh: they start from a carry, are added to those of other blocks, and are written out. SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include "backend/cuda/attention_sm90_plan.cuh"
#include "backend/cuda/attention_sm90_softmax.cuh"

namespace attention_sm90 {

/* ---- Parts of split tiles, through the workspace */

constexpr int PART_BARRIER = 8; /* named barriers 8, 9, …: of a consumer's own threads */

/* Thread t of a consumer writes its registers to [·][t] of the block's part, and says so. */
template <class C> __device__ void write_part(const params &p, int consumer, const float (&o)[C::D / 2], const softmax_rows &rows) {
    int thread = threadIdx.x % 128;
    float4 *part = (float4 *)(p.part + ((int64_t)blockIdx.x * C::CONSUMERS + consumer) * (C::D / 2 + 4) * 128) + thread;
#pragma unroll
    for (int i = 0; i < C::D / 2; i += 4) part[i / 4 * 128] = make_float4(o[i], o[i + 1], o[i + 2], o[i + 3]);
    part[C::D / 8 * 128] = make_float4(rows.max[0], rows.max[1], rows.sum[0], rows.sum[1]);
    __threadfence();
    sm90::barrier_sync(PART_BARRIER + consumer, 128);
    if (thread == 0) asm volatile("st.release.gpu.s32 [%0], 1;" ::"l"(p.part_ready + blockIdx.x * 4 + consumer) : "memory");
}

/* Adds the part of another block to the registers. */
template <class C> __device__ void add_part(const params &p, int block, int consumer, float (&o)[C::D / 2], softmax_rows &rows) {
    int thread = threadIdx.x % 128, *flag = p.part_ready + block * 4 + consumer, ready;
    do asm volatile("ld.acquire.gpu.s32 %0, [%1];" : "=r"(ready) : "l"(flag) : "memory");
    while (!ready);
    const float4 *part = (const float4 *)(p.part + ((int64_t)block * C::CONSUMERS + consumer) * (C::D / 2 + 4) * 128) + thread;
    float4 other = __ldcg(part + C::D / 8 * 128);
    float other_max[2] = {other.x, other.y}, other_sum[2] = {other.z, other.w}, mine[2], theirs[2];
#pragma unroll
    for (int r = 0; r < 2; r++) {
        float max = fmaxf(rows.max[r], other_max[r]);
        mine[r] = sm90::exp2_approx(rows.max[r] - max);
        theirs[r] = sm90::exp2_approx(other_max[r] - max);
        rows.sum[r] = rows.sum[r] * mine[r] + other_sum[r] * theirs[r];
        rows.max[r] = max;
    }
#pragma unroll
    for (int i = 0; i < C::D / 2; i += 4) {
        float4 x = __ldcg(part + i / 4 * 128);
        o[i] = o[i] * mine[0] + x.x * theirs[0];
        o[i + 1] = o[i + 1] * mine[0] + x.y * theirs[0];
        o[i + 2] = o[i + 2] * mine[1] + x.z * theirs[1];
        o[i + 3] = o[i + 3] * mine[1] + x.w * theirs[1];
    }
    sm90::barrier_sync(PART_BARRIER + consumer, 128);
    if (thread == 0) *flag = 0; /* for the next launch */
}

/* ---- The result of a tile */

/* The result over other keys as the start of this one. */
template <class C> __device__ void read_carry(const params &p, const position &x, int row, float (&o)[C::D / 2], softmax_rows &rows) {
#pragma unroll
    for (int r = 0; r < 2; r++) {
        int token = row + 8 * r;
        if (token >= p.q_len) continue;
        float lse = p.carry_lse[x.batch * p.carry_lse_stride.batch + x.head * p.carry_lse_stride.head + token * p.carry_lse_stride.token];
        rows.max[r] = lse * LOG2_E;
        rows.sum[r] = lse > -INFINITY && threadIdx.x % 4 == 0 ? 1 : 0; /* one thread of the four that share the row */
        const float *from = p.carry_out + x.batch * p.carry_out_stride.batch + x.head * p.carry_out_stride.head + token * p.carry_out_stride.token + 2 * (threadIdx.x % 4);
#pragma unroll
        for (int j = 0; j < C::D / 8; j++) {
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

template <class C> __device__ void write_result(const params &p, const position &x, int row, float (&o)[C::D / 2], const softmax_rows &rows) {
#pragma unroll
    for (int r = 0; r < 2; r++) {
        int token = row + 8 * r, quad_lane = threadIdx.x % 4;
        bool inside = token < p.q_len;
        float sum = quad_sum(rows.sum[r]), inverse = sum > 0 ? 1 / sum : 0;
        if (p.lse && inside && quad_lane == 0) {
            p.lse[x.batch * p.lse_stride.batch + x.head * p.lse_stride.head + token * p.lse_stride.token] =
                sum > 0 ? LN_2 * (rows.max[r] + __log2f(sum)) : -INFINITY;
        }
        int64_t at = x.batch * p.out_stride.batch + x.head * p.out_stride.head + token * p.out_stride.token;
        if (C::RING && p.out_f32) {
            float *to = (float *)p.out + at + 2 * quad_lane;
#pragma unroll
            for (int j = 0; j < C::D / 8; j++) {
                if (inside) *(float2 *)(to + 8 * j) = make_float2(o[4 * j + 2 * r] * inverse, o[4 * j + 2 * r + 1] * inverse);
            }
        } else {
            typename C::T *to = (typename C::T *)p.out + at + 8 * quad_lane;
#pragma unroll
            for (int j = 0; j < C::D / 8; j += 4) { /* 32 columns of the row: 8 to each lane */
                uint32_t y[4];
#pragma unroll
                for (int i = 0; i < 4; i++) y[i] = sm90::pack<typename C::T>(o[4 * (j + i) + 2 * r] * inverse, o[4 * (j + i) + 2 * r + 1] * inverse);
                quad_transpose(y);
                if (inside) *(uint4 *)(to + 8 * j) = make_uint4(y[0], y[1], y[2], y[3]);
            }
        }
    }
}

} // namespace attention_sm90
