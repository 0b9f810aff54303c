/* Attention forward for GPUs of compute capability 8.0 and later, head dims up to 256: softmax(scale · q · kᵀ + mask) · v, bf16 or f16, float32 accumulation.
 *
 * A block of four warps has a tile of queries, of which each warp has 16 or 32 rows: 32 halve what is read of shared memory for each product. Key tiles come
 * last to first, one at a time: values are copied while the scores are computed, the next keys while the softmax and P · V are. Other
 * blocks of the same multiprocessor fill the gaps. Probabilities stay in registers. Head dims between those compiled for are filled up with zeros.
 *
 * Source: FlashAttention-2 (arXiv:2307.08691). SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include "backend/cuda/attention_sm80_plan.cuh"

namespace attention_sm80 {

/* What is compiled in. MASKED: there may be a mask, and any scale. */
template <typename T_, int D_, int ROW_TILES_, int BLOCK_KV_, int BLOCKS_, bool MASKED_> struct config {
    using T = T_;
    static constexpr int D = D_, ROW_TILES = ROW_TILES_, BLOCK_KV = BLOCK_KV_, BLOCKS = BLOCKS_; /* ROW_TILES: of 16 rows, of a warp. BLOCKS: on a multiprocessor */
    static constexpr bool MASKED = MASKED_;
    static constexpr int WARPS = 4, THREADS = 32 * WARPS, WARP_Q = 16 * ROW_TILES, BLOCK_Q = WARP_Q * WARPS;
    static constexpr int K_AT = BLOCK_Q * D * 2, V_AT = K_AT + BLOCK_KV * D * 2, SHARED_BYTES = V_AT + BLOCK_KV * D * 2;
};

/* A warp's scores [16 · ROW_TILES, BLOCK_KV] = q · kᵀ; q: down_first() of its rows, k: right_first() of the tile. */
template <class C> __device__ __forceinline__ void compute_scores(float (&s)[C::ROW_TILES][C::BLOCK_KV / 2], uint32_t q, uint32_t k) {
#pragma unroll
    for (int t = 0; t < C::ROW_TILES; t++) {
#pragma unroll
        for (int i = 0; i < C::BLOCK_KV / 2; i++) s[t][i] = 0;
    }
#pragma unroll
    for (int i = 0; i < C::D / 16; i++) {
        uint32_t a[C::ROW_TILES][4];
#pragma unroll
        for (int t = 0; t < C::ROW_TILES; t++) sm80::load_matrices(a[t], columns_on<C::D>(q, i) + t * 16 * C::D * 2);
#pragma unroll
        for (int n = 0; n < C::BLOCK_KV / 16; n++) {
            uint32_t b[4];
            sm80::load_matrices(b, columns_on<C::D>(k, i) + n * 16 * C::D * 2);
#pragma unroll
            for (int t = 0; t < C::ROW_TILES; t++) {
                sm80::multiply<typename C::T>(s[t] + 8 * n, a[t], b[0], b[1]);
                sm80::multiply<typename C::T>(s[t] + 8 * n + 4, a[t], b[2], b[3]);
            }
        }
    }
}

/* o [16 · ROW_TILES, D] += p · v; v: down_first() of the tile. */
template <class C>
__device__ __forceinline__ void add_values(float (&o)[C::ROW_TILES][C::D / 2], const uint32_t (&p)[C::ROW_TILES][C::BLOCK_KV / 4], uint32_t v) {
#pragma unroll
    for (int n = 0; n < C::BLOCK_KV / 16; n++) {
        uint32_t a[C::ROW_TILES][4];
#pragma unroll
        for (int t = 0; t < C::ROW_TILES; t++) {
#pragma unroll
            for (int i = 0; i < 4; i++) a[t][i] = p[t][4 * n + i];
        }
#pragma unroll
        for (int i = 0; i < C::D / 16; i++) {
            uint32_t b[4];
            sm80::load_matrices_turned(b, columns_on<C::D>(v, i) + n * 16 * C::D * 2);
#pragma unroll
            for (int t = 0; t < C::ROW_TILES; t++) {
                sm80::multiply<typename C::T>(o[t] + 8 * i, a[t], b[0], b[1]);
                sm80::multiply<typename C::T>(o[t] + 8 * i + 4, a[t], b[2], b[3]);
            }
        }
    }
}

/* What is added to a thread's scores · scale · log2 e: -inf hides a key. `mask` is that of the head. */
template <int N> __device__ __forceinline__ void read_mask(const params &p, float (&m)[N], const char *mask, int row, int origin) {
#pragma unroll
    for (int i = 0; i < N; i++) m[i] = 0;
    if (p.kind == MASK_NONE) return;
#pragma unroll
    for (int i = 0; i < N; i++) {
        int query = min(row + i / 2 % 2 * 8, p.q_len - 1), key = min(origin + 2 * (int)(threadIdx.x % 4) + 8 * (i / 4) + i % 2, p.kv_len - 1);
        int64_t at = query * p.mask_query + key * p.mask_key;
        if (p.kind == MASK_ADDED) m[i] = ((const float *)mask)[at] * LOG2_E;
        else m[i] = mask[at] ? 0 : -INFINITY;
    }
}

template <class C> __global__ void __launch_bounds__(C::THREADS, C::BLOCKS) attention_forward_sm80(const __grid_constant__ params p) {
    using T = typename C::T;
    constexpr int D = C::D, SCORES = C::BLOCK_KV / 2;
    extern __shared__ __align__(128) char memory[];
    const uint32_t shared = (uint32_t)__cvta_generic_to_shared(memory), k_tile = shared + C::K_AT, v_tile = shared + C::V_AT;
    const position x = block_position(p);
    const int keys = keys_of(p, x, C::BLOCK_Q), warp_row = threadIdx.x / 32 * C::WARP_Q, first_row = x.q_tile * C::BLOCK_Q;
    const int row = first_row + warp_row + threadIdx.x % 32 / 4;
    const int tiles = (keys + C::BLOCK_KV - 1) / C::BLOCK_KV, last = max(0, tiles - 1) * C::BLOCK_KV;
    const T *k = head_of<T>(p.k, p.k_stride, x, p.heads_per_kv_head) + last * p.k_stride.token + share<D, C::THREADS>().offset(p.k_stride.token);
    const T *v = head_of<T>(p.v, p.v_stride, x, p.heads_per_kv_head) + last * p.v_stride.token + share<D, C::THREADS>().offset(p.v_stride.token);
    const char *mask = (const char *)p.mask + (x.batch * p.mask_batch + x.head * p.mask_head) * (p.kind == MASK_ADDED ? 4 : 1);

    float o[C::ROW_TILES][D / 2];
    softmax_rows rows[C::ROW_TILES];
#pragma unroll
    for (int t = 0; t < C::ROW_TILES; t++) {
        rows[t] = {{-INFINITY, -INFINITY}, {0, 0}};
#pragma unroll
        for (int i = 0; i < D / 2; i++) o[t][i] = 0;
        if (p.carry_out) read_carry(p, x, row + 16 * t, p.head_dim, o[t], rows[t]);
    }

    auto load = [&](uint32_t to, const T *&from, int64_t stride, int j) { /* leaves `from` at the tile before */
        load_tile<C::BLOCK_KV, D, C::THREADS>(to, from, stride, keys - j * C::BLOCK_KV, p.head_dim);
        from -= C::BLOCK_KV * stride;
        asm("" : "+l"(from)); /* in one register: the compiler would else add up its parts for every tile */
    };
    if (tiles > 0) {
        const T *q = head_of<T>(p.q, p.q_stride, x, 1) + first_row * p.q_stride.token + share<D, C::THREADS>().offset(p.q_stride.token);
        load_tile<C::BLOCK_Q, D, C::THREADS>(shared, q, p.q_stride.token, p.q_len - first_row, p.head_dim);
        load(k_tile, k, p.k_stride.token, tiles - 1);
        sm80::copy_commit();
    }
    uint32_t q_at = shared + down_first<D>(warp_row), k_at = k_tile + right_first<D>(0), v_at = v_tile + down_first<D>(0);
#pragma unroll 1
    for (int j = tiles - 1; j >= 0; j--) {
        float s[C::ROW_TILES][SCORES], added[C::MASKED ? C::ROW_TILES : 1][C::MASKED ? SCORES : 1];
        sm80::copy_wait<0>();
        __syncthreads();
        load(v_tile, v, p.v_stride.token, j);
        sm80::copy_commit();
        if constexpr (C::MASKED) {
#pragma unroll
            for (int t = 0; t < C::ROW_TILES; t++) read_mask(p, added[t], mask, row + 16 * t, j * C::BLOCK_KV);
        }
        compute_scores<C>(s, q_at, k_at);
        sm80::copy_wait<0>();
        __syncthreads();
        float scale = p.scale_log2;
        if constexpr (C::MASKED) {
            scale = 1;
#pragma unroll
            for (int t = 0; t < C::ROW_TILES; t++) {
#pragma unroll
                for (int i = 0; i < SCORES; i++) s[t][i] = added[t][i] == -INFINITY ? -INFINITY : fmaf(s[t][i], p.scale_log2, added[t][i]);
            }
        }
        int end = (j + 1) * C::BLOCK_KV, seen = p.causal ? first_row + p.causal_offset + 1 : keys;
        if (end > min(keys, seen)) {
            int more = p.causal ? row + p.causal_offset + 1 : keys; /* keys that row 0 of the thread sees */
            asm volatile("" : "+r"(more));                            /* computed here, where it is seldom, and not kept in registers */
#pragma unroll
            for (int t = 0; t < C::ROW_TILES; t++) attention::mask(s[t], j * C::BLOCK_KV, min(keys, more + 16 * t), min(keys, more + 16 * t + 8));
        }
        if (j > 0) load(k_tile, k, p.k_stride.token, j - 1);
        sm80::copy_commit();

        uint32_t probabilities[C::ROW_TILES][C::BLOCK_KV / 4];
#pragma unroll
        for (int t = 0; t < C::ROW_TILES; t++) {
            float alpha[2];
            to_exponents(s[t], rows[t], alpha, scale);
            exponentiate<0, SCORES>(s[t], rows[t]);
            to_operand<T>(probabilities[t], s[t]);
            rescale(o[t], alpha);
        }
        add_values<C>(o, probabilities, v_at);
    }
#pragma unroll
    for (int t = 0; t < C::ROW_TILES; t++) write_result<T, true>(p, x, row + 16 * t, p.head_dim, o[t], rows[t]);
}

} // namespace attention_sm80
