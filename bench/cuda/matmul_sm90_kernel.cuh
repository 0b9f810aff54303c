/* Matrix product for Hopper, x [M, K] · wᵀ [K, N], whose accumulators an epilogue of the model's own turns into what comes after the product.
 *
 * Two blocks of a cluster work on tiles one below the other: each loads its own rows of x, and half of the rows of w for both. In a block one thread keeps the
 * copy engine busy; the consumer warp groups have 64 rows each. Blocks are persistent. Consumers may run apart by as many stages as there are, so that the
 * epilogue of one goes beside products of another.
 *
 * Source: CUTLASS's warp-specialised persistent kernels for the schedule (docs/efficient_gemm.md there). SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include "backend/cuda/sm90_ptx.cuh"

namespace matmul_sm90 {

/* What is compiled in. */
template <typename T_, int CONSUMERS_, int BLOCK_N_, int STAGES_> struct config {
    using T = T_;
    static constexpr int CONSUMERS = CONSUMERS_, BLOCK_N = BLOCK_N_, STAGES = STAGES_;
    static constexpr int BLOCK_M = 64 * CONSUMERS, BLOCK_K = 64, THREADS = 128 * (CONSUMERS + 1), CLUSTER = 2;
    static constexpr int REGISTERS = CONSUMERS == 2 ? 240 : 160, PRODUCER_REGISTERS = CONSUMERS == 2 ? 24 : 32;
    static constexpr int X_BYTES = BLOCK_M * 128, W_BYTES = BLOCK_N * 128, STAGE_BYTES = X_BYTES + W_BYTES; /* rows of 64 elements */
    static constexpr int VECTOR_BYTES = 2048; /* of a consumer: its epilogue's vectors */
    static constexpr int MBARRIERS_AT = STAGES * STAGE_BYTES, VECTORS_AT = MBARRIERS_AT + 16 * STAGES;
    static constexpr int SHARED_BYTES = VECTORS_AT + CONSUMERS * VECTOR_BYTES + 1024; /* 1024: to align */
    static constexpr int APPROACH = 6; /* steps before a tile's last one, in which the epilogue fetches what it needs */
    static constexpr int ACCUMULATORS = BLOCK_N / 2;
};

struct sizes {
    int m, n, k;
    int m_pairs, n_tiles, tiles; /* tiles of a cluster along m, along n, in all */
    int group;                   /* rows of tiles that are gone through column by column, before those below them */
};

/* The tile of a cluster, in units of its tiles. Tiles that are worked on at the same time share rows of x and of w. */
struct tile_position {
    int row, column;

    __device__ tile_position(const sizes &s, int tile) {
        int whole = s.group * s.n_tiles, first = tile / whole * s.group, rows = min(s.group, s.m_pairs - first), within = tile % whole;
        row = first + within % rows;
        column = within / rows;
    }
};

template <class C> struct shared_memory {
    uint32_t base;

    __device__ uint32_t x(int stage) const { return base + stage * C::STAGE_BYTES; }
    __device__ uint32_t w(int stage) const { return x(stage) + C::X_BYTES; }
    __device__ uint32_t full(int stage) const { return base + C::MBARRIERS_AT + 16 * stage; }
    __device__ uint32_t empty(int stage) const { return full(stage) + 8; }
    __device__ uint32_t vectors(int consumer) const { return base + C::VECTORS_AT + consumer * C::VECTOR_BYTES; }
};

/* Where the ring of stages stands. */
template <class C> struct ring_position {
    int stage = 0, parity = 0;

    __device__ __forceinline__ void advance() {
        if (++stage == C::STAGES) stage = 0, parity ^= 1;
    }
};

/* Rows of x first: those of w stream through once while x stays in the cache. */
template <class C> __device__ void produce(const sizes &s, const shared_memory<C> &shared, const CUtensorMap *x_map, const CUtensorMap *w_map, int rank) {
    constexpr int HALF = C::BLOCK_N / 2;
    ring_position<C> at;
    for (int tile = blockIdx.x / C::CLUSTER; tile < s.tiles; tile += gridDim.x / C::CLUSTER) {
        tile_position t(s, tile);
        int row = (t.row * C::CLUSTER + rank) * C::BLOCK_M, column = t.column * C::BLOCK_N + rank * HALF;
#pragma unroll 1
        for (int k = 0; k < s.k; k += C::BLOCK_K, at.advance()) {
            sm90::mbarrier_wait(shared.empty(at.stage), at.parity ^ 1);
            sm90::mbarrier_expect(shared.full(at.stage), C::STAGE_BYTES);
            sm90::tma_load_rows(shared.x(at.stage), x_map, shared.full(at.stage), k, row);
            sm90::tma_load_rows_to_all(shared.w(at.stage) + rank * (C::W_BYTES / 2), w_map, shared.full(at.stage), k, column, 3);
        }
    }
}

template <class C> __device__ __forceinline__ void multiply(float (&y)[C::ACCUMULATORS], uint32_t x, uint32_t w, bool add) {
#pragma unroll
    for (int i = 0; i < C::BLOCK_K / 16; i++) sm90::wgmma<C::BLOCK_N, typename C::T>::ss(y, x + 2 * i, w + 2 * i, add || i > 0);
    sm90::wgmma_commit();
}

/* A lane of each warp tells both blocks, whose copies fill this one's stage, that the warp has done with it. */
template <class C> __device__ __forceinline__ void release(uint32_t mbarrier) {
    int lane = threadIdx.x % 32;
    if (lane < C::CLUSTER) sm90::mbarrier_arrive_at(mbarrier, lane);
}

template <class C, class Epilogue> __device__ void consume(const sizes &s, const Epilogue &epilogue, const shared_memory<C> &shared, int rank, int consumer) {
    ring_position<C> at;
    float y[C::ACCUMULATORS]; /* [64, BLOCK_N] */
    int near_end = max(0, (s.k - 1) / C::BLOCK_K - C::APPROACH) * C::BLOCK_K;
    for (int tile = blockIdx.x / C::CLUSTER; tile < s.tiles; tile += gridDim.x / C::CLUSTER) {
        tile_position t(s, tile);
        int row = (t.row * C::CLUSTER + rank) * C::BLOCK_M + consumer * 64 + threadIdx.x % 128 / 32 * 16 + threadIdx.x % 32 / 4, before = 0;
        typename Epilogue::template ahead<C> ahead;
        epilogue.template begin<C>(ahead, s, t.column * C::BLOCK_N);
#pragma unroll 1
        for (int k = 0; k < s.k; k += C::BLOCK_K) {
            if (k == near_end) epilogue.template approach<C>(ahead, s, row, t.column * C::BLOCK_N);
            sm90::mbarrier_wait(shared.full(at.stage), at.parity);
            sm90::pin(y);
            sm90::wgmma_fence();
            multiply<C>(y, sm90::tile_descriptor(shared.x(at.stage) + consumer * 64 * 128, 0), sm90::tile_descriptor(shared.w(at.stage), 0), k > 0);
            sm90::wgmma_wait<1>();
            if (k > 0) release<C>(shared.empty(before));
            before = at.stage;
            at.advance();
        }
        sm90::wgmma_wait<0>();
        sm90::pin(y);
        release<C>(shared.empty(before));
        epilogue.template finish<C>(ahead, s, y, row, t.column * C::BLOCK_N, shared.vectors(consumer), consumer);
    }
}

template <class C, class Epilogue>
__global__ void __cluster_dims__(C::CLUSTER, 1, 1) __launch_bounds__(C::THREADS, 1)
    matmul_forward_sm90(const __grid_constant__ CUtensorMap x_map, const __grid_constant__ CUtensorMap w_map, const __grid_constant__ sizes s, const __grid_constant__ Epilogue epilogue) {
    extern __shared__ char memory[];
    /* By way of a shuffle: the compiler would else compute the address again and again. */
    shared_memory<C> shared = {__shfl_sync(~0u, ((uint32_t)__cvta_generic_to_shared(memory) + 1023) & ~1023u, 0)};
    int group = __shfl_sync(~0u, threadIdx.x / 128, 0), rank = sm90::cluster_rank();
    if (threadIdx.x == 0) {
        sm90::tensor_map_prefetch(&x_map);
        sm90::tensor_map_prefetch(&w_map);
        for (int i = 0; i < C::STAGES; i++) {
            sm90::mbarrier_init(shared.full(i), 1);
            sm90::mbarrier_init(shared.empty(i), 4 * C::CONSUMERS * C::CLUSTER); /* a lane of each warp of all consumers of both blocks */
        }
        sm90::mbarrier_init_fence();
    }
    sm90::cluster_sync();
    if (group == 0) {
        sm90::give_registers<C::PRODUCER_REGISTERS>();
        if (threadIdx.x == 0) produce<C>(s, shared, &x_map, &w_map, rank);
        __syncwarp();
    } else {
        sm90::take_registers<C::REGISTERS>();
        consume<C>(s, epilogue, shared, rank, group - 1);
    }
    sm90::cluster_sync(); /* what the other block sends must still find this one's memory */
}

} // namespace matmul_sm90
