/* What the sm_80 attention kernels are told, which queries and keys a block works on, and how tiles lie in shared memory. SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include "backend/cuda/attention_result.cuh"
#include "backend/cuda/attention_sm80_ptx.cuh"

namespace attention_sm80 {

using namespace attention;

enum mask_kind { MASK_NONE, MASK_BOOL, MASK_ADDED };

struct params {
    const void *q, *k, *v;      /* [B, H, Sq, D], [B, Hkv, Skv, D], [B, Hkv, Skv, D] */
    strides q_stride, k_stride, v_stride;
    void *out;                  /* [B, H, Sq, D] */
    float *lse;                 /* [B, H, Sq] or NULL */
    const float *carry_out;     /* [B, H, Sq, D], the result over other keys, with its lse [B, H, Sq]; or NULL */
    const float *carry_lse;
    const int32_t *kv_lengths;  /* [B] or NULL */
    strides out_stride, lse_stride, carry_out_stride, carry_lse_stride;
    bool out_f32, causal;
    int heads, heads_per_kv_head, q_len, kv_len, head_dim;
    int q_tiles;                /* of one head */
    float scale_log2;           /* scale · log2 e */
    int causal_offset;          /* query i sees keys 0 to i + causal_offset */
    const void *mask;           /* [B, H, Sq, Skv] */
    mask_kind kind;
    int64_t mask_batch, mask_head, mask_query, mask_key; /* strides */
};

/* ---- Which queries and keys. A block has one tile of queries; the longest rows of a causal attention come first. */

__device__ __forceinline__ position block_position(const params &p) {
    return {(int)(p.causal ? p.q_tiles - 1 - blockIdx.x : blockIdx.x), (int)blockIdx.y, (int)blockIdx.z};
}

/* Keys that any query of the tile sees. */
__device__ __forceinline__ int keys_of(const params &p, const position &x, int block_q) {
    int n = p.kv_lengths ? max(0, min(p.kv_lengths[x.batch], p.kv_len)) : p.kv_len;
    return p.causal ? max(0, min(n, min(p.q_len, (x.q_tile + 1) * block_q) + p.causal_offset)) : n;
}

/* The first element of the head that x sees. */
template <typename T> __device__ __forceinline__ const T *head_of(const void *data, const strides &s, const position &x, int heads_per_head) {
    return (const T *)data + x.batch * s.batch + x.head / heads_per_head * s.head;
}

/* ---- Tiles in shared memory: rows of D elements, whose 16-byte chunks are swapped around so that eight rows' chunks of one column lie in eight
 * different groups of banks */

template <int D> __device__ __forceinline__ int swizzle(int row) {
    static_assert(D % 32 == 0, "");
    return D % 64 == 0 ? row & 7 : row >> 1 & 3;
}

template <int D> __device__ __forceinline__ uint32_t chunk_at(int row, int chunk) {
    return row * D * 2 + ((chunk ^ swizzle<D>(row)) << 4);
}

/* 16 columns to the right, `step` times, of an address chunk_at(row, 0 or 1). */
template <int D> __device__ __forceinline__ uint32_t columns_on(uint32_t address, int step) {
    constexpr int PERIOD = D % 64 == 0 ? 4 : 2;
    return (address ^ step % PERIOD * 32) + step / PERIOD * (32 * PERIOD);
}

/* Where a lane's row of four matrices starts: matrices 0 and 1 one below the other, 2 and 3 to their right; and 0 and 1 beside each other, 2 and 3 below. */
template <int D> __device__ __forceinline__ uint32_t down_first(int row) {
    int lane = threadIdx.x % 32;
    return chunk_at<D>(row + lane % 16, lane / 16);
}

template <int D> __device__ __forceinline__ uint32_t right_first(int row) {
    int lane = threadIdx.x % 32;
    return chunk_at<D>(row + lane % 8 + lane / 16 * 8, lane / 8 % 2);
}

/* How the threads of a block share out the 16-byte chunks of a tile. */
template <int D, int THREADS> struct share {
    static constexpr int CHUNKS = D / 8, LANES = CHUNKS & -CHUNKS, STEP = THREADS / LANES; /* LANES: to a row */
    static_assert(THREADS % LANES == 0, "");
    int row, chunk; /* the thread's first */

    /* Computed anew wherever it is used: registers are scarcer than instructions. */
    __device__ __forceinline__ share() {
        int thread = threadIdx.x;
        asm volatile("" : "+r"(thread));
        row = thread / LANES;
        chunk = thread % LANES;
    }
    __device__ __forceinline__ int64_t offset(int64_t stride) const { return row * stride + 8 * chunk; }
};

/* Begins to copy a tile [ROWS, D], of which the thread's first chunk is at `from`; zeros beyond the tile's first `rows` rows and `columns` columns. */
template <int ROWS, int D, int THREADS, typename T>
__device__ __forceinline__ void load_tile(uint32_t tile, const T *from, int64_t stride, int rows, int columns) {
    using S = share<D, THREADS>;
    static_assert(ROWS % S::STEP == 0, "");
    const S own;
    rows -= own.row;
    columns -= 8 * own.chunk;
#pragma unroll
    for (int r = 0; r < ROWS; r += S::STEP) {
#pragma unroll
        for (int c = 0; c < S::CHUNKS; c += S::LANES)
            sm80::copy_async(tile + chunk_at<D>(own.row + r, own.chunk + c), from + 8 * c, r < rows && 8 * c < columns);
        from += S::STEP * stride;
    }
}

} // namespace attention_sm80
