/* The attention kernels of sm_80 in the configurations that there are, and which of them serves. SPDX-License-Identifier: Apache-2.0 */
#include "backend/cuda/attention_launch.cuh"
#include "backend/cuda/attention_sm80_kernel.cuh"
#include "backend/cuda/attention_sm80_wide.cuh"

using namespace attention_sm80;

static cudaError_t device_has(cudaDeviceAttr what, int *bytes) {
    int device;
    cudaError_t error = cudaGetDevice(&device);
    return error == cudaSuccess ? cudaDeviceGetAttribute(bytes, what, device) : error;
}

template <class C> static cudaError_t launch(void (*kernel)(const params), const para_cuda_attention *a, cudaStream_t stream) {
    cudaError_t error = cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, C::SHARED_BYTES);
    if (error != cudaSuccess) return error;
    params p = {};
    set_arguments(&p, a, C::BLOCK_Q);
    p.q = a->q, p.k = a->k, p.v = a->v;
    p.q_stride = plain(a->q_stride), p.k_stride = plain(a->k_stride), p.v_stride = plain(a->v_stride);
    p.head_dim = a->head_dim;
    p.causal = a->causal;
    p.mask = a->mask;
    p.kind = !a->mask ? MASK_NONE : a->mask_is_bool ? MASK_BOOL : MASK_ADDED;
    p.mask_batch = a->mask_stride.batch, p.mask_head = a->mask_stride.head, p.mask_query = a->mask_stride.token, p.mask_key = a->mask_key_stride;
    kernel<<<dim3(p.q_tiles, a->heads, a->batch), C::THREADS, C::SHARED_BYTES, stream>>>(p);
    return cudaGetLastError();
}

template <class C> static cudaError_t narrow(const para_cuda_attention *a, cudaStream_t stream) {
    return launch<C>(attention_forward_sm80<C>, a, stream);
}

template <typename T> using one_head = wide<T, 256, 32, 2>;

template <typename T> static cudaError_t by_kind(const para_cuda_attention *a, cudaStream_t stream) {
    if (a->head_dim > 256) return launch<one_head<T>>(attention_forward_sm80_wide<one_head<T>>, a, stream);
    if (a->head_dim > 192) return narrow<config<T, 256, 1, 32, 2, true>>(a, stream);
    if (a->head_dim > 128) return narrow<config<T, 192, 1, 64, 2, true>>(a, stream);
    bool masked = a->mask || !(a->scale > 0);
    if (a->head_dim <= 64) return masked ? narrow<config<T, 64, 1, 64, 3, true>>(a, stream) : narrow<config<T, 64, 2, 128, 2, false>>(a, stream);
    if (masked) return narrow<config<T, 128, 1, 64, 2, true>>(a, stream);
    if (a->head_dim <= 96) return narrow<config<T, 96, 2, 64, 2, false>>(a, stream);
    using large = config<T, 128, 2, 64, 2, false>;
    using small = config<T, 128, 2, 32, 2, false>; /* of which two blocks fit into 100 KB */
    int shared;
    cudaError_t error = device_has(cudaDevAttrMaxSharedMemoryPerMultiprocessor, &shared);
    if (error != cudaSuccess) return error;
    return large::BLOCKS * (large::SHARED_BYTES + 1024) <= shared ? narrow<large>(a, stream) : narrow<small>(a, stream);
}

int para_cuda_attention_sm80(const para_cuda_attention *a, void *stream) {
    if (a->head_dim < 8 || a->head_dim > PARA_CUDA_ATTENTION_WIDE || a->head_dim % 8) return cudaErrorNotSupported;
    if (a->head_dim > 256 && (a->mask || a->carry_out || !(a->scale > 0))) return cudaErrorNotSupported;
    if (a->type == PARA_CUDA_ATTENTION_BF16) return by_kind<__nv_bfloat16>(a, (cudaStream_t)stream);
    return by_kind<__half>(a, (cudaStream_t)stream);
}

bool para_cuda_attention_sm80_wide(void) {
    int shared;
    return device_has(cudaDevAttrMaxSharedMemoryPerBlockOptin, &shared) == cudaSuccess && shared >= one_head<__half>::SHARED_BYTES;
}
