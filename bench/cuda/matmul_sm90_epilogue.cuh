/* What becomes of the accumulators of matmul_sm90_kernel.cuh. A thread has the rows `row` and `row` + 8 of a tile, and of each the columns 8j + 2(lane % 4) +
 * {0, 1} from `column` on: v[4j + 2r + {0, 1}].
 *
 * begin() is called before the first product of a tile, approach() a few products before the last, finish() after it: what is read in the first two is
 * there in the third. Vectors go through the consumer's shared memory. SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include "backend/cuda/attention_result.cuh"
#include "matmul_sm90_kernel.cuh"

namespace matmul_sm90 {

/* A vector's elements of a tile's columns, four to a thread of the consumer: from memory to a register, to shared memory, to every thread. */
__device__ __forceinline__ float4 read_4(const float *vector, int at, int n) {
    return vector && at < n ? *(const float4 *)(vector + at) : make_float4(0, 0, 0, 0);
}

__device__ __forceinline__ void write_shared(uint32_t to, const float4 &v) {
    asm volatile("st.shared.v4.f32 [%0], {%1, %2, %3, %4};" ::"r"(to), "f"(v.x), "f"(v.y), "f"(v.z), "f"(v.w) : "memory");
}

__device__ __forceinline__ float2 read_shared(uint32_t from) {
    float2 v;
    asm volatile("ld.shared.v2.f32 {%0, %1}, [%2];" : "=f"(v.x), "=f"(v.y) : "r"(from) : "memory");
    return v;
}

constexpr int VECTOR_BARRIER = 1; /* named barriers 1, 2, 3: of a consumer's own threads */

/* Two vectors of the tile's columns (or of as many numbers). */
struct two_vectors {
    float4 v; /* of the first in threads 0 to 63, of the second in the others */

    __device__ __forceinline__ void share(uint32_t shared, int consumer) const {
        sm90::barrier_sync(VECTOR_BARRIER + consumer, 128); /* the tile before has been finished */
        write_shared(shared + threadIdx.x % 128 * 16, v);
        sm90::barrier_sync(VECTOR_BARRIER + consumer, 128);
    }
};

template <class C> __device__ __forceinline__ void add_bias(float (&v)[C::ACCUMULATORS], uint32_t bias) {
#pragma unroll
    for (int j = 0; j < C::BLOCK_N / 8; j++) {
        float2 b = read_shared(bias + 32 * j + 8 * (threadIdx.x % 4));
#pragma unroll
        for (int r = 0; r < 2; r++) v[4 * j + 2 * r] += b.x, v[4 * j + 2 * r + 1] += b.y;
    }
}

/* 32 columns of a row, two of each four of v: eight neighbouring ones to each lane of the quad. All lanes of the warp call it. */
template <typename T> __device__ __forceinline__ void store_32(T *to, const float *v, bool inside) {
    uint32_t y[4];
#pragma unroll
    for (int i = 0; i < 4; i++) y[i] = attention::pack<T>(v[4 * i], v[4 * i + 1]);
    attention::quad_transpose(y);
    if (inside) *(uint4 *)(to + 8 * (threadIdx.x % 4)) = make_uint4(y[0], y[1], y[2], y[3]);
}

/* y = x · wᵀ + bias */
template <typename T> struct plain {
    T *y;
    int64_t y_row;
    const float *bias; /* [N], or NULL */

    template <class C> using ahead = two_vectors;

    template <class C> __device__ __forceinline__ void begin(two_vectors &ahead, const sizes &s, int column) const {
        ahead.v = read_4(bias, column + threadIdx.x % 64 * 4, s.n);
    }
    template <class C> __device__ __forceinline__ void approach(two_vectors &, const sizes &, int, int) const {}

    template <class C>
    __device__ __forceinline__ void finish(const two_vectors &ahead, const sizes &s, float (&v)[C::ACCUMULATORS], int row, int column, uint32_t shared, int consumer) const {
        ahead.share(shared, consumer);
        add_bias<C>(v, shared);
#pragma unroll
        for (int r = 0; r < 2; r++)
#pragma unroll
            for (int j = 0; j < C::BLOCK_N / 8; j += 4)
                store_32(y + (row + 8 * r) * y_row + column + 8 * j, v + 4 * j + 2 * r, row + 8 * r < s.m && column + 8 * j + 8 * (int)(threadIdx.x % 4) < s.n);
    }
};

/* Queries, keys and values: x · wᵀ + bias in heads of 128 columns, those of queries and keys normed and turned. */
template <typename T> struct heads {
    static constexpr int D = 128;
    struct operand {
        T *y;                /* [heads, M, D] */
        int64_t head, token; /* elements from one to the next */
        const float *norm;   /* [D], or NULL: as it is */
    };
    operand operands[3];
    int count; /* heads of an operand */
    float eps;
    const float *bias;          /* [3 · count · D] */
    const float *cosine, *sine; /* [M, D], both columns of a pair the same; for what is normed */
    int64_t cosine_row, sine_row;

    template <class C> struct ahead {
        two_vectors vectors; /* bias; norms of the tile's heads */
        float cosine[2][D / 8], sine[2][D / 8];
    };

    __device__ __forceinline__ const float *norm_of(int head) const {
        return head < 3 * count ? operands[head / count].norm : nullptr;
    }

    template <class C> __device__ __forceinline__ void begin(ahead<C> &ahead, const sizes &s, int column) const {
        static_assert(C::BLOCK_N == 2 * D, "two heads");
        int t = threadIdx.x % 64 * 4;
        ahead.vectors.v = threadIdx.x % 128 < 64 ? read_4(bias, column + t, s.n) : read_4(norm_of(column / D + t / D), t % D, D);
    }

    template <class C> __device__ __forceinline__ void approach(ahead<C> &ahead, const sizes &s, int row, int column) const {
        if (!norm_of(column / D) && !norm_of(column / D + 1)) return;
#pragma unroll
        for (int r = 0; r < 2; r++) {
            int64_t token = min(row + 8 * r, s.m - 1);
#pragma unroll
            for (int j = 0; j < D / 8; j++) {
                ahead.cosine[r][j] = cosine[token * cosine_row + 8 * j + 2 * (threadIdx.x % 4)];
                ahead.sine[r][j] = sine[token * sine_row + 8 * j + 2 * (threadIdx.x % 4)];
            }
        }
    }

    template <class C> __device__ __forceinline__ void finish(const ahead<C> &ahead, const sizes &s, float (&v)[C::ACCUMULATORS], int row, int column, uint32_t shared, int consumer) const {
        ahead.vectors.share(shared, consumer);
        add_bias<C>(v, shared);
#pragma unroll
        for (int h = 0; h < 2; h++) {
            int head = column / D + h;
            if (head >= 3 * count) continue;
            float *x = v + D / 2 * h;
            if (norm_of(head)) {
                float factor[2] = {0, 0};
#pragma unroll
                for (int i = 0; i < D / 2; i++) factor[i / 2 % 2] = fmaf(x[i], x[i], factor[i / 2 % 2]);
#pragma unroll
                for (int r = 0; r < 2; r++) factor[r] = rsqrtf(attention::quad_sum(factor[r]) / D + eps);
#pragma unroll
                for (int j = 0; j < D / 8; j++) {
                    float2 w = read_shared(shared + 1024 + 512 * h + 32 * j + 8 * (threadIdx.x % 4));
#pragma unroll
                    for (int r = 0; r < 2; r++) {
                        float a = x[4 * j + 2 * r] * factor[r] * w.x, b = x[4 * j + 2 * r + 1] * factor[r] * w.y;
                        x[4 * j + 2 * r] = fmaf(a, ahead.cosine[r][j], -b * ahead.sine[r][j]);
                        x[4 * j + 2 * r + 1] = fmaf(b, ahead.cosine[r][j], a * ahead.sine[r][j]);
                    }
                }
            }
            const operand &o = operands[head / count];
#pragma unroll
            for (int r = 0; r < 2; r++) {
                T *to = o.y + head % count * o.head + (row + 8 * r) * o.token;
#pragma unroll
                for (int j = 0; j < D / 8; j += 4) store_32(to + 8 * j, x + 4 * j + 2 * r, row + 8 * r < s.m);
            }
        }
    }
};

} // namespace matmul_sm90
