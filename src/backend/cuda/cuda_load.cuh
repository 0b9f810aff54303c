/* Reading and writing 1 or 8 neighbouring elements of any float type as float32. SPDX-License-Identifier: Apache-2.0
 *
 * The type is a value of the kernel's arguments, the same for all threads: a branch that costs nothing beside the access, and one copy
 * of each kernel for all types. N = 8 needs pointers at multiples of 16 bytes (8 for F8_E4M3). */
#ifndef PARA_CUDA_LOAD_CUH
#define PARA_CUDA_LOAD_CUH

#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_fp8.h>
#include <paraattn/tensor.h>

static __device__ __forceinline__ float para_from_f8(unsigned char code) {
    return __half2float(__half(__nv_cvt_fp8_to_halfraw(code, __NV_E4M3)));
}

static __device__ __forceinline__ void para_unpack_bf16(unsigned bits, float *f) {
    f[0] = __uint_as_float(bits << 16);
    f[1] = __uint_as_float(bits & 0xffff0000u);
}

static __device__ __forceinline__ void para_unpack_f16(unsigned bits, float *f) {
    float2 both = __half22float2(*reinterpret_cast<const __half2 *>(&bits));
    f[0] = both.x;
    f[1] = both.y;
}

static __device__ __forceinline__ unsigned para_pack_bf16(const float *f) {
    __nv_bfloat162 both = __floats2bfloat162_rn(f[0], f[1]);
    return *reinterpret_cast<const unsigned *>(&both);
}

static __device__ __forceinline__ unsigned para_pack_f16(const float *f) {
    __half2 both = __floats2half2_rn(f[0], f[1]);
    return *reinterpret_cast<const unsigned *>(&both);
}

/* f ← elements [at, at + N) of p. */
template <int N> static __device__ __forceinline__ void para_load(float (&f)[N], const void *p, para_dtype type, int64_t at) {
    static_assert(N == 1 || N == 8, "one element or eight");
    if constexpr (N == 1) {
        switch (type) {
        case PARA_F32: f[0] = static_cast<const float *>(p)[at]; break;
        case PARA_BF16: f[0] = __bfloat162float(static_cast<const __nv_bfloat16 *>(p)[at]); break;
        case PARA_F16: f[0] = __half2float(static_cast<const __half *>(p)[at]); break;
        default: f[0] = para_from_f8(static_cast<const unsigned char *>(p)[at]); break;
        }
    } else if (type == PARA_F32) {
        const float4 *q = reinterpret_cast<const float4 *>(static_cast<const float *>(p) + at);
        float4 a = q[0], b = q[1];
        f[0] = a.x, f[1] = a.y, f[2] = a.z, f[3] = a.w;
        f[4] = b.x, f[5] = b.y, f[6] = b.z, f[7] = b.w;
    } else if (type == PARA_F8_E4M3) {
        uint2 v = *reinterpret_cast<const uint2 *>(static_cast<const unsigned char *>(p) + at);
#pragma unroll
        for (int i = 0; i < 8; i++) f[i] = para_from_f8((unsigned char)((i < 4 ? v.x : v.y) >> (i % 4 * 8)));
    } else {
        uint4 v = *reinterpret_cast<const uint4 *>(static_cast<const unsigned short *>(p) + at);
        if (type == PARA_BF16) {
            para_unpack_bf16(v.x, f), para_unpack_bf16(v.y, f + 2), para_unpack_bf16(v.z, f + 4), para_unpack_bf16(v.w, f + 6);
        } else {
            para_unpack_f16(v.x, f), para_unpack_f16(v.y, f + 2), para_unpack_f16(v.z, f + 4), para_unpack_f16(v.w, f + 6);
        }
    }
}

/* Elements [at, at + N) of p ← f; F32, BF16 or F16. */
template <int N> static __device__ __forceinline__ void para_store(void *p, para_dtype type, int64_t at, const float (&f)[N]) {
    static_assert(N == 1 || N == 8, "one element or eight");
    if constexpr (N == 1) {
        switch (type) {
        case PARA_F32: static_cast<float *>(p)[at] = f[0]; break;
        case PARA_BF16: static_cast<__nv_bfloat16 *>(p)[at] = __float2bfloat16_rn(f[0]); break;
        default: static_cast<__half *>(p)[at] = __float2half_rn(f[0]); break;
        }
    } else if (type == PARA_F32) {
        float4 *q = reinterpret_cast<float4 *>(static_cast<float *>(p) + at);
        q[0] = make_float4(f[0], f[1], f[2], f[3]);
        q[1] = make_float4(f[4], f[5], f[6], f[7]);
    } else {
        uint4 *q = reinterpret_cast<uint4 *>(static_cast<unsigned short *>(p) + at);
        *q = type == PARA_BF16
                 ? make_uint4(para_pack_bf16(f), para_pack_bf16(f + 2), para_pack_bf16(f + 4), para_pack_bf16(f + 6))
                 : make_uint4(para_pack_f16(f), para_pack_f16(f + 2), para_pack_f16(f + 4), para_pack_f16(f + 6));
    }
}

/* f as the type holds it. */
static __device__ __forceinline__ float para_rounded(float f, para_dtype type) {
    switch (type) {
    case PARA_BF16: return __bfloat162float(__float2bfloat16_rn(f));
    case PARA_F16: return __half2float(__float2half_rn(f));
    default: return f;
    }
}

#endif
