/* The Hopper attention kernel in the configurations that measurements chose (bench/RESULTS.md). SPDX-License-Identifier: Apache-2.0 */
#include "backend/cuda/attention_sm90_launch.cuh"

using namespace attention_sm90;

size_t para_cuda_attention_workspace(int processors) {
    constexpr size_t part_128 = config<__nv_bfloat16, 128, 128, 2, 2, false, false>::PART_FLOATS;
    constexpr size_t part_64 = config<__nv_bfloat16, 64, 128, 3, 2, false, false>::PART_FLOATS;
    return processors * (FLAG_BYTES + sizeof(float) * max(part_128, part_64));
}

/* The stride of an axis with one entry is never used. */
static bool takes_stride(int64_t stride, int entries) {
    return entries == 1 || (stride > 0 && stride % 8 == 0);
}

static bool takes_view(const void *data, const para_cuda_strides &s, int batch, int heads, int tokens) {
    return takes_stride(s.batch, batch) && takes_stride(s.head, heads) && takes_stride(s.token, tokens) && (uintptr_t)data % 16 == 0;
}

static bool takes_parts(const para_cuda_attention *a) {
    bool right = !a->parts || (!a->causal && !a->carry_out && !a->out_f32 && a->parts <= PARA_CUDA_ATTENTION_PARTS);
    for (int i = 0; right && i < a->parts; i++) right = (uintptr_t)a->part[i] % 16 == 0;
    return right;
}

bool para_cuda_attention_sm90_takes(const para_cuda_attention *a) {
    return takes_parts(a) && (a->head_dim == 64 || a->head_dim == 128) && a->q_len > 0 && a->kv_len > 0 && a->batch > 0 && a->heads > 0 && a->scale > 0 && !a->mask &&
           takes_view(a->q, a->q_stride, a->batch, a->heads, a->q_len) && takes_view(a->k, a->k_stride, a->batch, a->kv_heads, a->kv_len) &&
           takes_view(a->v, a->v_stride, a->batch, a->kv_heads, a->kv_len) && takes_view(a->out, a->out_stride, a->batch, a->heads, a->q_len) &&
           (!a->carry_out || takes_view(a->carry_out, a->carry_out_stride, a->batch, a->heads, a->q_len));
}

template <typename T, bool CAUSAL, bool RING> static cudaError_t by_head_dim(const para_cuda_attention *a, cudaStream_t stream) {
    if (a->head_dim == 128) return launch<config<T, 128, 128, 2, 2, CAUSAL, RING>>(a, stream);
    return launch<config<T, 64, 128, 3, 2, CAUSAL, RING>>(a, stream);
}

template <typename T> static cudaError_t in_parts(const para_cuda_attention *a, cudaStream_t stream) {
    if (a->head_dim == 128) return launch<config<T, 128, 128, 2, 2, false, false, params_of_parts>>(a, stream);
    return launch<config<T, 64, 128, 3, 2, false, false, params_of_parts>>(a, stream);
}

template <typename T> static cudaError_t by_kind(const para_cuda_attention *a, cudaStream_t stream) {
    bool ring = a->carry_out || a->out_f32;
    if (a->parts) return in_parts<T>(a, stream);
    if (a->causal) return ring ? by_head_dim<T, true, true>(a, stream) : by_head_dim<T, true, false>(a, stream);
    return ring ? by_head_dim<T, false, true>(a, stream) : by_head_dim<T, false, false>(a, stream);
}

int para_cuda_attention_sm90(const para_cuda_attention *a, void *stream) {
    if (!para_cuda_attention_sm90_takes(a)) return cudaErrorNotSupported;
    if (a->type == PARA_CUDA_ATTENTION_BF16) return by_kind<__nv_bfloat16>(a, (cudaStream_t)stream);
    return by_kind<__half>(a, (cudaStream_t)stream);
}
