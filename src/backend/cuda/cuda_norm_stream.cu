/* Norm, modulation and gated residual of many rows of a transformer's width: a block keeps the vectors in registers and goes from row to row, the next rows
 * on their way while it works on one. SPDX-License-Identifier: Apache-2.0 */
#include "backend/cuda/cuda_load.cuh"
#include "backend/cuda/cuda_math.cuh"
#include "backend/cuda/cuda_norm.cuh"
#include "backend/cuda/cuda_ring.cuh"

/* Mean of so many numbers, and the sum of their squared distances from it; with `rms` the mean stays 0. */
struct moments {
    float mean, squares;
};

/* Of the block's numbers, 8 of each thread; all warps are whole. A warp's own mean first, so that nothing cancels where all numbers lie far from 0.
 * room [32]: not that of the call before. */
static __device__ __forceinline__ moments block_moments(const float (&x)[8], bool rms, moments *room) {
    float sum = 0, squares = 0, mean = 0;
    int warps = blockDim.x / 32, lane = threadIdx.x % 32;
    if (!rms) {
#pragma unroll
        for (int i = 0; i < 8; i++) sum += x[i];
        mean = para_warp_sum(sum) * (1.0f / 256);
    }
#pragma unroll
    for (int i = 0; i < 8; i++) squares = fmaf(x[i] - mean, x[i] - mean, squares);
    squares = para_warp_sum(squares);
    if (lane == 0) room[threadIdx.x / 32] = {mean, squares};
    __syncthreads();
    moments own = lane < warps ? room[lane] : moments{0, 0};
    float all = rms ? 0 : __fdividef(para_warp_sum(own.mean), warps), apart = lane < warps ? own.mean - all : 0;
    return {all, para_warp_sum(fmaf(256 * apart, apart, own.squares))};
}

/* y = (x - mean) / deviation · by + plus, of the thread's 8 columns. */
static __device__ __forceinline__ void read_vectors(const para_norm_rows &r, int at, float (&gate)[8], float (&by)[8], float (&plus)[8]) {
    float v[8];
#pragma unroll
    for (int i = 0; i < 8; i++) gate[i] = by[i] = 1, plus[i] = 0;
    if (r.gate) para_load(gate, r.gate, PARA_F32, at);
    if (r.weight) para_load(by, r.weight, PARA_F32, at);
    if (r.bias) para_load(plus, r.bias, PARA_F32, at);
    if (r.scale) {
        para_load(v, r.scale, PARA_F32, at);
#pragma unroll
        for (int i = 0; i < 8; i++) by[i] *= 1 + v[i], plus[i] *= 1 + v[i];
    }
    if (r.shift) {
        para_load(v, r.shift, PARA_F32, at);
#pragma unroll
        for (int i = 0; i < 8; i++) plus[i] += v[i];
    }
}

constexpr int STAGES = 4;
typedef para_ring<2, STAGES> ring;

static __device__ __forceinline__ void begin_row(const ring &ahead, const para_norm_rows &r, int64_t row, int stage, int at) {
    if (row < r.rows) {
        ahead.fetch(stage, 0, static_cast<const unsigned short *>(r.x) + row * r.x_row + at);
        if (r.add) ahead.fetch(stage, 1, static_cast<const unsigned short *>(r.add) + row * r.add_row + at);
    }
    ahead.end_piece();
}

static __global__ void __launch_bounds__(512, 2) norm_stream_kernel(const __grid_constant__ para_norm_rows r) {
    extern __shared__ uint4 memory[];
    __shared__ moments room[2][32];
    ring ahead = {memory + threadIdx.x};
    int at = threadIdx.x * 8;
    for (int i = 0; i < STAGES - 1; i++) begin_row(ahead, r, blockIdx.x + (int64_t)i * gridDim.x, i, at);
    float gate[8], by[8], plus[8];
    read_vectors(r, at, gate, by, plus);
    int n = 0, sums = 0;
    for (int64_t row = blockIdx.x; row < r.rows; row += gridDim.x, n++) {
        float x[8], v[8];
        int stage = n % STAGES;
        ahead.wait();
        para_load(x, ahead.at(stage, 0), r.type, 0);
        if (r.add) {
            para_load(v, ahead.at(stage, 1), r.type, 0);
            if (r.add_rms) {
                float factor = rsqrtf(__fdividef(block_moments(v, true, room[sums++ % 2]).squares, r.d) + r.add_eps);
#pragma unroll
                for (int i = 0; i < 8; i++) v[i] *= factor;
            }
#pragma unroll
            for (int i = 0; i < 8; i++) x[i] = para_rounded(fmaf(gate[i], v[i], x[i]), r.type);
            para_store(r.x, r.type, row * r.x_row + at, x);
        }
        begin_row(ahead, r, row + (STAGES - 1) * (int64_t)gridDim.x, (n + STAGES - 1) % STAGES, at);
        moments m = block_moments(x, r.rms, room[sums++ % 2]);
        float factor = rsqrtf(__fdividef(m.squares, r.d) + r.eps);
#pragma unroll
        for (int i = 0; i < 8; i++) x[i] = fmaf((x[i] - m.mean) * factor, by[i], plus[i]);
        para_store(r.y, r.type, row * r.y_row + at, x);
    }
}

bool para_cuda_launch_norm_stream(const para_norm_rows *r, bool eight, cudaStream_t stream) {
    if (!eight || !r->y || r->type == PARA_F32 || r->d % 256 || r->d > 4096 || r->rows < 256) return false;
    int threads = r->d / 8, blocks = para_cuda_blocks_at_once(norm_stream_kernel, threads, ring::bytes(threads));
    if (blocks == 0) return false;
    int64_t rounds = (r->rows + blocks - 1) / blocks; /* as many rows for each block as for the next */
    norm_stream_kernel<<<(unsigned)((r->rows + rounds - 1) / rounds), threads, ring::bytes(threads), stream>>>(*r);
    return true;
}
