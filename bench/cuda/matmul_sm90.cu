/* A matrix product of our own for Hopper, tried against cuBLASLt by bench/peers/matmul_torch.py: plain, and with norm and rotation of heads behind it in the same
 * kernel. The library does not use it: bench/RESULTS.md says why. SPDX-License-Identifier: Apache-2.0 */
#include <cudaTypedefs.h>
#include <cuda_runtime_api.h>

#include "matmul_sm90_epilogue.cuh"

using namespace matmul_sm90;
typedef __nv_bfloat16 bf16;

static PFN_cuTensorMapEncodeTiled_v12000 find_encoder() {
    void *found = nullptr;
    cudaDriverEntryPointQueryResult result;
    cudaGetDriverEntryPointByVersion("cuTensorMapEncodeTiled", &found, 12000, cudaEnableDefault, &result);
    return (PFN_cuTensorMapEncodeTiled_v12000)found;
}

/* [rows, columns], contiguous, in boxes of [box, 64]. */
static int make_map(CUtensorMap *map, const void *data, int rows, int columns, int box) {
    cuuint64_t size[2] = {(cuuint64_t)columns, (cuuint64_t)rows}, bytes[1] = {2 * (cuuint64_t)columns};
    cuuint32_t boxes[2] = {64, (cuuint32_t)box}, step[2] = {1, 1};
    return find_encoder()(map, CU_TENSOR_MAP_DATA_TYPE_BFLOAT16, 2, (void *)data, size, bytes, boxes, step, CU_TENSOR_MAP_INTERLEAVE_NONE, CU_TENSOR_MAP_SWIZZLE_128B,
                          CU_TENSOR_MAP_L2_PROMOTION_L2_256B, CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE);
}

template <class C, class Epilogue> static int launch(const Epilogue &epilogue, const void *x, const void *w, int m, int n, int k, int group, cudaStream_t stream) {
    int device, processors;
    CUtensorMap x_map, w_map;
    cudaGetDevice(&device);
    cudaDeviceGetAttribute(&processors, cudaDevAttrMultiProcessorCount, device);
    if (make_map(&x_map, x, m, k, C::BLOCK_M) || make_map(&w_map, w, n, k, C::BLOCK_N / 2)) return cudaErrorInvalidValue;
    auto kernel = matmul_forward_sm90<C, Epilogue>;
    cudaError_t error = cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, C::SHARED_BYTES);
    if (error != cudaSuccess) return error;
    sizes s = {m, n, k, (m + C::CLUSTER * C::BLOCK_M - 1) / (C::CLUSTER * C::BLOCK_M), (n + C::BLOCK_N - 1) / C::BLOCK_N, 0, group};
    s.tiles = s.m_pairs * s.n_tiles;
    int clusters = s.tiles < processors / C::CLUSTER ? s.tiles : processors / C::CLUSTER;
    kernel<<<C::CLUSTER * clusters, C::THREADS, C::SHARED_BYTES, stream>>>(x_map, w_map, s, epilogue);
    return cudaGetLastError();
}

/* y [m, n] = x [m, k] · wᵀ + bias, in tiles of 128 × 256, or (`square`) 192 × 192. group: rows of tile pairs that are gone through together. */
extern "C" int matmul_plain(bool square, bf16 *y, const void *x, const void *w, const float *bias, int m, int n, int k, int group, void *stream) {
    plain<bf16> epilogue = {y, n, bias};
    if (square) return launch<config<bf16, 3, 192, 4>>(epilogue, x, w, m, n, k, group, (cudaStream_t)stream);
    return launch<config<bf16, 2, 256, 4>>(epilogue, x, w, m, n, k, group, (cudaStream_t)stream);
}

/* y [m, 3, heads, 128]: queries, keys and values; the first two normed by norm_q, norm_k [128] and turned by cosine, sine [m, 128]. */
extern "C" int matmul_heads(bf16 *y, const void *x, const void *w, const float *bias, const float *norm_q, const float *norm_k, const float *cosine, const float *sine,
                            int m, int count, int k, int group, void *stream) {
    heads<bf16> epilogue = {};
    const float *norms[3] = {norm_q, norm_k, nullptr};
    for (int i = 0; i < 3; i++) epilogue.operands[i] = {y + i * count * 128, 128, 3 * count * 128, norms[i]};
    epilogue.count = count, epilogue.eps = 1e-6f, epilogue.bias = bias, epilogue.cosine = cosine, epilogue.sine = sine;
    epilogue.cosine_row = epilogue.sine_row = 128;
    return launch<config<bf16, 2, 256, 4>>(epilogue, x, w, m, 3 * count * 128, k, group, (cudaStream_t)stream);
}
