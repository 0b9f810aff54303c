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
    int64_t x_s, x_h, y_s, y_h, cos_s, sin_s;
    const float *weight, *bias, *cosine, *sine;
    const float *positions, *frequencies; /* in the place of cosine and sine */
    int64_t positions_s, frequencies_axis, frequencies_h;
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

static __device__ __forceinline__ bool turns(const head_rows &r) {
    return r.cosine || r.positions;
}

/* At position p [3], of a pair with these frequencies: rounded as PyTorch rounds it, because angles reach hundreds. */
static __device__ __forceinline__ float angle_of(const float *p, float f0, float f1, float f2) {
    return fmaf(p[2], f2, fmaf(p[1], f1, __fmul_rn(p[0], f0)));
}

/* Of the token's pair, and cos and sin of it. */
static __device__ __forceinline__ void turn_of(const head_rows &r, int64_t s, int64_t h, int pair, float *cosine, float *sine) {
    const float *f = r.frequencies + h * r.frequencies_h + pair;
    sincosf(angle_of(r.positions + s * r.positions_s, f[0], f[r.frequencies_axis], f[2 * r.frequencies_axis]), sine, cosine);
}

static __device__ __forceinline__ void read_tables(const head_rows &r, int64_t s, int at, head_vectors &v) {
    if (!r.cosine) return;
    para_load(v.cosine, r.cosine, PARA_F32, s * r.cos_s + at);
    para_load(v.sine, r.sine, PARA_F32, s * r.sin_s + at);
}

static __device__ __forceinline__ void compute_tables(const head_rows &r, int64_t s, int64_t h, int at, head_vectors &v) {
#pragma unroll 1
    for (int i = 0; i < 8; i++) {
        int pair = r.interleaved ? (at + i) / 2 : (at + i) % (r.d / 2);
        float sine, cosine;
        turn_of(r, s, h, pair, &cosine, &sine);
#pragma unroll
        for (int j = 0; j < 8; j++)
            if (j == i) v.cosine[j] = cosine, v.sine[j] = sine;
    }
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
    if (!turns(r)) return;
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
    if (r.positions) compute_tables(r, s, h, at, v);
    else read_tables(r, s, at, v);
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
    read_tables(r, s, at, v);
    int64_t to = s * r.y_s + h * r.y_h + at;
#pragma unroll
    for (int j = 0; j < HEADS; j++) {
        float x[8];
        para_load(x, bits + j, r.type, 0);
        turn_row<LANES>(r, x, v);
        if (j < heads) para_store(place_of(r, h + j), r.type, to + j * r.y_h, x);
    }
}

/* sincosf as it stands: what it does with angles from FAR on takes registers and a place in the instruction cache that the others, which it folds away
 * below a comparison with that number, do without. */
constexpr float FAR = 105615;

static __device__ __noinline__ float2 far_turn(float angle) {
    float2 turn;
    sincosf(angle, &turn.y, &turn.x);
    return turn;
}

static __device__ __forceinline__ void turns_by(const float (&angle)[4], float (&cosine)[8], float (&sine)[8]) {
    if (fabsf(angle[0]) >= FAR || fabsf(angle[1]) >= FAR || fabsf(angle[2]) >= FAR || fabsf(angle[3]) >= FAR) {
#pragma unroll
        for (int i = 0; i < 4; i++) {
            float2 turn = far_turn(angle[i]);
            cosine[2 * i] = turn.x, sine[2 * i] = turn.y;
        }
    } else {
#pragma unroll
        for (int i = 0; i < 4; i++) sincosf(angle[i], sine + 2 * i, cosine + 2 * i);
    }
#pragma unroll
    for (int i = 1; i < 8; i += 2) cosine[i] = cosine[i - 1], sine[i] = sine[i - 1];
}

/* Many rows of heads with frequencies of their own, RMS norm and pairs of neighbours: a head of TOKENS tokens, one after the other, to LANES threads, which
 * keep its frequencies; threads of the token's other heads are beside them. Tables of cos and sin would be twice what x and y are, read and written: 586 MB for
 * the 23,850 tokens of Mochi's own size, 0.15 ms at 4 TB/s. Their 37 million pairs are 1.1 billion instructions, 0.04 ms at the 3e13 in a second that an H200
 * can start, and go on beside the reading. */
constexpr int TOKENS = 8;

template <int LANES> static __global__ void __launch_bounds__(256) own_heads_kernel(const __grid_constant__ head_rows r, unsigned tokens) {
    head_rows known = r; /* some of it here already, so that turn_row becomes shorter */
    known.type = r.type == PARA_BF16 ? PARA_BF16 : PARA_F16, known.d = 8 * LANES, known.centred = false, known.bias = nullptr, known.interleaved = true;
    unsigned group = (blockIdx.x * 256 + threadIdx.x) / LANES, piece = group / r.h, h = group - piece * r.h, first = piece * TOKENS;
    int at = threadIdx.x % LANES * 8;
    head_vectors v;
    read_norm(known, at, v);
    float4 f[3];
#pragma unroll
    for (int a = 0; a < 3; a++) f[a] = *reinterpret_cast<const float4 *>(r.frequencies + a * r.frequencies_axis + h * r.frequencies_h + at / 2);
    const unsigned short *from = static_cast<const unsigned short *>(r.x) + h * r.x_h + at;
    void *to = place_of(r, (int)h);
    uint4 next = first < tokens ? *reinterpret_cast<const uint4 *>(from + first * r.x_s) : make_uint4(0, 0, 0, 0);
#pragma unroll 1
    for (unsigned s = first; s < first + TOKENS; s++) { /* lanes of a warp need each other to the end */
        uint4 bits = next;
        if (s + 1 < tokens) next = *reinterpret_cast<const uint4 *>(from + (s + 1) * r.x_s);
        const float *p = r.positions + (s < tokens ? s : 0) * r.positions_s;
        const float angle[4] = {angle_of(p, f[0].x, f[1].x, f[2].x), angle_of(p, f[0].y, f[1].y, f[2].y), angle_of(p, f[0].z, f[1].z, f[2].z),
                                angle_of(p, f[0].w, f[1].w, f[2].w)};
        turns_by(angle, v.cosine, v.sine);
        float x[8];
        para_load(x, &bits, known.type, 0);
        turn_row<LANES>(known, x, v);
        if (s < tokens) para_store(to, known.type, s * r.y_s + h * r.y_h + at, x);
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
    const float *cosine = r.cosine + s * r.cos_s, *sine = r.sine + s * r.sin_s;
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
    for (int i = lane; i < (turns(r) ? r.d / 2 : r.d); i += 32) {
        int a = turns(r) && r.interleaved ? 2 * i : i, b = r.interleaved ? a + 1 : a + r.d / 2;
        float f[1], g[1], turned[1];
        para_load(f, r.x, r.type, from + a);
        f[0] = normed(r, f[0], mean, factor, a);
        if (turns(r)) {
            float cos_a, sin_a, cos_b, sin_b;
            if (r.cosine) cos_a = cosine[a], sin_a = sine[a], cos_b = cosine[b], sin_b = sine[b];
            else {
                turn_of(r, s, h, i, &cos_a, &sin_a);
                cos_b = cos_a, sin_b = sin_a;
            }
            para_load(g, r.x, r.type, from + b);
            g[0] = normed(r, g[0], mean, factor, b);
            turned[0] = g[0] * cos_b + f[0] * sin_b;
            f[0] = f[0] * cos_a - g[0] * sin_a;
            para_store(y, r.type, to + b, turned);
        }
        para_store(y, r.type, to + a, f);
    }
}

/* False, and nothing is started, where there is too little to do, or rows are not of two-byte elements. */
template <int LANES> static bool launch_heads(const head_rows &r, cudaStream_t stream) {
    int64_t tokens = r.rows / r.h, groups = (r.h + HEADS - 1) / HEADS, threads = tokens * groups * LANES;
    if (r.type == PARA_F32 || r.rows < 4096 || threads >= 1u << 31) return false;
    if (r.positions) {
        int64_t own_threads = (tokens + TOKENS - 1) / TOKENS * r.h * LANES;
        if (!r.interleaved || r.centred || r.bias) return false;
        own_heads_kernel<LANES><<<(unsigned)((own_threads + 255) / 256), 256, 0, stream>>>(r, (unsigned)tokens);
        return true;
    }
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
    r.cosine = static_cast<const float *>(a->cos.data), r.cos_s = a->cos.stride[0];
    r.sine = static_cast<const float *>(a->sin.data), r.sin_s = a->sin.stride[0];
    r.positions = static_cast<const float *>(a->positions.data), r.positions_s = a->positions.stride[0];
    r.frequencies = static_cast<const float *>(a->frequencies.data), r.frequencies_axis = a->frequencies.stride[0], r.frequencies_h = a->frequencies.stride[1];
    eight = eight && para_cuda_at_16(r.x) && para_cuda_at_16(r.weight) && para_cuda_at_16(r.bias) && para_cuda_at_16(r.cosine) &&
                 para_cuda_at_16(r.sine) && para_cuda_at_16(r.frequencies) &&
                 (r.x_s | r.x_h | r.y_s | r.y_h | r.cos_s | r.sin_s | 2 * r.frequencies_axis | 2 * r.frequencies_h) % 8 == 0;
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
