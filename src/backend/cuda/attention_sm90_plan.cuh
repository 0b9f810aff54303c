/* What attention_sm90_kernel.cuh is told and compiled for, where its tiles lie in shared memory, and which tiles a block works on. SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include "backend/cuda/attention_result.cuh"
#include "backend/cuda/cuda_attention.h"
#include "backend/cuda/sm90_ptx.cuh"

namespace attention_sm90 {

using namespace attention;

struct params {
    void *out;                  /* [B, H, Sq, D] */
    float *lse;                 /* [B, H, Sq] or NULL */
    const float *carry_out;     /* [B, H, Sq, D], the result over other keys, with its lse [B, H, Sq]; or NULL */
    const float *carry_lse;
    const int32_t *kv_lengths;  /* [B] or NULL */
    strides out_stride, lse_stride, carry_out_stride, carry_lse_stride;
    bool out_f32;
    int heads, heads_per_kv_head, q_len, kv_len;
    int q_tiles;                /* of one head */
    int tiles, whole_tiles;     /* of all heads; those from whole_tiles on are split */
    int split_blocks;           /* key tiles of a split tile */
    int participants;           /* blocks 0 to participants - 1 share the split tiles */
    float scale_log2;           /* scale · log2 e */
    int causal_offset;          /* query i sees keys 0 to i + causal_offset */
    int *part_ready;            /* [blocks, 4], 0 between launches */
    float *part;                /* [blocks, consumers, D / 2 + 4, 128] */
};

/* The same where the result lies in several places, by ranges of tokens. */
struct params_of_parts : params {
    int parts;
    int end[PARA_CUDA_ATTENTION_PARTS];   /* the token after the last of each */
    void *part[PARA_CUDA_ATTENTION_PARTS]; /* where the token 0 would be if it were in that part */
};

__device__ __forceinline__ void *result_of(const params_of_parts &p, int token) {
    int i = 0;
    while (i + 1 < p.parts && token >= p.end[i]) i++;
    return p.part[i];
}

/* What is compiled in. */
template <typename T_, int D_, int BLOCK_KV_, int CONSUMERS_, int STAGES_, bool CAUSAL_, bool RING_, class PARAMS_ = params> struct config {
    using T = T_;
    using PARAMS = PARAMS_;
    static constexpr int D = D_, BLOCK_KV = BLOCK_KV_, CONSUMERS = CONSUMERS_, STAGES = STAGES_;
    static constexpr bool CAUSAL = CAUSAL_;
    static constexpr bool RING = RING_;    /* there may be a carry, or out may be float32 */
    static constexpr bool SPLIT = !CAUSAL; /* tiles may be split: all have as many key tiles */

    static constexpr int BLOCK_Q = 64 * CONSUMERS, THREADS = 128 * (CONSUMERS + 1);
    static constexpr int REGISTERS = CONSUMERS == 2 ? 232 : 160, PRODUCER_REGISTERS = CONSUMERS == 2 ? 40 : 32;
    static constexpr int Q_PANEL = 64 * 128, KV_PANEL = BLOCK_KV * 128;            /* bytes of 64 columns of a tile */
    static constexpr int Q_BYTES = Q_PANEL * D / 64, KV_BYTES = KV_PANEL * D / 64; /* Q: of one consumer */
    static constexpr int Q_AT = 0, K_AT = CONSUMERS * Q_BYTES, V_AT = K_AT + STAGES * KV_BYTES, MBARRIERS_AT = V_AT + STAGES * KV_BYTES;
    static constexpr int MBARRIERS = 2 * CONSUMERS + 4 * STAGES;
    static constexpr int SHARED_BYTES = MBARRIERS_AT + 8 * MBARRIERS + 1024; /* 1024: to align */
    static constexpr int PART_FLOATS = CONSUMERS * (D / 2 + 4) * 128;
};

/* Addresses of the tiles and mbarriers of a block. */
template <class C> struct shared_memory {
    uint32_t base;

    __device__ uint32_t q(int consumer) const { return base + C::Q_AT + consumer * C::Q_BYTES; }
    __device__ uint32_t k(int stage) const { return base + C::K_AT + stage * C::KV_BYTES; }
    __device__ uint32_t v(int stage) const { return base + C::V_AT + stage * C::KV_BYTES; }
    __device__ uint32_t mbarrier(int i) const { return base + C::MBARRIERS_AT + 8 * i; }
    __device__ uint32_t q_full(int consumer) const { return mbarrier(consumer); }
    __device__ uint32_t q_empty(int consumer) const { return mbarrier(C::CONSUMERS + consumer); }
    __device__ uint32_t k_full(int stage) const { return mbarrier(2 * C::CONSUMERS + stage); }
    __device__ uint32_t k_empty(int stage) const { return mbarrier(2 * C::CONSUMERS + C::STAGES + stage); }
    __device__ uint32_t v_full(int stage) const { return mbarrier(2 * C::CONSUMERS + 2 * C::STAGES + stage); }
    __device__ uint32_t v_empty(int stage) const { return mbarrier(2 * C::CONSUMERS + 3 * C::STAGES + stage); }
};

/* Where the n-th tile of keys (or of values) lies in the ring, and how often the ring has been gone round before, modulo 2. */
template <class C> __device__ __forceinline__ int stage_of(unsigned n) {
    return n % C::STAGES;
}

template <class C> __device__ __forceinline__ int parity_of(unsigned n) {
    return n / C::STAGES % 2;
}

/* ---- Which tiles a block works on */

struct work {
    int tile;        /* of all heads */
    int first, last; /* key tiles first to last - 1 */
};

template <class C> struct work_list {
    const params &p;
    int unit, unit_end; /* of the key tiles of all split tiles, those of this block: unit to unit_end - 1 */
    int tile;

    __device__ work_list(const params &p) : p(p), tile(blockIdx.x) {
        unit = C::SPLIT ? first_unit(blockIdx.x) : 0;
        unit_end = C::SPLIT ? first_unit(blockIdx.x + 1) : 0;
    }

    __device__ int first_unit(int block) const {
        return (int)((int64_t)(p.tiles - p.whole_tiles) * p.split_blocks * min(block, p.participants) / max(p.participants, 1));
    }

    /* Split tiles come first, and from the last to the first, so that every part but the one with a tile's last keys is there before it is asked for. */
    __device__ bool next(work &w) {
        if (C::SPLIT && unit_end > unit) {
            int split_tile = (unit_end - 1) / p.split_blocks, origin = split_tile * p.split_blocks, begin = max(unit, origin);
            w.tile = p.whole_tiles + split_tile;
            w.first = begin - origin;
            w.last = unit_end - origin;
            unit_end = begin;
            return true;
        }
        w.tile = tile;
        w.first = 0;
        if (tile >= p.whole_tiles) return false;
        w.last = (keys(at(w)) + C::BLOCK_KV - 1) / C::BLOCK_KV;
        tile += gridDim.x;
        return true;
    }

    __device__ position at(const work &w) const {
        return {w.tile % p.q_tiles, w.tile / p.q_tiles % p.heads, w.tile / p.q_tiles / p.heads};
    }

    /* Keys that any query of the tile sees. */
    __device__ int keys(const position &x) const {
        int n = p.kv_lengths ? min(p.kv_lengths[x.batch], p.kv_len) : p.kv_len;
        if (C::CAUSAL) n = max(0, min(n, min(p.q_len, (x.q_tile + 1) * C::BLOCK_Q) + p.causal_offset));
        return n;
    }
};

} // namespace attention_sm90
