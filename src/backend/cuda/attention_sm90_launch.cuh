/* From the arguments of para_cuda_attention_sm90() to a launch of attention_sm90_kernel.cuh in one configuration. SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <cudaTypedefs.h>
#include <cuda_runtime_api.h>

#include "backend/cuda/attention_launch.cuh"
#include "backend/cuda/attention_sm90_kernel.cuh"

namespace attention_sm90 {

inline cudaError_t find_encoder(PFN_cuTensorMapEncodeTiled_v12000 *encode) {
    void *found = nullptr;
    cudaDriverEntryPointQueryResult result;
    cudaError_t error = cudaGetDriverEntryPointByVersion("cuTensorMapEncodeTiled", &found, 12000, cudaEnableDefault, &result);
    if (error != cudaSuccess) return error;
    *encode = (PFN_cuTensorMapEncodeTiled_v12000)found;
    return result == cudaDriverEntryPointSuccess ? cudaSuccess : cudaErrorNotSupported;
}

/* A tensor [batch, heads, tokens, D] that is loaded in boxes of [box_tokens, 64]. */
inline cudaError_t make_map(PFN_cuTensorMapEncodeTiled_v12000 encode, CUtensorMap *map, const para_cuda_attention *a, const void *data, int heads, int tokens,
                            const para_cuda_strides &stride, int box_tokens) {
    CUtensorMapDataType type = a->type == PARA_CUDA_ATTENTION_BF16 ? CU_TENSOR_MAP_DATA_TYPE_BFLOAT16 : CU_TENSOR_MAP_DATA_TYPE_FLOAT16;
    cuuint64_t size[4] = {(cuuint64_t)a->head_dim, (cuuint64_t)tokens, (cuuint64_t)heads, (cuuint64_t)a->batch};
    /* An axis of one entry has any stride; the encoder wants one all the same. */
    cuuint64_t bytes[3] = {tokens > 1 ? 2 * (cuuint64_t)stride.token : 16, heads > 1 ? 2 * (cuuint64_t)stride.head : 16,
                           a->batch > 1 ? 2 * (cuuint64_t)stride.batch : 16};
    cuuint32_t box[4] = {64, (cuuint32_t)box_tokens, 1, 1}, step[4] = {1, 1, 1, 1};
    CUresult result = encode(map, type, 4, (void *)data, size, bytes, box, step, CU_TENSOR_MAP_INTERLEAVE_NONE, CU_TENSOR_MAP_SWIZZLE_128B,
                             CU_TENSOR_MAP_L2_PROMOTION_L2_256B, CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE);
    return result == CUDA_SUCCESS ? cudaSuccess : cudaErrorInvalidValue;
}

constexpr int PARTS_AT_MOST = 6;   /* of a split tile: they are added one after the other */
constexpr int SPLIT_COST = 4;      /* of writing and adding parts, in key tiles */
constexpr size_t FLAG_BYTES = 16;  /* a block's part_ready in the workspace */

/* Splits the tiles that would leave blocks idle at the end, if that pays. */
template <class C> void plan_split(params *p, const para_cuda_attention *a, int blocks) {
    int rest = p->tiles % blocks, key_tiles = (p->kv_len + C::BLOCK_KV - 1) / C::BLOCK_KV;
    p->whole_tiles = p->tiles;
    if (!a->workspace || !C::SPLIT || p->kv_lengths || rest == 0) return;
    int participants = min(blocks, rest * PARTS_AT_MOST);
    if ((rest * key_tiles + participants - 1) / participants + SPLIT_COST >= key_tiles) return;
    p->whole_tiles = p->tiles - rest;
    p->split_blocks = key_tiles;
    p->participants = participants;
    p->part_ready = (int *)a->workspace;
    p->part = (float *)((char *)a->workspace + blocks * FLAG_BYTES);
}

inline void set_parts(params *, const para_cuda_attention *) {}

inline void set_parts(params_of_parts *p, const para_cuda_attention *a) {
    p->parts = a->parts;
    for (int i = 0; i < a->parts; i++) {
        int first = i ? a->part_end[i - 1] : 0;
        p->end[i] = a->part_end[i];
        p->part[i] = (char *)a->part[i] - 2 * (int64_t)first * a->out_stride.token;
    }
}

template <class C> cudaError_t launch(const para_cuda_attention *a, cudaStream_t stream) {
    PFN_cuTensorMapEncodeTiled_v12000 encode;
    cudaError_t error = find_encoder(&encode);
    if (error != cudaSuccess) return error;
    int device, processors;
    if ((error = cudaGetDevice(&device)) != cudaSuccess) return error;
    if ((error = cudaDeviceGetAttribute(&processors, cudaDevAttrMultiProcessorCount, device)) != cudaSuccess) return error;
    auto kernel = attention_forward_sm90<C>;
    if ((error = cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, C::SHARED_BYTES)) != cudaSuccess) return error;

    typename C::PARAMS p = {};
    set_arguments(&p, a, C::BLOCK_Q);
    set_parts(&p, a);
    p.tiles = p.q_tiles * a->heads * a->batch;
    plan_split<C>(&p, a, processors);

    CUtensorMap q_map, k_map, v_map;
    if ((error = make_map(encode, &q_map, a, a->q, a->heads, a->q_len, a->q_stride, 64)) != cudaSuccess) return error;
    if ((error = make_map(encode, &k_map, a, a->k, a->kv_heads, a->kv_len, a->k_stride, C::BLOCK_KV)) != cudaSuccess) return error;
    if ((error = make_map(encode, &v_map, a, a->v, a->kv_heads, a->kv_len, a->v_stride, C::BLOCK_KV)) != cudaSuccess) return error;
    kernel<<<processors, C::THREADS, C::SHARED_BYTES, stream>>>(q_map, k_map, v_map, p);
    return cudaGetLastError();
}

} // namespace attention_sm90
