/* Softmax of the attention kernels, over the registers that hold a tile's scores: two rows to a thread, 0 is row l/4 of the warp's 16 (lane l), 1 the
 * one 8 below; the four lanes of a quad share a row. SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include "backend/cuda/attention_math.cuh"

namespace attention {

__device__ __forceinline__ float quad_max(float x) {
    x = fmaxf(x, __shfl_xor_sync(~0u, x, 1));
    return fmaxf(x, __shfl_xor_sync(~0u, x, 2));
}

__device__ __forceinline__ float quad_sum(float x) {
    x += __shfl_xor_sync(~0u, x, 1);
    return x + __shfl_xor_sync(~0u, x, 2);
}

struct softmax_rows {
    float max[2]; /* of scores · scale · log2 e; it may lag behind by up to LAG */
    float sum[2]; /* of this thread's columns */
};

/* How far, as a power of two, probabilities may exceed 1 before the accumulators are rescaled. */
constexpr float LAG = 8;

/* Exponents → probabilities, in place: of the registers From to To - 1. */
template <int From, int To, int N> __device__ __forceinline__ void exponentiate(float (&s)[N], softmax_rows &rows) {
    constexpr int BEHIND = 8; /* what is added was computed so many values before, so that nothing waits */
    float sum[4] = {rows.sum[0], 0, rows.sum[1], 0};
#pragma unroll
    for (int i = From; i < To + BEHIND; i++) {
        if (i < To) s[i] = exp2_approx(s[i]);
        if (i >= From + BEHIND) sum[i % 4] += s[i - BEHIND];
    }
    rows.sum[0] = sum[0] + sum[1];
    rows.sum[1] = sum[2] + sum[3];
}

/* The greatest of a thread's values in each of its rows. */
template <int N> __device__ __forceinline__ void thread_max(const float (&s)[N], float (&max)[2]) {
#pragma unroll
    for (int r = 0; r < 2; r++) {
        float top[2] = {s[2 * r], s[2 * r + 1]};
#pragma unroll
        for (int i = 4 + 2 * r; i < N; i += 4) {
            top[0] = fmaxf(top[0], s[i]);
            top[1] = fmaxf(top[1], s[i + 1]);
        }
        max[r] = fmaxf(top[0], top[1]);
    }
}

/* Scores [64, 2N] → exponents, in place. The accumulators are to be multiplied by alpha[row], where that is not 1. Rows may have seen no key yet. */
template <int N> __device__ __forceinline__ void to_exponents(float (&s)[N], softmax_rows &rows, float (&alpha)[2], float scale_log2) {
    float max[2], shift[2];
    thread_max(s, max);
#pragma unroll
    for (int r = 0; r < 2; r++) {
        max[r] = quad_max(max[r]) * scale_log2;
        alpha[r] = 1;
        if (max[r] > rows.max[r] + LAG) { /* also from -inf */
            alpha[r] = exp2_approx(rows.max[r] - max[r]);
            rows.max[r] = max[r];
        }
        shift[r] = rows.max[r] == -INFINITY ? 0 : -rows.max[r];
    }
#pragma unroll
    for (int i = 0; i < N; i++) s[i] = fmaf(s[i], scale_log2, shift[i / 2 % 2]);
#pragma unroll
    for (int r = 0; r < 2; r++) rows.sum[r] *= alpha[r];
}

/* The same for rows that have seen a key: then the maximum has to be known only where it has grown by more than LAG, which is rare. Floats above 0 compare
 * like their bits do, and three at a time. */
template <int N> __device__ __forceinline__ void to_exponents_next(float (&s)[N], softmax_rows &rows, float (&alpha)[2], float scale_log2) {
    int top[2] = {0, 0};
#pragma unroll
    for (int i = 0; i < N; i++) s[i] = fmaf(s[i], scale_log2, -rows.max[i / 2 % 2]);
#pragma unroll
    for (int i = 0; i < N; i += 4) {
        top[0] = __vimax3_s32(top[0], __float_as_int(s[i]), __float_as_int(s[i + 1]));
        top[1] = __vimax3_s32(top[1], __float_as_int(s[i + 2]), __float_as_int(s[i + 3]));
    }
    alpha[0] = alpha[1] = 1;
    if (__any_sync(~0u, max(top[0], top[1]) > __float_as_int(LAG))) {
        float growth[2];
        thread_max(s, growth);
#pragma unroll
        for (int r = 0; r < 2; r++) {
            growth[r] = quad_max(growth[r]);
            if (growth[r] <= LAG) growth[r] = 0;
            alpha[r] = exp2_approx(-growth[r]);
            rows.max[r] += growth[r];
        }
#pragma unroll
        for (int i = 0; i < N; i++) s[i] -= growth[i / 2 % 2];
#pragma unroll
        for (int r = 0; r < 2; r++) rows.sum[r] *= alpha[r];
    }
}

/* Probabilities as the A operand of the next product. */
template <typename T, int N> __device__ __forceinline__ void to_operand(uint32_t (&p)[N / 2], const float (&s)[N]) {
#pragma unroll
    for (int i = 0; i < N / 2; i++) p[i] = pack<T>(s[2 * i], s[2 * i + 1]);
}

template <int N> __device__ __forceinline__ void rescale(float (&o)[N], const float (&alpha)[2]) {
    if (!__any_sync(~0u, alpha[0] != 1 || alpha[1] != 1)) return;
#pragma unroll
    for (int i = 0; i < N; i++) o[i] *= alpha[i / 2 % 2];
}

/* Hides the keys that a row does not see: from `end_0` on in row 0, from `end_1` on in row 1; the tile's first key is `origin`. */
template <int N> __device__ __forceinline__ void mask(float (&s)[N], int origin, int end_0, int end_1) {
    int column = origin + 2 * (threadIdx.x % 4);
#pragma unroll
    for (int i = 0; i < N; i++) {
        if (column + 8 * (i / 4) + i % 2 >= (i / 2 % 2 ? end_1 : end_0)) s[i] = -INFINITY;
    }
}

} // namespace attention
