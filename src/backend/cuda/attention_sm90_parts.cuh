/* Parts of split tiles in attention_sm90_kernel.cuh, from block to block through the workspace. SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include "backend/cuda/attention_sm90_plan.cuh"
#include "backend/cuda/attention_softmax.cuh"

namespace attention_sm90 {

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
        mine[r] = exp2_approx(rows.max[r] - max);
        theirs[r] = exp2_approx(other_max[r] - max);
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

} // namespace attention_sm90
