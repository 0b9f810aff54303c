/* Padded copies of frames, and patches of them, for convolutions of videos. SPDX-License-Identifier: Apache-2.0 */
#include "backend/cuda/cuda_kernels.h"
#include "backend/cuda/cuda_walk.cuh"

struct padding {
    const void *x, *before; /* of the item */
    void *to;
    int64_t f, h, w, c;         /* of x; c elements of `Bits` */
    int64_t grown[3];           /* of x, enlarged */
    int64_t frames, height, width;
    int64_t first, back;        /* of the enlarged frames: that the first padded one is, before is taken into account; kt - 1 */
    int64_t pad_h, pad_w, count;
    bool replicate;
};

static __device__ __forceinline__ int64_t clamped(int64_t i, int64_t n) {
    return i < 0 ? 0 : i < n ? i : n - 1;
}

/* One thread for an element of `Bits` of the copy. */
template <typename Bits> static __global__ void pad_kernel(const __grid_constant__ padding p) {
    int64_t i = para_thread();
    if (i >= p.count) return;
    int64_t c = i % p.c, pixel = i / p.c, x = pixel % p.width - p.pad_w, line = pixel / p.width, y = line % p.height - p.pad_h, t = line / p.height + p.first;
    Bits bits = {};
    if (p.replicate || (x >= 0 && x < p.grown[2] && y >= 0 && y < p.grown[1])) {
        x = clamped(x, p.grown[2]);
        y = clamped(y, p.grown[1]);
        if (t < 0 && p.before) {
            bits = static_cast<const Bits *>(p.before)[(((t + p.back) * p.grown[1] + y) * p.grown[2] + x) * p.c + c];
        } else {
            bool alone = p.grown[0] > 1 && p.grown[0] % 2 == 1; /* as para_nearest_frame */
            t = t <= 0 || p.f == 1 ? 0 : alone ? 1 + (t - 1) * (p.f - 1) / (p.grown[0] - 1) : t * p.f / p.grown[0];
            bits = static_cast<const Bits *>(p.x)[((t * p.h + y * p.h / p.grown[1]) * p.w + x * p.w / p.grown[2]) * p.c + c];
        }
    }
    static_cast<Bits *>(p.to)[i] = bits;
}

static bool wide(const para_pad_job *job) {
    const para_conv3d_args *a = job->a;
    return job->padded[3] * (int64_t)para_dtype_size(a->x.dtype) % 16 == 0 && para_cuda_at_16(a->x.data) && para_cuda_at_16(a->before.data) && para_cuda_at_16(job->to);
}

void para_cuda_launch_pad(const para_pad_job *job, cudaStream_t stream) {
    const para_conv3d_args *a = job->a;
    int64_t size = (int64_t)para_dtype_size(a->x.dtype), back = a->w->weight.dim[2] - 1, c = wide(job) ? job->padded[3] * size / 16 : job->padded[3];
    const char *before = a->before.data ? static_cast<const char *>(a->before.data) + job->item * a->before.stride[0] * size : NULL;
    padding p = {static_cast<const char *>(a->x.data) + job->item * a->x.stride[0] * size, before, job->to, a->x.dim[1], a->x.dim[2], a->x.dim[3], c,
                 {job->grown[0], job->grown[1], job->grown[2]}, job->padded[0], job->padded[1], job->padded[2], job->first * a->stride_t - back, back,
                 a->pad_h, a->pad_w, job->padded[0] * job->padded[1] * job->padded[2] * c, a->replicate};
    unsigned blocks = para_blocks(p.count);
    if (wide(job)) pad_kernel<uint4><<<blocks, 256, 0, stream>>>(p);
    else if (size == 4) pad_kernel<unsigned><<<blocks, 256, 0, stream>>>(p);
    else pad_kernel<unsigned short><<<blocks, 256, 0, stream>>>(p);
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
