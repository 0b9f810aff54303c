/* Norm over the head dimension, rotary embedding and head layout in one pass. SPDX-License-Identifier: Apache-2.0 */
#include <cstring>

#include "backend/cuda/cuda_kernels.h"
#include "backend/cuda/cuda_load.cuh"
#include "backend/cuda/cuda_math.cuh"

/* What all operands of a launch have alike. Nothing lies between the fields: two of these are compared as bytes. */
struct head_rows {
    int64_t rows; /* S · H */
    int64_t x_s, x_h, y_s, y_h, cos_s, sin_s;
    const float *cosine, *sine;
    const float *positions, *frequencies; /* in the place of cosine and sine */
    int64_t positions_s, frequencies_axis, frequencies_h;
    para_dtype type;
    int h, d;
    unsigned tokens;           /* S */
    int lanes;                 /* threads to a row, 8 elements of it to each; 0: it does not lie like that */
    int parts;                 /* of y, places that may be of other GPUs, at least 1 */
    int end[PARA_MOST_PLACES]; /* the head after the last of each */
    float eps;
    int normed, centred, interleaved; /* normed: an operand is, and eps and centred are its */
};
static_assert(sizeof(head_rows) == 14 * 8 + 26 * 4, "no padding");

/* And what each has of its own. */
struct head_operand {
    const void *x;
    void *y[PARA_MOST_PLACES]; /* where the head 0 would be if it were in that part */
    const float *weight, *bias;
    bool turns;
};

/* Blocks (x, i) are of operand i. What they share stays a constant of the instructions that use it; only the operand's own is looked up. */
struct head_launch {
    head_rows rows;
    head_operand of[PARA_OPERANDS];
    int n;
};

/* Where head h goes. */
static __device__ __forceinline__ void *place_of(const head_rows &r, const head_operand &o, int h) {
    int part = 0;
    while (part + 1 < r.parts && h >= r.end[part]) part++;
    return o.y[part];
}

/* Vectors of a head, 8 elements of each. */
struct head_vectors {
    float weight[8], bias[8], cosine[8], sine[8];
};

static __device__ __forceinline__ void read_norm(const head_operand &o, int at, head_vectors &v) {
    if (o.weight) para_load(v.weight, o.weight, PARA_F32, at);
    if (o.bias) para_load(v.bias, o.bias, PARA_F32, at);
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
template <int LANES> static __device__ __forceinline__ void turn_row(const head_rows &r, const head_operand &o, float (&x)[8], const head_vectors &v) {
    if (o.weight) {
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
        if (o.bias) {
#pragma unroll
            for (int i = 0; i < 8; i++) x[i] += v.bias[i];
        }
    }
    if (!o.turns) return;
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

template <int LANES> static __global__ void head_kernel(const __grid_constant__ head_launch l) {
    const head_rows &r = l.rows;
    const head_operand &o = l.of[blockIdx.y];
    int64_t row = ((int64_t)blockIdx.x * blockDim.x + threadIdx.x) / LANES;
    int at = threadIdx.x % LANES * 8;
    bool here = row < r.rows;
    int64_t s = here ? row / r.h : 0, h = here ? row % r.h : 0;
    float x[8];
    head_vectors v;
    para_load(x, o.x, r.type, s * r.x_s + h * r.x_h + at);
    read_norm(o, at, v);
    if (o.turns && r.positions) compute_tables(r, s, h, at, v);
    else if (o.turns) read_tables(r, s, at, v);
    turn_row<LANES>(r, o, x, v);
    if (here) para_store(place_of(r, o, (int)h), r.type, s * r.y_s + h * r.y_h + at, x);
}

/* Many rows of one table: HEADS heads of a token to LANES threads, so that the table is read once for them. Threads of the token's other heads are beside
 * them, and find it in the cache. */
constexpr int HEADS = 4;

template <int LANES> static __global__ void __launch_bounds__(256) heads_kernel(const __grid_constant__ head_launch l, unsigned groups) {
    const head_rows &r = l.rows;
    const head_operand &o = l.of[blockIdx.y];
    unsigned group = (blockIdx.x * 256 + threadIdx.x) / LANES, s = group / groups;
    int at = threadIdx.x % LANES * 8, h = (int)(group - s * groups) * HEADS, heads = s < r.tokens ? r.h - h : 0;
    if (s >= r.tokens) s = 0; /* lanes of a warp need each other to the end */
    uint4 bits[HEADS];
    head_vectors v;
    const unsigned short *from = static_cast<const unsigned short *>(o.x) + s * r.x_s + h * r.x_h + at;
#pragma unroll
    for (int j = 0; j < HEADS; j++) bits[j] = j < heads ? *reinterpret_cast<const uint4 *>(from + j * r.x_h) : make_uint4(0, 0, 0, 0);
    read_norm(o, at, v);
    if (o.turns) read_tables(r, s, at, v);
    int64_t to = s * r.y_s + h * r.y_h + at;
#pragma unroll
    for (int j = 0; j < HEADS; j++) {
        float x[8];
        para_load(x, bits + j, r.type, 0);
        turn_row<LANES>(r, o, x, v);
        if (j < heads) para_store(place_of(r, o, h + j), r.type, to + j * r.y_h, x);
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

template <int LANES> static __global__ void __launch_bounds__(256) own_heads_kernel(const __grid_constant__ head_launch l) {
    const head_rows &r = l.rows;
    const head_operand &o = l.of[blockIdx.y];
    head_rows known = r; /* some of it here already, so that turn_row becomes shorter */
    head_operand bare = {};
    bare.weight = o.weight, bare.turns = o.turns;
    known.type = r.type == PARA_BF16 ? PARA_BF16 : PARA_F16, known.d = 8 * LANES, known.centred = false, known.interleaved = true;
    unsigned group = (blockIdx.x * 256 + threadIdx.x) / LANES, piece = group / r.h, h = group - piece * r.h, first = piece * TOKENS;
    int at = threadIdx.x % LANES * 8;
    head_vectors v;
    read_norm(o, at, v);
    float4 f[3];
#pragma unroll
    for (int a = 0; a < 3; a++) f[a] = *reinterpret_cast<const float4 *>(r.frequencies + a * r.frequencies_axis + h * r.frequencies_h + at / 2);
    const unsigned short *from = static_cast<const unsigned short *>(o.x) + h * r.x_h + at;
    void *to = place_of(r, o, (int)h);
    uint4 next = first < r.tokens ? *reinterpret_cast<const uint4 *>(from + first * r.x_s) : make_uint4(0, 0, 0, 0);
#pragma unroll 1
    for (unsigned s = first; s < first + TOKENS; s++) { /* lanes of a warp need each other to the end */
        uint4 bits = next;
        if (s + 1 < r.tokens) next = *reinterpret_cast<const uint4 *>(from + (s + 1) * r.x_s);
        const float *p = r.positions + (s < r.tokens ? s : 0) * r.positions_s;
        const float angle[4] = {angle_of(p, f[0].x, f[1].x, f[2].x), angle_of(p, f[0].y, f[1].y, f[2].y), angle_of(p, f[0].z, f[1].z, f[2].z),
                                angle_of(p, f[0].w, f[1].w, f[2].w)};
        if (o.turns) turns_by(angle, v.cosine, v.sine);
        float x[8];
        para_load(x, &bits, known.type, 0);
        turn_row<LANES>(known, bare, x, v);
        if (s < r.tokens) para_store(to, known.type, s * r.y_s + h * r.y_h + at, x);
    }
}

/* The i-th element of a head. */
static __device__ float normed(const head_operand &o, float x, float mean, float factor, int i) {
    if (!o.weight) return x;
    x = (x - mean) * (factor * o.weight[i]);
    return o.bias ? x + o.bias[i] : x;
}

/* Any width and alignment: a warp for each row; a lane reads the elements that are turned into each other before it writes them. */
static __global__ void head_plain_kernel(const __grid_constant__ head_launch l) {
    const head_rows &r = l.rows;
    const head_operand &o = l.of[blockIdx.y];
    int64_t row = ((int64_t)blockIdx.x * blockDim.x + threadIdx.x) / 32;
    int lane = threadIdx.x % 32;
    if (row >= r.rows) return;
    int64_t s = row / r.h, h = row % r.h, from = s * r.x_s + h * r.x_h, to = s * r.y_s + h * r.y_h;
    void *y = place_of(r, o, (int)h);
    const float *cosine = r.cosine + s * r.cos_s, *sine = r.sine + s * r.sin_s;
    float mean = 0, factor = 1, sum = 0;
    if (o.weight) {
        for (int i = lane; r.centred && i < r.d; i += 32) {
            float f[1];
            para_load(f, o.x, r.type, from + i);
            mean += f[0];
        }
        if (r.centred) mean = para_warp_sum(mean) / r.d;
        for (int i = lane; i < r.d; i += 32) {
            float f[1];
            para_load(f, o.x, r.type, from + i);
            f[0] -= mean;
            sum = fmaf(f[0], f[0], sum);
        }
        factor = 1 / sqrtf(para_warp_sum(sum) / r.d + r.eps);
    }
    for (int i = lane; i < (o.turns ? r.d / 2 : r.d); i += 32) {
        int a = o.turns && r.interleaved ? 2 * i : i, b = r.interleaved ? a + 1 : a + r.d / 2;
        float f[1], g[1], turned[1];
        para_load(f, o.x, r.type, from + a);
        f[0] = normed(o, f[0], mean, factor, a);
        if (o.turns) {
            float cos_a, sin_a, cos_b, sin_b;
            if (r.cosine) cos_a = cosine[a], sin_a = sine[a], cos_b = cosine[b], sin_b = sine[b];
            else {
                turn_of(r, s, h, i, &cos_a, &sin_a);
                cos_b = cos_a, sin_b = sin_a;
            }
            para_load(g, o.x, r.type, from + b);
            g[0] = normed(o, g[0], mean, factor, b);
            turned[0] = g[0] * cos_b + f[0] * sin_b;
            f[0] = f[0] * cos_a - g[0] * sin_a;
            para_store(y, r.type, to + b, turned);
        }
        para_store(y, r.type, to + a, f);
    }
}

/* False, and nothing is started, where there is too little to do, or rows are not of two-byte elements. */
template <int LANES> static bool launch_heads(const head_launch &l, cudaStream_t stream) {
    const head_rows &r = l.rows;
    int64_t groups = (r.h + HEADS - 1) / HEADS, threads = r.tokens * groups * LANES;
    if (r.type == PARA_F32 || r.rows < 4096 || threads >= 1u << 31) return false;
    if (r.positions) {
        int64_t own_threads = (int64_t)(r.tokens + TOKENS - 1) / TOKENS * r.h * LANES;
        if (!r.interleaved || r.centred) return false;
        for (int i = 0; i < l.n; i++)
            if (l.of[i].bias) return false;
        own_heads_kernel<LANES><<<dim3((unsigned)((own_threads + 255) / 256), l.n), 256, 0, stream>>>(l);
        return true;
    }
    heads_kernel<LANES><<<dim3((unsigned)((threads + 255) / 256), l.n), 256, 0, stream>>>(l, (unsigned)groups);
    return true;
}

static void launch(const head_launch &l, cudaStream_t stream) {
    int lanes = l.rows.lanes;
    if ((lanes == 16 && launch_heads<16>(l, stream)) || (lanes == 8 && launch_heads<8>(l, stream))) return;
    dim3 blocks((unsigned)((l.rows.rows * (lanes ? lanes : 32) + 255) / 256), l.n);
    switch (lanes) {
    case 2: head_kernel<2><<<blocks, 256, 0, stream>>>(l); break;
    case 4: head_kernel<4><<<blocks, 256, 0, stream>>>(l); break;
    case 8: head_kernel<8><<<blocks, 256, 0, stream>>>(l); break;
    case 16: head_kernel<16><<<blocks, 256, 0, stream>>>(l); break;
    case 32: head_kernel<32><<<blocks, 256, 0, stream>>>(l); break;
    default: head_plain_kernel<<<blocks, 256, 0, stream>>>(l); break;
    }
}

/* Parts lie alike but for where they begin. Whether all begin at 16 bytes. */
static bool put_places(head_rows &r, head_operand &o, const para_head_args *a) {
    const para_tensor *part = a->parts ? a->part : &a->y;
    int heads = 0;
    bool at_16 = true;
    r.parts = a->parts ? a->parts : 1;
    r.y_s = part->stride[1], r.y_h = part->stride[0];
    for (int i = 0; i < r.parts; i++) {
        o.y[i] = static_cast<char *>(part[i].data) - heads * r.y_h * (int64_t)para_dtype_size(r.type);
        at_16 = at_16 && para_cuda_at_16(part[i].data);
        r.end[i] = heads += (int)part[i].dim[0];
    }
    return at_16;
}

static void put_norm(head_rows &r, float eps, int centred) {
    r.normed = 1, r.eps = eps, r.centred = centred;
}

/* As x turns; without cos and positions, not at all. */
static void put_turn(head_rows &r, const head_rows &x) {
    r.cosine = x.cosine, r.sine = x.sine, r.cos_s = x.cos_s, r.sin_s = x.sin_s, r.interleaved = x.interleaved;
    r.positions = x.positions, r.positions_s = x.positions_s;
    r.frequencies = x.frequencies, r.frequencies_axis = x.frequencies_axis, r.frequencies_h = x.frequencies_h;
}

static head_rows turn_in(const para_head_args *a) {
    head_rows r = {};
    if (a->cos.data || a->positions.data) r.interleaved = a->rope_interleaved;
    r.cosine = static_cast<const float *>(a->cos.data), r.sine = static_cast<const float *>(a->sin.data);
    if (r.cosine) r.cos_s = a->cos.stride[0], r.sin_s = a->sin.stride[0];
    r.positions = static_cast<const float *>(a->positions.data), r.frequencies = static_cast<const float *>(a->frequencies.data);
    if (r.positions) r.positions_s = a->positions.stride[0], r.frequencies_axis = a->frequencies.stride[0], r.frequencies_h = a->frequencies.stride[1];
    return r;
}

/* Of one operand. What it lacks is 0. */
static head_launch launch_of(const para_head_args *a) {
    head_launch l = {};
    head_rows &r = l.rows;
    head_operand &o = l.of[0];
    l.n = 1;
    r.type = a->x.dtype, r.tokens = (unsigned)a->x.dim[0], r.h = (int)a->x.dim[1], r.d = (int)a->x.dim[2], r.rows = a->x.dim[0] * a->x.dim[1];
    o.x = a->x.data, r.x_s = a->x.stride[0], r.x_h = a->x.stride[1];
    bool eight = put_places(r, o, a);
    o.weight = static_cast<const float *>(a->weight.data), o.bias = static_cast<const float *>(a->bias.data);
    if (o.weight) put_norm(r, a->eps, a->layer_norm);
    put_turn(r, turn_in(a));
    o.turns = r.cosine || r.positions;
    eight = eight && para_cuda_at_16(o.x) && para_cuda_at_16(o.weight) && para_cuda_at_16(o.bias) && para_cuda_at_16(r.cosine) && para_cuda_at_16(r.sine) &&
            para_cuda_at_16(r.frequencies) && (r.x_s | r.x_h | r.y_s | r.y_h | r.cos_s | r.sin_s | 2 * r.frequencies_axis | 2 * r.frequencies_h) % 8 == 0;
    r.lanes = eight ? r.d / 8 : 0;
    if (r.lanes * 8 != r.d || r.lanes < 2 || r.lanes > 32 || (r.lanes & (r.lanes - 1))) r.lanes = 0; /* the others have a warp to a row */
    return l;
}

/* Puts x's operand beside those of l, where its rows are like theirs; an operand without norm or rotation goes with any. */
static bool take_in(head_launch &l, const head_launch &x) {
    head_rows ours = l.rows, theirs = x.rows;
    if (!ours.normed && theirs.normed) put_norm(ours, theirs.eps, theirs.centred);
    else if (!theirs.normed && ours.normed) put_norm(theirs, ours.eps, ours.centred);
    if (!ours.cosine && !ours.positions) put_turn(ours, theirs);
    else if (!x.of[0].turns) put_turn(theirs, ours);
    if (std::memcmp(&ours, &theirs, sizeof ours) != 0) return false;
    l.rows = ours;
    l.of[l.n++] = x.of[0];
    return true;
}

void para_cuda_launch_heads(int n, const para_head_args *a, cudaStream_t stream) {
    head_launch launches[PARA_OPERANDS];
    int count = 0;
    for (int i = 0; i < n; i++) {
        head_launch own = launch_of(&a[i]);
        int to = 0;
        if (own.rows.rows * own.rows.d == 0) continue;
        while (to < count && !take_in(launches[to], own)) to++;
        if (to == count) launches[count++] = own;
    }
    for (int i = 0; i < count; i++) launch(launches[i], stream);
}
