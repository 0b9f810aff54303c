/* Norm over the head dimension, rotary embedding and head layout in one pass. SPDX-License-Identifier: Apache-2.0 */
#include "backend/cuda/cuda_kernels.h"
#include "backend/cuda/cuda_load.cuh"
#include "backend/cuda/cuda_math.cuh"

struct head_rows {
    para_dtype type;
    int h, d;
    int64_t rows; /* S · H */
    const void *x;
    int parts;                  /* of y, places that may be of other GPUs, at least 1 */
    int end[PARA_MOST_PLACES];  /* the head after the last of each */
    void *y[PARA_MOST_PLACES];  /* where the head 0 would be if it were in that part */
    int64_t x_s, x_h, y_s, y_h, cos_s, cos_h, sin_s, sin_h; /* cos_h, sin_h: 0 where all heads have one table */
    const float *weight, *bias, *cosine, *sine;
    float eps;
    bool centred, interleaved;
};

/* Where head h goes. */
static __device__ __forceinline__ void *place_of(const head_rows &r, int h) {
    int part = 0;
    while (part + 1 < r.parts && h >= r.end[part]) part++;
    return r.y[part];
}

/* Vectors of a head, 8 elements of each. */
struct head_vectors {
    float weight[8], bias[8], cosine[8], sine[8];
};

static __device__ __forceinline__ void read_norm(const head_rows &r, int at, head_vectors &v) {
    if (r.weight) para_load(v.weight, r.weight, PARA_F32, at);
    if (r.bias) para_load(v.bias, r.bias, PARA_F32, at);
}

static __device__ __forceinline__ void read_rotation(const head_rows &r, int64_t s, int64_t h, int at, head_vectors &v) {
    if (!r.cosine) return;
    para_load(v.cosine, r.cosine, PARA_F32, s * r.cos_s + h * r.cos_h + at);
    para_load(v.sine, r.sine, PARA_F32, s * r.sin_s + h * r.sin_h + at);
}

/* The row x, of which LANES neighbouring threads hold 8 elements each, normed and turned in place. All threads of a warp call it. */
template <int LANES> static __device__ __forceinline__ void turn_row(const head_rows &r, float (&x)[8], const head_vectors &v) {
    if (r.weight) {
        float sum = 0;
        if (r.centred) {
#pragma unroll
            for (int i = 0; i < 8; i++) sum += x[i];
            float mean = para_warp_sum<LANES>(sum) / r.d;
#pragma unroll
            for (int i = 0; i < 8; i++) x[i] -= mean;
            sum = 0;
        }
#pragma unroll
        for (int i = 0; i < 8; i++) sum = fmaf(x[i], x[i], sum);
        float factor = rsqrtf(para_warp_sum<LANES>(sum) / r.d + r.eps);
#pragma unroll
        for (int i = 0; i < 8; i++) x[i] *= factor * v.weight[i];
        if (r.bias) {
#pragma unroll
            for (int i = 0; i < 8; i++) x[i] += v.bias[i];
        }
    }
    if (!r.cosine) return;
    float turned[8];
#pragma unroll
    for (int i = 0; i < 8; i++) {
        if (r.interleaved) turned[i] = i % 2 ? x[i - 1] : -x[i + 1];
        else {
            float other = __shfl_xor_sync(0xffffffffu, x[i], LANES / 2);
            turned[i] = threadIdx.x % LANES < LANES / 2 ? -other : other;
        }
    }
#pragma unroll
    for (int i = 0; i < 8; i++) x[i] = fmaf(turned[i], v.sine[i], x[i] * v.cosine[i]);
}

template <int LANES> static __global__ void head_kernel(const __grid_constant__ head_rows r) {
    int64_t row = ((int64_t)blockIdx.x * blockDim.x + threadIdx.x) / LANES;
    int at = threadIdx.x % LANES * 8;
    bool here = row < r.rows;
    int64_t s = here ? row / r.h : 0, h = here ? row % r.h : 0;
    float x[8];
    head_vectors v;
    para_load(x, r.x, r.type, s * r.x_s + h * r.x_h + at);
    read_norm(r, at, v);
    read_rotation(r, s, h, at, v);
    turn_row<LANES>(r, x, v);
    if (here) para_store(place_of(r, (int)h), r.type, s * r.y_s + h * r.y_h + at, x);
}

/* Many rows of one table: HEADS heads of a token to LANES threads, so that the table is read once for them. Threads of the token's other heads are beside
 * them, and find it in the cache. */
constexpr int HEADS = 4;

template <int LANES> static __global__ void __launch_bounds__(256) heads_kernel(const __grid_constant__ head_rows r, unsigned groups, unsigned tokens) {
    unsigned group = (blockIdx.x * 256 + threadIdx.x) / LANES, s = group / groups;
    int at = threadIdx.x % LANES * 8, h = (int)(group - s * groups) * HEADS, heads = s < tokens ? r.h - h : 0;
    if (s >= tokens) s = 0; /* lanes of a warp need each other to the end */
    uint4 bits[HEADS];
    head_vectors v;
    const unsigned short *from = static_cast<const unsigned short *>(r.x) + s * r.x_s + h * r.x_h + at;
#pragma unroll
    for (int j = 0; j < HEADS; j++) bits[j] = j < heads ? *reinterpret_cast<const uint4 *>(from + j * r.x_h) : make_uint4(0, 0, 0, 0);
    read_norm(r, at, v);
    read_rotation(r, s, 0, at, v);
    int64_t to = s * r.y_s + h * r.y_h + at;
#pragma unroll
    for (int j = 0; j < HEADS; j++) {
        float x[8];
        para_load(x, bits + j, r.type, 0);
        turn_row<LANES>(r, x, v);
        if (j < heads) para_store(place_of(r, h + j), r.type, to + j * r.y_h, x);
    }
}

/* The i-th element of a head. */
static __device__ float normed(const head_rows &r, float x, float mean, float factor, int i) {
    if (!r.weight) return x;
    x = (x - mean) * (factor * r.weight[i]);
    return r.bias ? x + r.bias[i] : x;
}

/* Any width and alignment: a warp for each row; a lane reads the elements that are turned into each other before it writes them. */
static __global__ void head_plain_kernel(const __grid_constant__ head_rows r) {
    int64_t row = ((int64_t)blockIdx.x * blockDim.x + threadIdx.x) / 32;
    int lane = threadIdx.x % 32;
    if (row >= r.rows) return;
    int64_t s = row / r.h, h = row % r.h, from = s * r.x_s + h * r.x_h, to = s * r.y_s + h * r.y_h;
    void *y = place_of(r, (int)h);
    const float *cosine = r.cosine + s * r.cos_s + h * r.cos_h, *sine = r.sine + s * r.sin_s + h * r.sin_h;
    float mean = 0, factor = 1, sum = 0;
    if (r.weight) {
        for (int i = lane; r.centred && i < r.d; i += 32) {
            float f[1];
            para_load(f, r.x, r.type, from + i);
            mean += f[0];
        }
        if (r.centred) mean = para_warp_sum(mean) / r.d;
        for (int i = lane; i < r.d; i += 32) {
            float f[1];
            para_load(f, r.x, r.type, from + i);
            f[0] -= mean;
            sum = fmaf(f[0], f[0], sum);
        }
        factor = 1 / sqrtf(para_warp_sum(sum) / r.d + r.eps);
    }
    for (int i = lane; i < (r.cosine ? r.d / 2 : r.d); i += 32) {
        int a = r.cosine && r.interleaved ? 2 * i : i, b = r.interleaved ? a + 1 : a + r.d / 2;
        float f[1], g[1], turned[1];
        para_load(f, r.x, r.type, from + a);
        f[0] = normed(r, f[0], mean, factor, a);
        if (r.cosine) {
            para_load(g, r.x, r.type, from + b);
            g[0] = normed(r, g[0], mean, factor, b);
            turned[0] = g[0] * cosine[b] + f[0] * sine[b];
            f[0] = f[0] * cosine[a] - g[0] * sine[a];
            para_store(y, r.type, to + b, turned);
        }
        para_store(y, r.type, to + a, f);
    }
}

/* False, and nothing is started, where there is too little to do, heads have their own tables, or rows are not of two-byte elements. */
template <int LANES> static bool launch_heads(const head_rows &r, cudaStream_t stream) {
    int64_t tokens = r.rows / r.h, groups = (r.h + HEADS - 1) / HEADS, threads = tokens * groups * LANES;
    if (r.type == PARA_F32 || r.cos_h || r.sin_h || r.rows < 4096 || threads >= 1u << 31) return false;
    heads_kernel<LANES><<<(unsigned)((threads + 255) / 256), 256, 0, stream>>>(r, (unsigned)groups, (unsigned)tokens);
    return true;
}

/* Parts lie alike but for where they begin. Whether all begin at 16 bytes. */
static bool put_places(head_rows &r, const para_head_args *a) {
    const para_tensor *part = a->parts ? a->part : &a->y;
    int heads = 0;
    bool at_16 = true;
    r.parts = a->parts ? a->parts : 1;
    r.y_s = part->stride[1], r.y_h = part->stride[0];
    for (int i = 0; i < r.parts; i++) {
        r.y[i] = static_cast<char *>(part[i].data) - heads * r.y_h * (int64_t)para_dtype_size(r.type);
        at_16 = at_16 && para_cuda_at_16(part[i].data);
        r.end[i] = heads += (int)part[i].dim[0];
    }
    return at_16;
}

void para_cuda_launch_head(const para_head_args *a, cudaStream_t stream) {
    head_rows r = {};
    r.type = a->x.dtype, r.h = (int)a->x.dim[1], r.d = (int)a->x.dim[2], r.rows = a->x.dim[0] * a->x.dim[1];
    r.x = a->x.data, r.x_s = a->x.stride[0], r.x_h = a->x.stride[1];
    bool eight = put_places(r, a);
    r.weight = static_cast<const float *>(a->weight.data), r.bias = static_cast<const float *>(a->bias.data);
    r.eps = a->eps, r.centred = a->layer_norm, r.interleaved = a->rope_interleaved;
    r.cosine = static_cast<const float *>(a->cos.data), r.cos_s = a->cos.stride[0], r.cos_h = a->cos.rank == 3 ? a->cos.stride[1] : 0;
    r.sine = static_cast<const float *>(a->sin.data), r.sin_s = a->sin.stride[0], r.sin_h = a->sin.rank == 3 ? a->sin.stride[1] : 0;
    eight = eight && para_cuda_at_16(r.x) && para_cuda_at_16(r.weight) && para_cuda_at_16(r.bias) && para_cuda_at_16(r.cosine) &&
                 para_cuda_at_16(r.sine) && (r.x_s | r.x_h | r.y_s | r.y_h | r.cos_s | r.cos_h | r.sin_s | r.sin_h) % 8 == 0;
    int lanes = eight ? r.d / 8 : 0;
    if (lanes * 8 != r.d || lanes < 2 || lanes > 32 || (lanes & (lanes - 1))) lanes = 0; /* the others have a warp to a row */
    if ((lanes == 16 && launch_heads<16>(r, stream)) || (lanes == 8 && launch_heads<8>(r, stream))) return;
    unsigned blocks = (unsigned)((r.rows * (lanes ? lanes : 32) + 255) / 256);
    switch (lanes) {
    case 2: head_kernel<2><<<blocks, 256, 0, stream>>>(r); break;
    case 4: head_kernel<4><<<blocks, 256, 0, stream>>>(r); break;
    case 8: head_kernel<8><<<blocks, 256, 0, stream>>>(r); break;
    case 16: head_kernel<16><<<blocks, 256, 0, stream>>>(r); break;
    case 32: head_kernel<32><<<blocks, 256, 0, stream>>>(r); break;
    default: head_plain_kernel<<<blocks, 256, 0, stream>>>(r); break;
    }
}
