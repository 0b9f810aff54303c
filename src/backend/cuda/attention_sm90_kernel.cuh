/* Attention forward for Hopper: softmax(scale · q · kᵀ) · v, bf16 or f16, float32 accumulation.
 *
 * A block of threads is one producer warp group, of which a single thread keeps the copy engine busy, and two or three consumer warp groups with 64
 * queries each. Blocks are persistent: each takes tiles of queries until none is left. Keys and values come through a ring of `stages` tiles
 * in shared memory; a full and an empty mbarrier go with each.
 *
 * Key tiles come last to first. A consumer starts the scores of tile j and after them the product of the probabilities of tile j + 1 with its values, and
 * takes the softmax of j while that product runs. Consumers take turns at the tensor cores (named barriers), so that the softmax of one
 * runs under the products of the other. Probabilities stay in registers.
 *
 * Where the tiles are not a multiple of the blocks, the last tiles are cut along the keys into equal runs, one for each block ("split"). The block with
 * the last keys of a tile adds the other parts, which come through the workspace as float32.
 *
 * Sources: FlashAttention-3 (arXiv:2407.08608) for the schedule; Stream-K (arXiv:2301.03598) for the split; FlashAttention-4 (arXiv:2603.05451) for
 * rescaling only where the maximum grows by much. SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include "backend/cuda/attention_sm90_parts.cuh"
#include "backend/cuda/attention_sm90_plan.cuh"
#include "backend/cuda/attention_softmax.cuh"

namespace attention_sm90 {

/* ---- The producer */

template <class C> __device__ __forceinline__ void load(uint32_t to, const CUtensorMap *map, uint32_t mbarrier, int panel_bytes, int token, int head, int batch) {
    sm90::mbarrier_expect(mbarrier, panel_bytes * (C::D / 64));
#pragma unroll
    for (int i = 0; i < C::D / 64; i++) sm90::tma_load(to + i * panel_bytes, map, mbarrier, 64 * i, token, head, batch);
}

/* Loads come in the order of their use: K of the first tile, Q, then K of the next tile and V of this one. */
template <class C>
__device__ void produce(const params &p, const shared_memory<C> &shared, const CUtensorMap *q_map, const CUtensorMap *k_map, const CUtensorMap *v_map) {
    unsigned k_loaded = 0, v_loaded = 0;
    int q_parity = 1;
    work_list<C> list(p);
    for (work w; list.next(w);) {
        if (w.first == w.last) continue;
        position x = list.at(w);
        int kv_head = x.head / p.heads_per_kv_head;
        auto load_k = [&](int j) {
            int stage = stage_of<C>(k_loaded);
            sm90::mbarrier_wait(shared.k_empty(stage), parity_of<C>(k_loaded++) ^ 1);
            load<C>(shared.k(stage), k_map, shared.k_full(stage), C::KV_PANEL, j * C::BLOCK_KV, kv_head, x.batch);
        };
        load_k(w.last - 1);
        for (int i = 0; i < C::CONSUMERS; i++) {
            sm90::mbarrier_wait(shared.q_empty(i), q_parity);
            load<C>(shared.q(i), q_map, shared.q_full(i), C::Q_PANEL, x.q_tile * C::BLOCK_Q + 64 * i, x.head, x.batch);
        }
        q_parity ^= 1;
#pragma unroll 1
        for (int j = w.last - 1; j >= w.first; j--) {
            if (j > w.first) load_k(j - 1);
            int stage = stage_of<C>(v_loaded);
            sm90::mbarrier_wait(shared.v_empty(stage), parity_of<C>(v_loaded++) ^ 1);
            load<C>(shared.v(stage), v_map, shared.v_full(stage), C::KV_PANEL, j * C::BLOCK_KV, kv_head, x.batch);
        }
    }
}

/* ---- The matrix products of a tile: 64 queries by BLOCK_KV keys */

template <class C> __device__ __forceinline__ void issue_scores(float (&s)[C::BLOCK_KV / 2], uint32_t q, uint32_t k) {
#pragma unroll
    for (int i = 0; i < C::D / 16; i++) {
        int panel = i / 4, within = i % 4 * 32;
        sm90::wgmma<C::BLOCK_KV, typename C::T>::ss(s, q + (panel * C::Q_PANEL + within) / 16, k + (panel * C::KV_PANEL + within) / 16, i > 0);
    }
    sm90::wgmma_commit();
}

template <class C> __device__ __forceinline__ void issue_values(float (&o)[C::D / 2], const uint32_t (&p)[C::BLOCK_KV / 4], uint32_t v) {
#pragma unroll
    for (int i = 0; i < C::BLOCK_KV / 16; i++) sm90::wgmma<C::D, typename C::T>::rs(o, p + 4 * i, v + i * 16 * 128 / 16, 1);
    sm90::wgmma_commit();
}

/* ---- A consumer */

/* One lane of each warp says that the warp has done with a tile. */
__device__ __forceinline__ void release(uint32_t mbarrier) {
    if (threadIdx.x % 32 == 0) sm90::mbarrier_arrive(mbarrier);
}

template <class C> __device__ void consume(const typename C::PARAMS &p, const shared_memory<C> &shared, int consumer) {
    using T = typename C::T;
    constexpr int KV_STEP = C::KV_BYTES / 16; /* from stage to stage, in a descriptor */
    constexpr int TURN = 1;                   /* named barriers 1, 2, …: it is the turn of consumer 0, 1, … */
    int next_consumer = consumer + 1 == C::CONSUMERS ? 0 : consumer + 1;
    if (next_consumer == 0) sm90::barrier_arrive(TURN, 256);

    int row_in_tile = 64 * consumer + threadIdx.x % 128 / 32 * 16 + threadIdx.x % 32 / 4;
    uint32_t q_desc = sm90::tile_descriptor(shared.q(consumer), C::Q_PANEL);
    uint32_t k_desc = sm90::tile_descriptor(shared.k(0), C::KV_PANEL), v_desc = sm90::tile_descriptor(shared.v(0), C::KV_PANEL);
    unsigned n = 0; /* key tiles done */
    int q_parity = 0;
    constexpr int SCORES = C::BLOCK_KV / 2, HALF = SCORES / 2;
    float s[SCORES];                         /* scores, exponents, probabilities [64, BLOCK_KV] */
    uint32_t probabilities[C::BLOCK_KV / 4]; /* the same, as the operand of P · V */
    float o[C::D / 2];                       /* [64, D] */

    work_list<C> list(p);
    for (work w; list.next(w);) {
        softmax_rows rows = {{-INFINITY, -INFINITY}, {0, 0}};
        float alpha[2];
#pragma unroll
        for (int i = 0; i < C::D / 2; i++) o[i] = 0;
        if (C::RING && p.carry_out && w.first == 0) {
            position x = list.at(w);
            read_carry(p, x, x.q_tile * C::BLOCK_Q + row_in_tile, C::D, o, rows);
        }

        auto hide = [&](int j) {
            position x = list.at(w);
            int keys = list.keys(x), end = (j + 1) * C::BLOCK_KV;
            if (C::CAUSAL) {
                int seen = x.q_tile * C::BLOCK_Q + p.causal_offset + 1;
                if (end > min(keys, seen)) mask(s, j * C::BLOCK_KV, min(keys, seen + row_in_tile), min(keys, seen + row_in_tile + 8));
            } else if (end > keys) {
                mask(s, j * C::BLOCK_KV, keys, keys);
            }
        };

        if (w.first < w.last) {
            sm90::mbarrier_wait(shared.q_full(consumer), q_parity);
            q_parity ^= 1;
            sm90::mbarrier_wait(shared.k_full(stage_of<C>(n)), parity_of<C>(n));
            sm90::wgmma_fence();
            issue_scores<C>(s, q_desc, k_desc + stage_of<C>(n) * KV_STEP);
            sm90::wgmma_wait<0>();
            sm90::pin(s);
            release(shared.k_empty(stage_of<C>(n)));
            hide(w.last - 1);
            to_exponents(s, rows, alpha, p.scale_log2);
            exponentiate<0, SCORES>(s, rows);
            if (C::RING) rescale(o, alpha);
            to_operand<T>(probabilities, s);
            if (w.last - w.first > 1) sm90::mbarrier_wait(shared.k_full(stage_of<C>(n + 1)), parity_of<C>(n + 1));

#pragma unroll 1
            for (int j = w.last - 2; j >= w.first; j--) {
                int v_stage = stage_of<C>(n), v_parity = parity_of<C>(n), k_stage = stage_of<C>(n + 1);
                n++;
                bool v_ready = sm90::mbarrier_test(shared.v_full(v_stage), v_parity);
                sm90::barrier_sync(TURN + consumer, 256);
                sm90::pin(s);
                sm90::pin(o);
                sm90::wgmma_fence();
                issue_scores<C>(s, q_desc, k_desc + k_stage * KV_STEP);
                if (!v_ready) sm90::mbarrier_wait(shared.v_full(v_stage), v_parity);
                sm90::wgmma_fence();
                issue_values<C>(o, probabilities, v_desc + v_stage * KV_STEP);
                sm90::barrier_arrive(TURN + next_consumer, 256);
                sm90::wgmma_wait<1>();
                sm90::pin(s);
                release(shared.k_empty(k_stage));
                if (C::CAUSAL) hide(j);
                if constexpr (C::CAUSAL) to_exponents(s, rows, alpha, p.scale_log2);
                else to_exponents_next(s, rows, alpha, p.scale_log2);
                uint32_t next_k_full = shared.k_full(stage_of<C>(n + 1));
                int next_k_parity = parity_of<C>(n + 1);
                bool next_k_ready = j == w.first || sm90::mbarrier_test(next_k_full, next_k_parity);
                exponentiate<0, HALF>(s, rows);
                /* P · V is waited for in the middle, so that packing the first half goes beside the exponentials of the second. The assembler would move
                 * this wait above the exponentials, but for a branch that depends on them (sums are never negative). */
                if (!next_k_ready || rows.sum[0] + rows.sum[1] < 0) sm90::mbarrier_wait(next_k_full, next_k_parity);
                sm90::wgmma_wait<0>();
                sm90::pin(o);
                release(shared.v_empty(v_stage));
                exponentiate<HALF, SCORES>(s, rows);
                to_operand<T>(probabilities, s);
                rescale(o, alpha);
            }

            release(shared.q_empty(consumer));
            sm90::mbarrier_wait(shared.v_full(stage_of<C>(n)), parity_of<C>(n));
            sm90::pin(o);
            sm90::wgmma_fence();
            issue_values<C>(o, probabilities, v_desc + stage_of<C>(n) * KV_STEP);
            sm90::wgmma_wait<0>();
            sm90::pin(o);
            release(shared.v_empty(stage_of<C>(n)));
            n++;
        }

        if (C::SPLIT && w.tile >= p.whole_tiles) {
            if (w.last < p.split_blocks) {
                write_part<C>(p, consumer, o, rows);
                continue;
            }
            if (w.first > 0) {
                int origin = (w.tile - p.whole_tiles) * p.split_blocks, block = blockIdx.x;
                do add_part<C>(p, --block, consumer, o, rows);
                while (list.first_unit(block) > origin);
            }
        }
        position x = list.at(w);
        write_result<T, C::RING>(p, x, x.q_tile * C::BLOCK_Q + row_in_tile, C::D, o, rows);
    }
}

template <class C>
__global__ void __launch_bounds__(C::THREADS, 1) attention_forward_sm90(const __grid_constant__ CUtensorMap q_map, const __grid_constant__ CUtensorMap k_map,
                                                                        const __grid_constant__ CUtensorMap v_map, const __grid_constant__ typename C::PARAMS p) {
    extern __shared__ char memory[];
    /* By way of a shuffle: the compiler would else compute the address again and again. */
    shared_memory<C> shared = {__shfl_sync(~0u, ((uint32_t)__cvta_generic_to_shared(memory) + 1023) & ~1023u, 0)};
    int group = __shfl_sync(~0u, threadIdx.x / 128, 0); /* the same in all lanes, and the compiler is to know it */

    if (threadIdx.x == 0) {
        sm90::tensor_map_prefetch(&q_map);
        sm90::tensor_map_prefetch(&k_map);
        sm90::tensor_map_prefetch(&v_map);
        for (int i = 0; i < C::CONSUMERS; i++) {
            sm90::mbarrier_init(shared.q_full(i), 1);
            sm90::mbarrier_init(shared.q_empty(i), 4); /* a lane of each of the consumer's warps */
        }
        for (int i = 0; i < C::STAGES; i++) {
            sm90::mbarrier_init(shared.k_full(i), 1);
            sm90::mbarrier_init(shared.v_full(i), 1);
            sm90::mbarrier_init(shared.k_empty(i), 4 * C::CONSUMERS);
            sm90::mbarrier_init(shared.v_empty(i), 4 * C::CONSUMERS);
        }
        sm90::mbarrier_init_fence();
    }
    __syncthreads();

    if (group == 0) {
        sm90::give_registers<C::PRODUCER_REGISTERS>();
        if (threadIdx.x == 0) produce<C>(p, shared, &q_map, &k_map, &v_map);
    } else {
        sm90::take_registers<C::REGISTERS>();
        consume<C>(p, shared, group - 1);
    }
}

} // namespace attention_sm90
