/* Padded copies of frames, patches of them, weights and biases, for convolutions of videos. SPDX-License-Identifier: Apache-2.0 */
#include "backend/cuda/cuda_load.cuh"
#include "backend/cuda/cuda_walk.cuh"

struct padding {
    const void *x, *before; /* of the item */
    void *to;
    int64_t f, h;               /* of x */
    unsigned w, c;              /* of x; elements of `Bits` */
    int64_t grown_f, grown_h;   /* of x, enlarged */
    unsigned grown_w;
    int64_t height;             /* of the copy */
    unsigned width;
    int64_t first, back;        /* the enlarged frame that the first padded one is, less than 0 before x; kt - 1 */
    int64_t pad_h;
    int pad_w;
    bool replicate;
};

template <typename T> static __device__ __forceinline__ T clamped(T i, T n) {
    return i < 0 ? 0 : i < n ? i : n - 1;
}

/* The line of x or of what lies before it, at height y of enlarged frame t; *width: its pixels. */
template <typename Bits> static __device__ __forceinline__ const Bits *source_line(const padding &p, int64_t t, int64_t y, unsigned *width) {
    if (t < 0 && p.before) {
        *width = p.grown_w;
        return static_cast<const Bits *>(p.before) + ((t + p.back) * p.grown_h + y) * p.grown_w * p.c;
    }
    bool alone = p.grown_f > 1 && p.grown_f % 2 == 1; /* as para_nearest_frame */
    t = t <= 0 || p.f == 1 ? 0 : alone ? 1 + (t - 1) * (p.f - 1) / (p.grown_f - 1) : t * p.f / p.grown_f;
    *width = p.w;
    return static_cast<const Bits *>(p.x) + (t * p.h + y * p.h / p.grown_h) * p.w * p.c;
}

/* A block for a line of the copy. */
template <typename Bits> static __global__ void pad_kernel(const __grid_constant__ padding p) {
    int64_t y = blockIdx.x % p.height - p.pad_h, t = blockIdx.x / p.height + p.first;
    bool outside = y < 0 || y >= p.grown_h;
    unsigned width, count = p.width * p.c;
    const Bits *from = source_line<Bits>(p, t, clamped(y, p.grown_h), &width);
    Bits *to = static_cast<Bits *>(p.to) + (int64_t)blockIdx.x * count;
    for (unsigned i = threadIdx.x; i < count; i += blockDim.x) {
        unsigned pixel = i / p.c, c = i - pixel * p.c;
        int x = (int)pixel - p.pad_w;
        Bits bits = {};
        if (p.replicate || (!outside && x >= 0 && x < (int)p.grown_w)) {
            unsigned at = (unsigned)clamped(x, (int)p.grown_w);
            if (width != p.grown_w) at = at * width / p.grown_w;
            bits = from[at * p.c + c];
        }
        to[i] = bits;
    }
}

static bool wide(const para_pad_job *job) {
    const para_conv3d_args *a = job->a;
    return job->padded[3] * (int64_t)para_dtype_size(a->x.dtype) % 16 == 0 && para_cuda_at_16(a->x.data) && para_cuda_at_16(a->before.data) && para_cuda_at_16(job->to);
}

void para_cuda_launch_pad(const para_pad_job *job, cudaStream_t stream) {
    const para_conv3d_args *a = job->a;
    const int64_t *x = a->x.dim;
    int64_t size = (int64_t)para_dtype_size(a->x.dtype), back = a->w->weight.dim[2] - 1, c = wide(job) ? job->padded[3] * size / 16 : job->padded[3];
    const char *before = a->before.data ? static_cast<const char *>(a->before.data) + job->item * a->before.stride[0] * size : NULL;
    padding p = {static_cast<const char *>(a->x.data) + job->item * a->x.stride[0] * size, before, job->to, x[1], x[2], (unsigned)x[3], (unsigned)c,
                 job->grown[0], job->grown[1], (unsigned)job->grown[2], job->padded[1], (unsigned)job->padded[2], job->first * a->stride_t - back, back,
                 a->pad_h, a->pad_w, a->replicate};
    unsigned lines = (unsigned)(job->padded[0] * job->padded[1]);
    if (wide(job)) pad_kernel<uint4><<<lines, 256, 0, stream>>>(p);
    else if (size == 4) pad_kernel<unsigned><<<lines, 256, 0, stream>>>(p);
    else pad_kernel<unsigned short><<<lines, 256, 0, stream>>>(p);
}

struct video_patches {
    const void *x; /* padded */
    void *columns;
    int64_t first, height, width, c, oh, ow, kt, kh, kw, stride_t, stride, count;
};

/* One thread for an element of `Bits` of the columns. */
template <typename Bits> static __global__ void video_patches_kernel(const __grid_constant__ video_patches p) {
    int64_t i = para_thread();
    if (i >= p.count) return;
    int64_t c = i % p.c, tap = i / p.c % (p.kt * p.kh * p.kw), row = i / p.c / (p.kt * p.kh * p.kw) + p.first;
    int64_t x = row % p.ow * p.stride + tap % p.kw, y = row / p.ow % p.oh * p.stride + tap / p.kw % p.kh,
            t = row / p.ow / p.oh * p.stride_t + tap / p.kw / p.kh;
    static_cast<Bits *>(p.columns)[i] = static_cast<const Bits *>(p.x)[((t * p.height + y) * p.width + x) * p.c + c];
}

void para_cuda_launch_video_patches(const para_pad_job *job, int64_t first, int64_t rows, void *columns, cudaStream_t stream) {
    const para_conv3d_args *a = job->a;
    const int64_t *w = a->w->weight.dim;
    int64_t size = (int64_t)para_dtype_size(a->x.dtype);
    bool eight = job->padded[3] * size % 16 == 0 && para_cuda_at_16(job->to) && para_cuda_at_16(columns);
    int64_t c = eight ? job->padded[3] * size / 16 : job->padded[3];
    video_patches p = {job->to, columns, first, job->padded[1], job->padded[2], c, a->y.dim[2], a->y.dim[3], w[2], w[3], w[4], a->stride_t, a->stride,
                       rows * w[2] * w[3] * w[4] * c};
    unsigned blocks = para_blocks(p.count);
    if (eight) video_patches_kernel<uint4><<<blocks, 256, 0, stream>>>(p);
    else if (size == 4) video_patches_kernel<unsigned><<<blocks, 256, 0, stream>>>(p);
    else video_patches_kernel<unsigned short><<<blocks, 256, 0, stream>>>(p);
}

enum { TURN_INPUTS = 64 }; /* of one output that a block turns */

/* Block (output, inputs): both sides of the turn are read and written in order. Shared [inputs][taps]. */
static __global__ void turn_kernel(const void *weight, para_dtype from, void *to, para_dtype type, unsigned inputs, unsigned taps) {
    extern __shared__ float part[];
    unsigned first = blockIdx.y * TURN_INPUTS, here = inputs - first < TURN_INPUTS ? inputs - first : TURN_INPUTS;
    int64_t start = (int64_t)blockIdx.x * inputs * taps;
    for (unsigned i = threadIdx.x; i < here * taps; i += blockDim.x) {
        float f[1];
        para_load(f, weight, from, start + (int64_t)first * taps + i);
        part[i] = f[0];
    }
    __syncthreads();
    for (unsigned i = threadIdx.x; i < here * taps; i += blockDim.x) {
        unsigned tap = i / here, input = i - tap * here;
        float f[1] = {part[input * taps + tap]};
        para_store(to, type, start + (int64_t)tap * inputs + first + input, f);
    }
}

void para_cuda_launch_turn(para_tensor weight, int64_t taps, void *to, para_dtype type, cudaStream_t stream) {
    unsigned inputs = (unsigned)weight.dim[1];
    dim3 grid((unsigned)weight.dim[0], (inputs + TURN_INPUTS - 1) / TURN_INPUTS);
    turn_kernel<<<grid, 256, TURN_INPUTS * (size_t)taps * sizeof(float), stream>>>(weight.data, weight.dtype, to, type, inputs, (unsigned)taps);
}

/* One thread for N elements of y, of one pixel. */
template <int N>
static __global__ void add_bias_kernel(void *y, para_dtype type, const void *bias, para_dtype bias_type, int64_t c, int64_t count) {
    int64_t at = para_thread() * N;
    if (at >= count) return;
    float x[N], b[N];
    para_load(x, y, type, at);
    para_load(b, bias, bias_type, at % c);
#pragma unroll
    for (int i = 0; i < N; i++) x[i] += b[i];
    para_store(y, type, at, x);
}

void para_cuda_launch_add_bias(para_tensor y, para_tensor bias, cudaStream_t stream) {
    int64_t c = bias.dim[0], count = para_tensor_count(&y);
    bool eight = c % 8 == 0 && para_cuda_at_16(y.data) && para_cuda_at_16(bias.data);
    if (eight) add_bias_kernel<8><<<para_blocks(count / 8), 256, 0, stream>>>(y.data, y.dtype, bias.data, bias.dtype, c, count);
    else add_bias_kernel<1><<<para_blocks(count), 256, 0, stream>>>(y.data, y.dtype, bias.data, bias.dtype, c, count);
}
