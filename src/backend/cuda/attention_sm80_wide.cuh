/* Attention forward for GPUs of compute capability 8.0 and later, head dims of 257 to 512: the one head of an autoencoder.
 *
 * The accumulators of 64 queries fill half of the registers of eight warps, so each warp has 64 of the 512 columns of the result, of all queries. Of the
 * scores it has half of the queries by a quarter of the keys; maxima and probabilities go through shared memory. Keys come some columns at a time, values some tokens at a
 * time, through a ring of stages. SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include "backend/cuda/attention_sm80_plan.cuh"

namespace attention_sm80 {

/* V_ROWS: values of a stage; of keys it holds as many bytes. */
template <typename T_, int BLOCK_KV_, int V_ROWS_, int STAGES_> struct wide {
    using T = T_;
    static constexpr int D = 512, BLOCK_Q = 64, BLOCK_KV = BLOCK_KV_, WARPS = 8, THREADS = 32 * WARPS, STAGES = STAGES_;
    static constexpr int V_ROWS = V_ROWS_, K_COLUMNS = V_ROWS * D / BLOCK_KV, STAGE_BYTES = V_ROWS * D * 2;
    static constexpr int WARP_KEYS = BLOCK_KV / 4;                                     /* of the scores that a warp computes, 32 rows of them */
    static constexpr int K_PARTS = D / K_COLUMNS, PARTS = K_PARTS + BLOCK_KV / V_ROWS; /* of a key tile, a stage each */
    static constexpr int P_AT = BLOCK_Q * D * 2, ROWS_AT = P_AT + BLOCK_Q * BLOCK_KV * 2, STAGES_AT = ROWS_AT + BLOCK_Q * 4 * 4;
    static constexpr int SHARED_BYTES = STAGES_AT + STAGES * STAGE_BYTES;
};

/* A row's maximum may grow here: `alpha` is what its accumulators are to be multiplied by. */
__device__ __forceinline__ void grow(float &max, float &alpha, const float4 &tops) {
    float top = fmaxf(fmaxf(tops.x, tops.y), fmaxf(tops.z, tops.w));
    alpha = 1;
    if (top > max + LAG) { /* also from -inf */
        alpha = exp2_approx(max - top);
        max = top;
    }
}

template <class C> __global__ void __launch_bounds__(C::THREADS, 1) attention_forward_sm80_wide(const __grid_constant__ params p) {
    using T = typename C::T;
    constexpr int D = C::D, BLOCK_KV = C::BLOCK_KV, STAGES = C::STAGES, SCORES = C::WARP_KEYS / 2;
    extern __shared__ __align__(128) char memory[];
    const uint32_t shared = (uint32_t)__cvta_generic_to_shared(memory);
    float4 *of_rows = (float4 *)(memory + C::ROWS_AT); /* [BLOCK_Q]: something of each of the four warps that share a row's scores */
    const position x = block_position(p);
    const int keys = keys_of(p, x, C::BLOCK_Q), tiles = (keys + BLOCK_KV - 1) / BLOCK_KV;
    const int warp = threadIdx.x / 32, lane = threadIdx.x % 32, s_row = warp / 4 * 32, s_key = warp % 4 * C::WARP_KEYS, first_row = x.q_tile * C::BLOCK_Q;
    using shared_rows = share<D, C::THREADS>; /* of values, and of queries */
    const T *q = head_of<T>(p.q, p.q_stride, x, 1) + first_row * p.q_stride.token + shared_rows().offset(p.q_stride.token);
    const T *k = head_of<T>(p.k, p.k_stride, x, p.heads_per_kv_head) + share<C::K_COLUMNS, C::THREADS>().offset(p.k_stride.token);
    const T *v = head_of<T>(p.v, p.v_stride, x, p.heads_per_kv_head) + shared_rows().offset(p.v_stride.token);

    float o[4][32];       /* rows 16t + lane/4 and 8 below of the block, columns 64 · warp on */
    softmax_rows rows[4]; /* of the same rows */
    softmax_rows mine[2]; /* sums of the scores' own rows, s_row + 16t + … */
#pragma unroll
    for (int t = 0; t < 4; t++) {
        rows[t] = {{-INFINITY, -INFINITY}, {0, 0}};
        mine[t % 2] = {{}, {0, 0}};
#pragma unroll
        for (int i = 0; i < 32; i++) o[t][i] = 0;
    }

    /* Parts of all key tiles, one after the other. */
    auto load_part = [&](int n) {
        int tile = tiles - 1 - n / C::PARTS, part = n % C::PARTS;
        uint32_t to = shared + C::STAGES_AT + n % STAGES * C::STAGE_BYTES;
        if (tile >= 0 && part < C::K_PARTS) {
            load_tile<BLOCK_KV, C::K_COLUMNS, C::THREADS>(to, k + tile * BLOCK_KV * p.k_stride.token + part * C::K_COLUMNS, p.k_stride.token, keys - tile * BLOCK_KV,
                                                                 p.head_dim - part * C::K_COLUMNS);
        } else if (tile >= 0) {
            int first = tile * BLOCK_KV + (part - C::K_PARTS) * C::V_ROWS;
            load_tile<C::V_ROWS, D, C::THREADS>(to, v + first * p.v_stride.token, p.v_stride.token, keys - first, p.head_dim);
        }
        sm80::copy_commit();
    };
    /* Waits for part n, and begins to copy the one that takes the place of part n - 1. */
    auto arrive = [&](int n) {
        sm80::copy_wait<STAGES - 2>();
        __syncthreads();
        load_part(n + STAGES - 1);
        return shared + C::STAGES_AT + n % STAGES * C::STAGE_BYTES;
    };
    if (tiles > 0) {
        load_tile<C::BLOCK_Q, D, C::THREADS>(shared, q, p.q_stride.token, p.q_len - first_row, p.head_dim);
        for (int n = 0; n < STAGES - 1; n++) load_part(n);
    }
    const uint32_t q_at = shared + down_first<D>(s_row), p_at = shared + C::P_AT + down_first<BLOCK_KV>(0);
    const uint32_t k_at = right_first<C::K_COLUMNS>(s_key), v_at = down_first<D>(0) + warp * 128; /* in a stage */
    int n = 0;
#pragma unroll 1
    for (int j = tiles - 1; j >= 0; j--) {
        float s[2][SCORES];
#pragma unroll
        for (int i = 0; i < 2 * SCORES; i++) s[i / SCORES][i % SCORES] = 0;
#pragma unroll 1
        for (int part = 0; part < C::K_PARTS; part++) {
            uint32_t stage = arrive(n++);
#pragma unroll
            for (int i = 0; i < C::K_COLUMNS / 16; i++) {
                uint32_t a[2][4];
#pragma unroll
                for (int t = 0; t < 2; t++) sm80::load_matrices(a[t], columns_on<D>(q_at, part * (C::K_COLUMNS / 16) + i) + t * 16 * D * 2);
#pragma unroll
                for (int m = 0; m < C::WARP_KEYS / 16; m++) {
                    uint32_t b[4];
                    sm80::load_matrices(b, columns_on<C::K_COLUMNS>(stage + k_at, i) + m * 16 * C::K_COLUMNS * 2);
#pragma unroll
                    for (int t = 0; t < 2; t++) {
                        sm80::multiply<T>(s[t] + 8 * m, a[t], b[0], b[1]);
                        sm80::multiply<T>(s[t] + 8 * m + 4, a[t], b[2], b[3]);
                    }
                }
            }
        }

        int seen = p.causal ? first_row + s_row + p.causal_offset + 1 : keys;
        if ((j + 1) * BLOCK_KV > min(keys, seen)) {
            int more = p.causal ? seen + lane / 4 : keys;
#pragma unroll
            for (int t = 0; t < 2; t++) attention::mask(s[t], j * BLOCK_KV + s_key, min(keys, more + 16 * t), min(keys, more + 16 * t + 8));
        }
#pragma unroll
        for (int t = 0; t < 2; t++) {
            float top[2];
            thread_max(s[t], top);
#pragma unroll
            for (int r = 0; r < 2; r++) {
                top[r] = quad_max(top[r]) * p.scale_log2;
                if (lane % 4 == 0) ((float *)(of_rows + s_row + 16 * t + 8 * r + lane / 4))[warp % 4] = top[r];
            }
        }
        __syncthreads();
        float alpha[4][2];
#pragma unroll
        for (int t = 0; t < 4; t++) {
#pragma unroll
            for (int r = 0; r < 2; r++) grow(rows[t].max[r], alpha[t][r], of_rows[16 * t + 8 * r + lane / 4]);
        }
#pragma unroll
        for (int t = 0; t < 2; t++) {
            float shift[2];
#pragma unroll
            for (int r = 0; r < 2; r++) {
                float max = s_row ? rows[2 + t].max[r] : rows[t].max[r];
                shift[r] = max == -INFINITY ? 0 : -max;
                mine[t].sum[r] *= s_row ? alpha[2 + t][r] : alpha[t][r];
            }
#pragma unroll
            for (int i = 0; i < SCORES; i++) s[t][i] = fmaf(s[t][i], p.scale_log2, shift[i / 2 % 2]);
            exponentiate<0, SCORES>(s[t], mine[t]);
            uint32_t probabilities[SCORES / 2];
            to_operand<T>(probabilities, s[t]);
#pragma unroll
            for (int i = 0; i < SCORES / 2; i++) {
                int row = s_row + 16 * t + i % 2 * 8 + lane / 4;
                *(uint32_t *)(memory + C::P_AT + chunk_at<BLOCK_KV>(row, s_key / 8 + i / 2) + lane % 4 * 4) = probabilities[i];
            }
        }
#pragma unroll
        for (int t = 0; t < 4; t++) rescale(o[t], alpha[t]);

#pragma unroll 1
        for (int part = 0; part < BLOCK_KV / C::V_ROWS; part++) {
            uint32_t stage = arrive(n++);
#pragma unroll
            for (int m = 0; m < C::V_ROWS / 16; m++) {
                uint32_t a[4][4];
#pragma unroll
                for (int t = 0; t < 4; t++) sm80::load_matrices(a[t], columns_on<BLOCK_KV>(p_at, part * (C::V_ROWS / 16) + m) + t * 16 * BLOCK_KV * 2);
#pragma unroll
                for (int i = 0; i < 4; i++) {
                    uint32_t b[4];
                    sm80::load_matrices_turned(b, columns_on<D>(stage + v_at, i) + m * 16 * D * 2);
#pragma unroll
                    for (int t = 0; t < 4; t++) {
                        sm80::multiply<T>(o[t] + 8 * i, a[t], b[0], b[1]);
                        sm80::multiply<T>(o[t] + 8 * i + 4, a[t], b[2], b[3]);
                    }
                }
            }
        }
    }

#pragma unroll
    for (int t = 0; t < 2; t++) {
#pragma unroll
        for (int r = 0; r < 2; r++) {
            float sum = quad_sum(mine[t].sum[r]);
            if (lane % 4 == 0) ((float *)(of_rows + s_row + 16 * t + 8 * r + lane / 4))[warp % 4] = sum;
        }
    }
    __syncthreads();
#pragma unroll
    for (int t = 0; t < 4; t++) {
#pragma unroll
        for (int r = 0; r < 2; r++) {
            int row = 16 * t + 8 * r + lane / 4;
            float4 sums = of_rows[row];
            write_row<T, true>(p, x, first_row + row, 64 * warp, p.head_dim, r, o[t], rows[t].max[r], sums.x + sums.y + (sums.z + sums.w));
        }
    }
}

} // namespace attention_sm80
