/* Doubling pictures, blending the seams of tiles, patches for convolutions. SPDX-License-Identifier: Apache-2.0 */
#include "backend/cuda/cuda_load.cuh"
#include "backend/cuda/cuda_walk.cuh"

/* One thread for an element of `Bits` (C elements of x's type make whole ones): it is written four times. */
template <typename Bits>
static __global__ void upsample_kernel(const Bits *x, Bits *y, int64_t count, int64_t width, int64_t c) {
    int64_t i = para_thread();
    if (i >= count) return;
    int64_t column = i / c % width, line = i / c / width; /* of all pictures: [N · H] */
    Bits *to = y + (line * 2 * 2 * width + 2 * column) * c + i % c;
    Bits bits = x[i];
    to[0] = to[c] = to[2 * width * c] = to[(2 * width + 1) * c] = bits;
}

template <typename Bits> static void upsample(const para_tensor *x, const para_tensor *y, int64_t c, cudaStream_t stream) {
    int64_t count = x->dim[0] * x->dim[1] * x->dim[2] * c;
    upsample_kernel<<<para_blocks(count), 256, 0, stream>>>(static_cast<const Bits *>(x->data), static_cast<Bits *>(y->data), count,
                                                            x->dim[2], c);
}

void para_cuda_launch_upsample2x(para_tensor x, para_tensor y, cudaStream_t stream) {
    int64_t bytes = x.dim[3] * (int64_t)para_dtype_size(x.dtype);
    if (bytes % 16 == 0 && (uintptr_t)x.data % 16 == 0 && (uintptr_t)y.data % 16 == 0) upsample<uint4>(&x, &y, bytes / 16, stream);
    else if (para_dtype_size(x.dtype) == 4) upsample<unsigned>(&x, &y, x.dim[3], stream);
    else upsample<unsigned short>(&x, &y, x.dim[3], stream);
}

static __global__ void blend_kernel(const __grid_constant__ para_tensor edge, const __grid_constant__ para_tensor dst, int axis, int64_t count) {
    int64_t index = para_thread(), from = 0, to = 0, along = 0;
    if (index >= count) return;
    for (int i = dst.rank - 1; i >= 0; i--) {
        int64_t at = index % dst.dim[i];
        index /= dst.dim[i];
        from += at * edge.stride[i];
        to += at * dst.stride[i];
        if (i == axis) along = at;
    }
    float share = (float)along / (float)dst.dim[axis], e[1], d[1];
    para_load(e, edge.data, edge.dtype, from);
    para_load(d, dst.data, dst.dtype, to);
    d[0] = e[0] * (1 - share) + d[0] * share;
    para_store(dst.data, dst.dtype, to, d);
}

void para_cuda_launch_blend(para_tensor edge, para_tensor dst, int axis, cudaStream_t stream) {
    int64_t count = para_tensor_count(&dst);
    blend_kernel<<<para_blocks(count), 256, 0, stream>>>(edge, dst, axis, count);
}

struct patches {
    const void *x;
    void *columns;
    int64_t first, rows, h, w, c, oh, ow, kh, kw, stride, top, left, count;
};

/* One thread for an element of `Bits` of the columns. */
template <typename Bits> static __global__ void patches_kernel(const __grid_constant__ patches p) {
    int64_t i = para_thread();
    if (i >= p.count) return;
    int64_t c = i % p.c, tap = i / p.c % (p.kh * p.kw), row = i / p.c / (p.kh * p.kw) + p.first;
    int64_t line = row / p.ow % p.oh * p.stride - p.top + tap / p.kw, column = row % p.ow * p.stride - p.left + tap % p.kw;
    Bits bits = {};
    if (line >= 0 && line < p.h && column >= 0 && column < p.w)
        bits = static_cast<const Bits *>(p.x)[((row / p.ow / p.oh * p.h + line) * p.w + column) * p.c + c];
    static_cast<Bits *>(p.columns)[i] = bits;
}

void para_cuda_launch_patches(const para_conv2d_args *a, int64_t first, int64_t rows, void *columns, cudaStream_t stream) {
    const int64_t *x = a->x.dim, *w = a->w->weight.dim;
    size_t size = para_dtype_size(a->x.dtype);
    int64_t bytes = x[3] * (int64_t)size;
    bool wide = bytes % 16 == 0 && (uintptr_t)a->x.data % 16 == 0;
    int64_t c = wide ? bytes / 16 : x[3];
    patches p = {a->x.data, columns, first, rows, x[1], x[2], c, a->y.dim[1], a->y.dim[2], w[2], w[3],
                 a->stride, a->pad_top, a->pad_left, rows * w[2] * w[3] * c};
    unsigned blocks = para_blocks(p.count);
    if (wide) patches_kernel<uint4><<<blocks, 256, 0, stream>>>(p);
    else if (size == 4) patches_kernel<unsigned><<<blocks, 256, 0, stream>>>(p);
    else patches_kernel<unsigned short><<<blocks, 256, 0, stream>>>(p);
}
