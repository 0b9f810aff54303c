/* Hopper's instructions (sm_90a) that the kernels *_sm90 are written with, one function each: named barriers, mbarriers, the bulk tensor copy
 * (TMA) and the warp group's matrix product (wgmma). Shared memory is addressed by its 32-bit addresses.
 * Source: PTX ISA 9.0, sections "Asynchronous warpgroup level matrix instructions", "mbarrier", "cp.async.bulk.tensor". SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <cuda.h>
#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cstdint>

namespace sm90 {

/* ---- Registers and barriers */

template <int N> __device__ __forceinline__ void take_registers() {
    asm volatile("setmaxnreg.inc.sync.aligned.u32 %0;" ::"n"(N));
}

template <int N> __device__ __forceinline__ void give_registers() {
    asm volatile("setmaxnreg.dec.sync.aligned.u32 %0;" ::"n"(N));
}

/* Barrier `id` of the block: wait until `threads` have come; come without waiting. */
__device__ __forceinline__ void barrier_sync(int id, int threads) {
    asm volatile("bar.sync %0, %1;" ::"r"(id), "r"(threads) : "memory");
}

__device__ __forceinline__ void barrier_arrive(int id, int threads) {
    asm volatile("bar.arrive %0, %1;" ::"r"(id), "r"(threads) : "memory");
}

__device__ __forceinline__ void mbarrier_init(uint32_t mbarrier, int arrivals) {
    asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(mbarrier), "r"(arrivals));
}

/* The same at the mbarrier that lies at this address in another block of the cluster. What it tells of must need no fence: reads of the tensor cores, which
 * were waited for. */
__device__ __forceinline__ void mbarrier_arrive_at(uint32_t mbarrier, int block) {
    asm volatile("{\n"
                 ".reg .b32 there;\n"
                 "mapa.shared::cluster.u32 there, %0, %1;\n"
                 "mbarrier.arrive.relaxed.cluster.shared::cluster.b64 _, [there];\n"
                 "}" ::"r"(mbarrier),
                 "r"(block)
                 : "memory");
}

/* All threads of all blocks of the cluster have come. */
__device__ __forceinline__ void cluster_sync() {
    asm volatile("barrier.cluster.arrive.aligned;\nbarrier.cluster.wait.aligned;" ::: "memory");
}

__device__ __forceinline__ int cluster_rank() {
    int rank;
    asm volatile("mov.u32 %0, %%cluster_ctarank;" : "=r"(rank));
    return rank;
}

/* Makes the initialised mbarriers known to the copy engine. */
__device__ __forceinline__ void mbarrier_init_fence() {
    asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
    asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
}

__device__ __forceinline__ void mbarrier_arrive(uint32_t mbarrier) {
    asm volatile("mbarrier.arrive.shared::cta.b64 _, [%0];" ::"r"(mbarrier) : "memory");
}

/* One arrival, and so many bytes of copies to come before the phase ends. */
__device__ __forceinline__ void mbarrier_expect(uint32_t mbarrier, uint32_t bytes) {
    asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(mbarrier), "r"(bytes) : "memory");
}

/* Waits until the phase of the given parity has ended. A fresh mbarrier counts as having ended parity 1. */
__device__ __forceinline__ void mbarrier_wait(uint32_t mbarrier, uint32_t parity) {
    asm volatile("{\n"
                 ".reg .pred done;\n"
                 "AGAIN:\n"
                 "mbarrier.try_wait.parity.shared::cta.b64 done, [%0], %1;\n"
                 "@done bra.uni OVER;\n"
                 "bra.uni AGAIN;\n"
                 "OVER:\n"
                 "}" ::"r"(mbarrier),
                 "r"(parity)
                 : "memory");
}

/* Whether the phase of the given parity has ended. */
__device__ __forceinline__ bool mbarrier_test(uint32_t mbarrier, uint32_t parity) {
    int done;
    asm volatile("{\n"
                 ".reg .pred done;\n"
                 "mbarrier.test_wait.parity.shared::cta.b64 done, [%1], %2;\n"
                 "selp.s32 %0, 1, 0, done;\n"
                 "}"
                 : "=r"(done)
                 : "r"(mbarrier), "r"(parity)
                 : "memory");
    return done;
}

/* ---- Copies of boxes of a tensor [batch, head, token, column], or of a matrix [row, column], to shared memory */

__device__ __forceinline__ void tensor_map_prefetch(const CUtensorMap *map) {
    asm volatile("prefetch.tensormap [%0];" ::"l"(map) : "memory");
}

/* What lies outside the tensor becomes zero, and counts among the bytes. */
__device__ __forceinline__ void tma_load(uint32_t to, const CUtensorMap *map, uint32_t mbarrier, int column, int token, int head, int batch) {
    asm volatile("cp.async.bulk.tensor.4d.shared::cluster.global.tile.mbarrier::complete_tx::bytes [%0], [%1, {%3, %4, %5, %6}], [%2];" ::"r"(to), "l"(map),
                 "r"(mbarrier), "r"(column), "r"(token), "r"(head), "r"(batch)
                 : "memory");
}

__device__ __forceinline__ void tma_load_rows(uint32_t to, const CUtensorMap *map, uint32_t mbarrier, int column, int row) {
    asm volatile("cp.async.bulk.tensor.2d.shared::cluster.global.tile.mbarrier::complete_tx::bytes [%0], [%1, {%3, %4}], [%2];" ::"r"(to), "l"(map),
                 "r"(mbarrier), "r"(column), "r"(row)
                 : "memory");
}

/* The same into the shared memory of every block of the cluster whose bit is set, each with its own mbarrier at that address. */
__device__ __forceinline__ void tma_load_rows_to_all(uint32_t to, const CUtensorMap *map, uint32_t mbarrier, int column, int row, uint16_t blocks) {
    asm volatile("cp.async.bulk.tensor.2d.shared::cluster.global.tile.mbarrier::complete_tx::bytes.multicast::cluster [%0], [%1, {%3, %4}], [%2], %5;" ::"r"(to),
                 "l"(map), "r"(mbarrier), "r"(column), "r"(row), "h"(blocks)
                 : "memory");
}

/* ---- Matrix products of a warp group: 64 rows, accumulators float32 in registers
 *
 * Thread t of the group (lane l of warp w) holds of a [64, N] accumulator: a[4j], a[4j + 1] are row 16w + l/4, columns 8j + 2(l%4) + {0, 1};
 * a[4j + 2], a[4j + 3] the same columns of the row 8 below. An A operand [64, 16] in registers has the same order, two columns to a register. */

/* A tile in shared memory as TMA writes it with the 128-byte swizzle: rows of 64 two-byte elements, eight of them to an atom of 1024 bytes.
 * This is the low half of its descriptor, to which offsets are added in units of 16 bytes; the high half is the same for all tiles. */
__device__ __forceinline__ uint32_t tile_descriptor(uint32_t address, uint32_t panel_bytes) {
    return (panel_bytes >> 4) << 16 | (address & 0x3FFFF) >> 4;
}

__device__ __forceinline__ uint64_t whole_descriptor(uint32_t low) {
    const uint64_t swizzle_128 = 1, atom = 1024;
    return swizzle_128 << 62 | (atom >> 4) << 32 | low;
}

/* Before the first product, and wherever registers of a product have been written by other instructions. */
__device__ __forceinline__ void wgmma_fence() {
    asm volatile("wgmma.fence.sync.aligned;" ::: "memory");
}

__device__ __forceinline__ void wgmma_commit() {
    asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory");
}

/* Waits until at most `Pending` of the groups of products are under way. */
template <int Pending> __device__ __forceinline__ void wgmma_wait() {
    asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(Pending) : "memory");
}

/* Keeps the compiler from moving reads or writes of the registers across this point. */
template <int N> __device__ __forceinline__ void pin(float (&x)[N]) {
#pragma unroll
    for (int i = 0; i < N; i++) asm volatile("" : "+f"(x[i])::"memory");
}

/* Operand lists of the products: decades of "%0, %1, …" and of the accumulators. */
#define DIGITS(t) "%" #t "0, %" #t "1, %" #t "2, %" #t "3, %" #t "4, %" #t "5, %" #t "6, %" #t "7, %" #t "8, %" #t "9, "
#define REGS_32 "{" DIGITS() DIGITS(1) DIGITS(2) "%30, %31}"
#define REGS_64 "{" DIGITS() DIGITS(1) DIGITS(2) DIGITS(3) DIGITS(4) DIGITS(5) "%60, %61, %62, %63}"
#define REGS_96 "{" DIGITS() DIGITS(1) DIGITS(2) DIGITS(3) DIGITS(4) DIGITS(5) DIGITS(6) DIGITS(7) DIGITS(8) "%90, %91, %92, %93, %94, %95}"
#define REGS_128 "{" DIGITS() DIGITS(1) DIGITS(2) DIGITS(3) DIGITS(4) DIGITS(5) DIGITS(6) DIGITS(7) DIGITS(8) DIGITS(9) DIGITS(10) DIGITS(11) "%120, %121, %122, %123, %124, %125, %126, %127}"
#define ACC_8(d, i) "+f"(d[i]), "+f"(d[i + 1]), "+f"(d[i + 2]), "+f"(d[i + 3]), "+f"(d[i + 4]), "+f"(d[i + 5]), "+f"(d[i + 6]), "+f"(d[i + 7])
#define ACC_16(d, i) ACC_8(d, i), ACC_8(d, i + 8)
#define ACC_32(d) ACC_16(d, 0), ACC_16(d, 16)
#define ACC_48(d) ACC_32(d), ACC_16(d, 32)
#define ACC_64(d) ACC_48(d), ACC_16(d, 48)
#define ACC_96(d) ACC_64(d), ACC_16(d, 64), ACC_16(d, 80)
#define ACC_128(d) ACC_96(d), ACC_16(d, 96), ACC_16(d, 112)

template <int N, typename T> struct wgmma; /* wgmma<N, T>::ss, ::rs */

/* d ← a · bᵀ (+ d): a [64, 16] by descriptor, columns contiguous; b [N, 16] likewise.
 * d ← a · b (+ d): a [64, 16] in registers; b [16, N] by descriptor, columns contiguous (the "transposed" B). */
#define WGMMA(N, REGS, TYPE, NAME, R0, R1, R2, R3, R4, R5)                                                                                              \
    template <> struct wgmma<N, TYPE> {                                                                                                                 \
        static __device__ __forceinline__ void ss(float (&d)[REGS], uint32_t a, uint32_t b, int accumulate) {                                           \
            asm volatile("{\n.reg .pred p;\nsetp.ne.b32 p, %" #R2 ", 0;\n"                                                                              \
                         "wgmma.mma_async.sync.aligned.m64n" #N "k16.f32." NAME "." NAME " " REGS_##REGS ", %" #R0 ", %" #R1 ", p, 1, 1, 0, 0;\n}"      \
                         : ACC_##REGS(d)                                                                                                                \
                         : "l"(whole_descriptor(a)), "l"(whole_descriptor(b)), "r"(accumulate));                                              \
        }                                                                                                                                               \
        static __device__ __forceinline__ void rs(float (&d)[REGS], const uint32_t *a, uint32_t b, int accumulate) {                                    \
            asm volatile("{\n.reg .pred p;\nsetp.ne.b32 p, %" #R5 ", 0;\n"                                                                              \
                         "wgmma.mma_async.sync.aligned.m64n" #N "k16.f32." NAME "." NAME " " REGS_##REGS ", {%" #R0 ", %" #R1 ", %" #R2 ", %" #R3       \
                         "}, %" #R4 ", p, 1, 1, 1;\n}"                                                                                                  \
                         : ACC_##REGS(d)                                                                                                                \
                         : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(whole_descriptor(b)), "r"(accumulate));                                      \
        }                                                                                                                                               \
    };
#define WGMMA_TYPES(N, REGS, ...)                                                                                                                       \
    WGMMA(N, REGS, __nv_bfloat16, "bf16", __VA_ARGS__)                                                                                                  \
    WGMMA(N, REGS, __half, "f16", __VA_ARGS__)

WGMMA_TYPES(64, 32, 32, 33, 34, 35, 36, 37)
WGMMA_TYPES(128, 64, 64, 65, 66, 67, 68, 69)
WGMMA_TYPES(192, 96, 96, 97, 98, 99, 100, 101)
WGMMA_TYPES(256, 128, 128, 129, 130, 131, 132, 133)

#undef WGMMA_TYPES
#undef WGMMA

} // namespace sm90
