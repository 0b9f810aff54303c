/* Attention forward for Hopper: softmax(scale · q · kᵀ) · v, bf16 or f16, float32 accumulation.
 *
 * A block of threads is one producer warp group, of which a single thread keeps the copy engine busy, and two or three consumer warp groups with 64
 * queries each. Blocks are persistent: each takes tiles of queries until none is left. Keys and values come through a ring of `stages` tiles
 * in shared memory; a full and an empty mbarrier go with each.
 *
 * A consumer computes the scores of key tile j and, while it takes their softmax, the product of the probabilities of tile j + 1 (the one before: tiles
 * come last to first) with its values runs on the tensor cores. Consumers take turns at the tensor cores (named barriers), so that the softmax of one
 * runs under the products of the other. Probabilities stay in registers.
 *
 * Where the tiles are not a multiple of the blocks, the last tiles are cut along the keys into equal runs, one for each block ("split"). The block with
 * the last keys of a tile adds the other parts, which come through the workspace as float32.
 *
 * Sources: FlashAttention-3 (arXiv:2407.08608) for the schedule; Stream-K (arXiv:2301.03598) for the split; FlashAttention-4 (arXiv:2603.05451) for
 * rescaling only where the maximum grows by much. */
#pragma once

#include "backend/cuda/attention_sm90_ptx.cuh"

namespace attention_sm90 {

struct strides {
    int64_t batch, head, token; /* in elements */
};

struct params {
    void *out;                  /* [B, H, Sq, D] */
    float *lse;                 /* [B, H, Sq] or NULL */
    const float *carry_out;     /* [B, H, Sq, D], the result over other keys, with its lse [B, H, Sq]; or NULL */
    const float *carry_lse;
    const int32_t *kv_lengths;  /* [B] or NULL */
    strides out_stride, lse_stride, carry_out_stride, carry_lse_stride;
    bool out_f32;
    int heads, heads_per_kv_head, q_len, kv_len;
    int q_tiles;                /* of one head; in clusters of blocks: groups of tiles */
    int tiles, whole_tiles;     /* of all heads; those from whole_tiles on are split */
    int split_blocks;           /* key tiles of a split tile */
    int participants;           /* blocks (clusters) 0 to participants - 1 share the split tiles */
    float scale_log2;           /* scale · log2 e */
    int causal_offset;          /* query i sees keys 0 to i + causal_offset */
    int *part_ready;            /* [blocks, 4], 0 between launches */
    float *part;                /* [blocks, consumers, D / 2 + 4, 128] */
};

/* What is compiled in. */
template <typename T_, int D_, int BLOCK_KV_, int CONSUMERS_, int STAGES_, int CLUSTER_, bool Q_IN_REGISTERS_, int TURN_AFTER_, bool CAUSAL_, bool RING_> struct config {
    using T = T_;
    static constexpr int D = D_, BLOCK_KV = BLOCK_KV_, CONSUMERS = CONSUMERS_, STAGES = STAGES_;
    static constexpr int CLUSTER = CLUSTER_; /* blocks that share the loads of keys and values */
    static constexpr bool Q_IN_REGISTERS = Q_IN_REGISTERS_;
    static constexpr int TURN_AFTER = TURN_AFTER_; /* steps of 16 keys of P · V after which the next consumer has its turn; -1: no turns */
    static constexpr bool TURNS = TURN_AFTER >= 0, CAUSAL = CAUSAL_;
    static constexpr bool RING = RING_; /* there may be a carry, or out may be float32 */

    static constexpr bool SPLIT = !CAUSAL; /* tiles may be split: all have as many key tiles */

    static constexpr int BLOCK_Q = 64 * CONSUMERS, THREADS = 128 * (CONSUMERS + 1);
    static constexpr int REGISTERS = CONSUMERS == 2 ? 232 : 160, PRODUCER_REGISTERS = CONSUMERS == 2 ? 40 : 32;
    static constexpr int Q_PANEL = 64 * 128, KV_PANEL = BLOCK_KV * 128;       /* bytes of 64 columns of a tile */
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

struct position {
    int q_tile, head, batch;
};

/* Blocks of a cluster have the same list; what is a tile here is then as many tiles, one below the other. */
template <class C> struct work_list {
    const params &p;
    int worker, workers;  /* which cluster of how many */
    int unit, unit_end;   /* of the key tiles of all split tiles, those of this worker: unit to unit_end - 1 */
    int tile;

    __device__ work_list(const params &p) : p(p), worker(blockIdx.x / C::CLUSTER), workers(gridDim.x / C::CLUSTER), tile(worker) {
        unit = C::SPLIT ? first_unit(worker) : 0;
        unit_end = C::SPLIT ? first_unit(worker + 1) : 0;
    }

    __device__ int first_unit(int worker) const {
        return (int)((int64_t)(p.tiles - p.whole_tiles) * p.split_blocks * min(worker, p.participants) / max(p.participants, 1));
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
        tile += workers;
        return true;
    }

    __device__ position at(const work &w) const {
        int of_head = w.tile % p.q_tiles, rest = w.tile / p.q_tiles;
        return {C::CLUSTER == 1 ? of_head : C::CLUSTER * of_head + sm90::cluster_rank(), rest % p.heads, rest / p.heads};
    }

    /* Keys that any query of the tile sees. */
    __device__ int keys(const position &x) const {
        int n = p.kv_lengths ? min(p.kv_lengths[x.batch], p.kv_len) : p.kv_len;
        if (C::CAUSAL) n = max(0, min(n, min(p.q_len, (x.q_tile + 1) * C::BLOCK_Q) + p.causal_offset));
        return n;
    }
};

/* ---- The producer */

template <class C> __device__ __forceinline__ void load_q(uint32_t to, const CUtensorMap *map, uint32_t mbarrier, int token, int head, int batch) {
    sm90::mbarrier_expect(mbarrier, C::Q_BYTES);
#pragma unroll
    for (int i = 0; i < C::D / 64; i++) sm90::tma_load(to + i * C::Q_PANEL, map, mbarrier, 64 * i, token, head, batch);
}

/* Each block of a cluster loads its part of the keys, into all of them. */
template <class C> __device__ __forceinline__ void load_kv(uint32_t to, const CUtensorMap *map, uint32_t mbarrier, int token, int head, int batch) {
    sm90::mbarrier_expect(mbarrier, C::KV_BYTES);
    constexpr int PART = C::BLOCK_KV / C::CLUSTER;
    int part = C::CLUSTER == 1 ? 0 : sm90::cluster_rank();
#pragma unroll
    for (int i = 0; i < C::D / 64; i++) {
        if (C::CLUSTER == 1) sm90::tma_load(to + i * C::KV_PANEL, map, mbarrier, 64 * i, token, head, batch);
        else sm90::tma_load_multicast(to + i * C::KV_PANEL + part * PART * 128, map, mbarrier, (1 << C::CLUSTER) - 1, 64 * i, token + part * PART, head, batch);
    }
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
            load_kv<C>(shared.k(stage), k_map, shared.k_full(stage), j * C::BLOCK_KV, kv_head, x.batch);
        };
        load_k(w.last - 1);
        for (int i = 0; i < C::CONSUMERS; i++) {
            sm90::mbarrier_wait(shared.q_empty(i), q_parity);
            load_q<C>(shared.q(i), q_map, shared.q_full(i), x.q_tile * C::BLOCK_Q + 64 * i, x.head, x.batch);
        }
        q_parity ^= 1;
#pragma unroll 1
        for (int j = w.last - 1; j >= w.first; j--) {
            if (j > w.first) load_k(j - 1);
            int stage = stage_of<C>(v_loaded);
            sm90::mbarrier_wait(shared.v_empty(stage), parity_of<C>(v_loaded++) ^ 1);
            load_kv<C>(shared.v(stage), v_map, shared.v_full(stage), j * C::BLOCK_KV, kv_head, x.batch);
        }
    }
}

/* ---- Softmax, of two rows to a thread: 0 is row l/4 of the warp's 16 (lane l), 1 the one 8 below */

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

/* Exponents → probabilities, in place. */
template <int N> __device__ __forceinline__ void exponentiate(float (&s)[N], softmax_rows &rows, const float (&alpha)[2]) {
#pragma unroll
    for (int r = 0; r < 2; r++) {
        float sum[2] = {rows.sum[r] * alpha[r], 0};
#pragma unroll
        for (int i = 2 * r; i < N; i += 4) {
            s[i] = sm90::exp2_approx(s[i]);
            s[i + 1] = sm90::exp2_approx(s[i + 1]);
            sum[0] += s[i];
            sum[1] += s[i + 1];
        }
        rows.sum[r] = sum[0] + sum[1];
    }
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

/* Scores [64, 2N] → probabilities, in place. The accumulators are to be multiplied by alpha[row], where that is not 1. Rows may have seen no key yet. */
template <int N> __device__ __forceinline__ void softmax(float (&s)[N], softmax_rows &rows, float (&alpha)[2], float scale_log2) {
    float max[2], shift[2];
    thread_max(s, max);
#pragma unroll
    for (int r = 0; r < 2; r++) {
        max[r] = quad_max(max[r]) * scale_log2;
        alpha[r] = 1;
        if (max[r] > rows.max[r] + LAG) { /* also from -inf */
            alpha[r] = sm90::exp2_approx(rows.max[r] - max[r]);
            rows.max[r] = max[r];
        }
        shift[r] = rows.max[r] == -INFINITY ? 0 : -rows.max[r];
    }
#pragma unroll
    for (int i = 0; i < N; i++) s[i] = fmaf(s[i], scale_log2, shift[i / 2 % 2]);
    exponentiate(s, rows, alpha);
}

/* The same for rows that have seen a key: then the maximum has to be known only where it has grown by more than LAG, which is rare. Floats above 0 compare
 * like their bits do, and three at a time. */
template <int N> __device__ __forceinline__ void softmax_next(float (&s)[N], softmax_rows &rows, float (&alpha)[2], float scale_log2) {
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
            alpha[r] = sm90::exp2_approx(-growth[r]);
            rows.max[r] += growth[r];
        }
#pragma unroll
        for (int i = 0; i < N; i++) s[i] -= growth[i / 2 % 2];
    }
    exponentiate(s, rows, alpha);
}

/* Probabilities as the A operand of the next product. */
template <typename T, int N> __device__ __forceinline__ void to_operand(uint32_t (&p)[N / 2], const float (&s)[N]) {
#pragma unroll
    for (int i = 0; i < N / 2; i++) p[i] = sm90::pack<T>(s[2 * i], s[2 * i + 1]);
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

/* ---- The matrix products of a tile: 64 queries by BLOCK_KV keys */

/* The queries of a consumer: their descriptor, or themselves. */
template <class C> struct queries {
    uint32_t descriptor;
    uint32_t in_registers[C::Q_IN_REGISTERS ? C::D / 4 : 1];

    __device__ __forceinline__ void load(uint32_t q) {
        int row = threadIdx.x % 16, chunk = threadIdx.x % 32 / 16;
        uint32_t from = q + (threadIdx.x % 128 / 32 * 16 + row) * 128;
#pragma unroll
        for (int i = 0; i < C::D / 16; i++) {
            sm90::load_matrix(in_registers + 4 * i, from + i / 4 * C::Q_PANEL + ((i % 4 * 2 + chunk) ^ row % 8) * 16);
        }
    }
};

template <class C> __device__ __forceinline__ void issue_scores(float (&s)[C::BLOCK_KV / 2], const queries<C> &q, uint32_t k) {
#pragma unroll
    for (int i = 0; i < C::D / 16; i++) {
        int panel = i / 4, within = i % 4 * 32;
        uint32_t k_part = k + (panel * C::KV_PANEL + within) / 16;
        if constexpr (C::Q_IN_REGISTERS) sm90::wgmma<C::BLOCK_KV, typename C::T>::rs(s, q.in_registers + 4 * i, k_part, i > 0);
        else sm90::wgmma<C::BLOCK_KV, typename C::T>::ss(s, q.descriptor + (panel * C::Q_PANEL + within) / 16, k_part, i > 0);
    }
    sm90::wgmma_commit();
}

/* Key steps `From` to `To` of P · V. */
template <class C, int From = 0, int To = C::BLOCK_KV / 16>
__device__ __forceinline__ void issue_values(float (&o)[C::D / 2], const uint32_t (&p)[C::BLOCK_KV / 4], uint32_t v) {
#pragma unroll
    for (int i = From; i < To; i++) sm90::wgmma<C::D, typename C::T>::rs_transposed(o, p + 4 * i, v + i * 16 * 128 / 16, 1);
    if constexpr (To == C::BLOCK_KV / 16 && From < To) sm90::wgmma_commit();
}

/* ---- Parts of split tiles, through the workspace */

/* Thread t of consumer `c` writes its registers to [·][t] of the block's part, and says so. */
template <class C> __device__ void write_part(const params &p, int consumer, const float (&o)[C::D / 2], const softmax_rows &rows) {
    int thread = threadIdx.x % 128;
    float4 *part = (float4 *)(p.part + ((int64_t)blockIdx.x * C::CONSUMERS + consumer) * (C::D / 2 + 4) * 128) + thread;
#pragma unroll
    for (int i = 0; i < C::D / 2; i += 4) part[i / 4 * 128] = make_float4(o[i], o[i + 1], o[i + 2], o[i + 3]);
    part[C::D / 8 * 128] = make_float4(rows.max[0], rows.max[1], rows.sum[0], rows.sum[1]);
    __threadfence();
    sm90::barrier_sync(8 + consumer, 128);
    if (thread == 0) asm volatile("st.release.gpu.s32 [%0], 1;" ::"l"(p.part_ready + blockIdx.x * 4 + consumer) : "memory");
}

/* The block of another worker that has the same rows of a tile. */
template <class C> __device__ int worker_block(int worker) {
    return C::CLUSTER == 1 ? worker : C::CLUSTER * worker + sm90::cluster_rank();
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
    sm90::barrier_sync(8 + consumer, 128);
    if (thread == 0) *flag = 0; /* for the next launch */
}

/* ---- The result of a tile */

/* The result over other keys as the start of this one; false where this thread's rows are outside. */
template <class C> __device__ void read_carry(const params &p, const position &x, int row, float (&o)[C::D / 2], softmax_rows &rows) {
#pragma unroll
    for (int r = 0; r < 2; r++) {
        int token = row + 8 * r;
        if (token >= p.q_len) continue;
        float lse = p.carry_lse[x.batch * p.carry_lse_stride.batch + x.head * p.carry_lse_stride.head + token * p.carry_lse_stride.token];
        rows.max[r] = lse * 1.4426950408889634f;
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
                sum > 0 ? 0.6931471805599453f * (rows.max[r] + __log2f(sum)) : -INFINITY;
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

/* ---- A consumer */

/* Gives a tile back to the producers that write to it: those of all blocks of the cluster. By all lanes of a warp. */
template <class C> __device__ __forceinline__ void release(uint32_t mbarrier) {
    int lane = threadIdx.x % 32;
    if (C::CLUSTER == 1) {
        if (lane == 0) sm90::mbarrier_arrive(mbarrier);
    } else if (lane < C::CLUSTER) {
        sm90::mbarrier_arrive_at(mbarrier, lane);
    }
}

template <class C> __device__ void consume(const params &p, const shared_memory<C> &shared, int consumer) {
    using T = typename C::T;
    constexpr int KV_STEP = C::KV_BYTES / 16; /* from stage to stage, in a descriptor */
    constexpr int TURN = 1;                   /* named barriers 1, 2, …: it is the turn of consumer 0, 1, … */
    int next_consumer = consumer + 1 == C::CONSUMERS ? 0 : consumer + 1;
    if (C::TURNS && next_consumer == 0) sm90::barrier_arrive(TURN, 256);

    int row_in_tile = 64 * consumer + threadIdx.x % 128 / 32 * 16 + threadIdx.x % 32 / 4;
    uint32_t k_desc = sm90::tile_descriptor(shared.k(0), C::KV_PANEL), v_desc = sm90::tile_descriptor(shared.v(0), C::KV_PANEL);
    queries<C> q;
    q.descriptor = sm90::tile_descriptor(shared.q(consumer), C::Q_PANEL);
    unsigned n = 0; /* key tiles done */
    int q_parity = 0;
    float s[C::BLOCK_KV / 2]; /* scores, then probabilities [64, BLOCK_KV] */
    uint32_t probabilities[C::BLOCK_KV / 4];
    float o[C::D / 2];        /* [64, D] */

    work_list<C> list(p);
    for (work w; list.next(w);) {
        softmax_rows rows = {{-INFINITY, -INFINITY}, {0, 0}};
        float alpha[2];
#pragma unroll
        for (int i = 0; i < C::D / 2; i++) o[i] = 0;
        if (C::RING && p.carry_out && w.first == 0) {
            position x = list.at(w);
            read_carry<C>(p, x, x.q_tile * C::BLOCK_Q + row_in_tile, o, rows);
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
            if constexpr (C::Q_IN_REGISTERS) {
                q.load(shared.q(consumer));
                __syncwarp();
                if (threadIdx.x % 32 == 0) sm90::mbarrier_arrive(shared.q_empty(consumer));
            }
            sm90::mbarrier_wait(shared.k_full(stage_of<C>(n)), parity_of<C>(n));
            sm90::wgmma_fence();
            issue_scores<C>(s, q, k_desc + stage_of<C>(n) * KV_STEP);
            sm90::wgmma_wait<0>();
            sm90::pin(s);
            release<C>(shared.k_empty(stage_of<C>(n)));
            hide(w.last - 1);
            softmax(s, rows, alpha, p.scale_log2);
            if (C::RING) rescale(o, alpha);
            to_operand<T>(probabilities, s);
            if (w.last - w.first > 1) sm90::mbarrier_wait(shared.k_full(stage_of<C>(n + 1)), parity_of<C>(n + 1));

#pragma unroll 1
            for (int j = w.last - 2; j >= w.first; j--) {
                int v_stage = stage_of<C>(n), v_parity = parity_of<C>(n), k_stage = stage_of<C>(n + 1);
                n++;
                if (C::TURNS) sm90::barrier_sync(TURN + consumer, 256);
                sm90::pin(s);
                sm90::pin(o);
                sm90::wgmma_fence();
                issue_scores<C>(s, q, k_desc + k_stage * KV_STEP);
                sm90::mbarrier_wait(shared.v_full(v_stage), v_parity);
                sm90::wgmma_fence();
                if constexpr (C::TURNS) {
                    issue_values<C, 0, C::TURN_AFTER>(o, probabilities, v_desc + v_stage * KV_STEP);
                    sm90::barrier_arrive(TURN + next_consumer, 256);
                    issue_values<C, C::TURN_AFTER>(o, probabilities, v_desc + v_stage * KV_STEP);
                } else {
                    issue_values<C>(o, probabilities, v_desc + v_stage * KV_STEP);
                }
                sm90::wgmma_wait<1>();
                sm90::pin(s);
                release<C>(shared.k_empty(k_stage));
                if (C::CAUSAL) hide(j);
                if constexpr (C::CAUSAL) softmax(s, rows, alpha, p.scale_log2);
                else softmax_next(s, rows, alpha, p.scale_log2);
                sm90::pin(s);
                /* The keys of the next tile are waited for here, where a branch that depends on the softmax (sums are never negative) keeps the assembler
                 * from moving the wait for the values above it. */
                if (j > w.first && !(rows.sum[0] + rows.sum[1] < 0)) sm90::mbarrier_wait(shared.k_full(stage_of<C>(n + 1)), parity_of<C>(n + 1));
                sm90::wgmma_wait<0>();
                sm90::pin(o);
                release<C>(shared.v_empty(v_stage));
                rescale(o, alpha);
                to_operand<T>(probabilities, s);
            }

            if (!C::Q_IN_REGISTERS && threadIdx.x % 32 == 0) sm90::mbarrier_arrive(shared.q_empty(consumer));
            sm90::mbarrier_wait(shared.v_full(stage_of<C>(n)), parity_of<C>(n));
            sm90::pin(o);
            sm90::wgmma_fence();
            issue_values<C>(o, probabilities, v_desc + stage_of<C>(n) * KV_STEP);
            sm90::wgmma_wait<0>();
            sm90::pin(o);
            release<C>(shared.v_empty(stage_of<C>(n)));
            n++;
        }

        if (C::SPLIT && w.tile >= p.whole_tiles) {
            if (w.last < p.split_blocks) {
                write_part<C>(p, consumer, o, rows);
                continue;
            }
            if (w.first > 0) {
                int origin = (w.tile - p.whole_tiles) * p.split_blocks, worker = list.worker;
                do add_part<C>(p, worker_block<C>(--worker), consumer, o, rows);
                while (list.first_unit(worker) > origin);
            }
        }
        position x = list.at(w);
        write_result<C>(p, x, x.q_tile * C::BLOCK_Q + row_in_tile, o, rows);
    }
}

template <class C>
__global__ void __launch_bounds__(C::THREADS, 1) attention_forward_sm90(const __grid_constant__ CUtensorMap q_map, const __grid_constant__ CUtensorMap k_map,
                                                                        const __grid_constant__ CUtensorMap v_map, const __grid_constant__ params p) {
    extern __shared__ char memory[];
    shared_memory<C> shared = {((uint32_t)__cvta_generic_to_shared(memory) + 1023) & ~1023u};
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
            sm90::mbarrier_init(shared.k_empty(i), 4 * C::CONSUMERS * C::CLUSTER);
            sm90::mbarrier_init(shared.v_empty(i), 4 * C::CONSUMERS * C::CLUSTER);
        }
        sm90::mbarrier_init_fence();
    }
    if (C::CLUSTER == 1) __syncthreads();
    else sm90::cluster_sync();

    if (group == 0) {
        sm90::give_registers<C::PRODUCER_REGISTERS>();
        if (threadIdx.x == 0) produce<C>(p, shared, &q_map, &k_map, &v_map);
    } else {
        sm90::take_registers<C::REGISTERS>();
        consume<C>(p, shared, group - 1);
    }
    if (C::CLUSTER > 1) { /* no block may end while another copies or signals to it */
        __syncwarp();
        sm90::cluster_sync();
    }
}

} // namespace attention_sm90
