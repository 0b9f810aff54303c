/* Vectors of float32 as wide as the instruction set that this file is compiled for. SPDX-License-Identifier: Apache-2.0
 *
 * Files of this folder are compiled once per instruction set (see CMakeLists.txt); what is here has internal linkage.
 * Loads and stores take any address. "_n" forms touch only n < VL elements. */
#ifndef PARA_SIMD_VEC_H
#define PARA_SIMD_VEC_H

#include <paraattn/tensor.h>
#include <stdint.h>
#include <string.h>

#include "core/float.h"

#if defined(__AVX512F__) || defined(__AVX2__)
#include <immintrin.h>
#endif

#if defined(__AVX512F__)
enum { VL = 16 };
#elif defined(__AVX2__)
enum { VL = 8 };
#else
enum { VL = 4 };
#endif

typedef float vf __attribute__((vector_size(VL * 4)));
typedef int32_t vi __attribute__((vector_size(VL * 4)));
typedef uint32_t vu __attribute__((vector_size(VL * 4)));
typedef uint16_t vh __attribute__((vector_size(VL * 2)));
typedef uint8_t vb __attribute__((vector_size(VL)));

#define V_INLINE static inline __attribute__((always_inline, unused))

V_INLINE vf v_set(float x) {
    return x - (vf){0};
}

V_INLINE vf v_loadu(const void *p) {
    vf v;
    memcpy(&v, p, sizeof v);
    return v;
}

V_INLINE void v_storeu(void *p, vf v) {
    memcpy(p, &v, sizeof v);
}

/* Lane by lane: mask ? a : b, with mask of 0 and -1 as comparisons give. */
V_INLINE vf v_select(vi mask, vf a, vf b) {
    return (vf)(((vi)a & mask) | ((vi)b & ~mask));
}

/* The greater; b where one is NaN. */
V_INLINE vf v_max(vf a, vf b) {
#if defined(__AVX512F__)
    return (vf)_mm512_max_ps((__m512)a, (__m512)b);
#elif defined(__AVX2__)
    return (vf)_mm256_max_ps((__m256)a, (__m256)b);
#else
    return v_select(a > b, a, b);
#endif
}

/* The lesser; b where one is NaN. */
V_INLINE vf v_min(vf a, vf b) {
#if defined(__AVX512F__)
    return (vf)_mm512_min_ps((__m512)a, (__m512)b);
#elif defined(__AVX2__)
    return (vf)_mm256_min_ps((__m256)a, (__m256)b);
#else
    return v_select(a < b, a, b);
#endif
}

V_INLINE float v_sum(vf v) {
#if defined(__AVX512F__)
    return _mm512_reduce_add_ps((__m512)v);
#else
    float lane[VL];
    memcpy(lane, &v, sizeof lane);
    for (int step = VL / 2; step > 0; step /= 2)
        for (int i = 0; i < step; i++) lane[i] += lane[i + step];
    return lane[0];
#endif
}

V_INLINE float v_highest(vf v) {
#if defined(__AVX512F__)
    return _mm512_reduce_max_ps((__m512)v);
#else
    float lane[VL];
    memcpy(lane, &v, sizeof lane);
    for (int step = VL / 2; step > 0; step /= 2)
        for (int i = 0; i < step; i++) lane[i] = lane[i] > lane[i + step] ? lane[i] : lane[i + step];
    return lane[0];
#endif
}

V_INLINE vf v_from_bf16(vh h) {
    return (vf)(__builtin_convertvector(h, vu) << 16);
}

/* Round to nearest even; NaN becomes 0x7fc0 (as para_f32_to_bf16). */
V_INLINE vh v_to_bf16(vf v) {
    vu bits = (vu)v;
    vu rounded = (bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16;
    vu nan = (vu)(v != v);
    return __builtin_convertvector((rounded & ~nan) | (nan & 0x7fc0u), vh);
}

V_INLINE vf v_round_bf16(vf v) {
    return v_from_bf16(v_to_bf16(v));
}

V_INLINE vf v_from_f16(vh h) {
    vu wide = __builtin_convertvector(h, vu), magnitude = wide & 0x7fffu;
    vu bits = (vu)((vf)(magnitude << 13) * 0x1p112f);
    vu special = (vu)(magnitude >= 0x7c00u), nan = (vu)(magnitude > 0x7c00u);
    bits = (bits & ~special) | (special & (0x7f800000u | (nan & 0x400000u) | magnitude << 13));
    return (vf)(bits | (wide & 0x8000u) << 16);
}

/* Round to nearest even (as para_f32_to_f16). */
V_INLINE vh v_to_f16(vf v) {
#if defined(__AVX512F__)
    return (vh)_mm512_cvtps_ph((__m512)v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
#elif defined(__F16C__)
    return (vh)_mm256_cvtps_ph((__m256)v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
#else
    vh h;
    for (int i = 0; i < VL; i++) h[i] = para_f32_to_f16(v[i]);
    return h;
#endif
}

V_INLINE vf v_from_f8_e4m3(vb code) {
    vu wide = __builtin_convertvector(code, vu), magnitude = wide & 0x7fu;
    vu bits = (vu)((vf)(magnitude << 20) * 0x1p120f);
    vu nan = (vu)(magnitude == 0x7fu);
    return (vf)((bits & ~nan) | (nan & 0x7ff00000u) | (wide & 0x80u) << 24);
}

/* VL elements from index i of an array of a type that is a constant where this is inlined. */
V_INLINE vf v_load(const void *p, int64_t i, para_dtype type) {
    vh h;
    vb b;
    switch (type) {
    case PARA_BF16: memcpy(&h, (const char *)p + 2 * i, sizeof h); return v_from_bf16(h);
    case PARA_F16: memcpy(&h, (const char *)p + 2 * i, sizeof h); return v_from_f16(h);
    case PARA_F8_E4M3: memcpy(&b, (const char *)p + i, sizeof b); return v_from_f8_e4m3(b);
    default: return v_loadu((const char *)p + 4 * i);
    }
}

/* The same for the last n < VL elements; the other lanes are 0. */
V_INLINE vf v_load_n(const void *p, int64_t i, para_dtype type, int64_t n) {
    char part[sizeof(vf)] = {0};
    size_t size = type == PARA_F32 ? 4 : type == PARA_F8_E4M3 ? 1 : 2;
    memcpy(part, (const char *)p + i * (int64_t)size, (size_t)n * size);
    return v_load(part, 0, type);
}

/* F32, BF16 or F16. */
V_INLINE void v_store(void *p, int64_t i, para_dtype type, vf v) {
    if (type == PARA_BF16 || type == PARA_F16) {
        vh h = type == PARA_BF16 ? v_to_bf16(v) : v_to_f16(v);
        memcpy((char *)p + 2 * i, &h, sizeof h);
    } else {
        v_storeu((char *)p + 4 * i, v);
    }
}

V_INLINE void v_store_n(void *p, int64_t i, para_dtype type, vf v, int64_t n) {
    char part[sizeof(vf)];
    size_t size = type == PARA_F32 ? 4 : 2;
    v_store(part, 0, type, v);
    memcpy((char *)p + i * (int64_t)size, part, (size_t)n * size);
}

/* Calls body(i, n) for every whole vector of [0, count) and once for the rest; n == VL means a whole one. */
#define V_FOR(i, n, count)                                                                                             \
    for (int64_t i = 0, n = VL; i < (count) && (n = (count)-i < VL ? (count)-i : VL, true); i += VL)

V_INLINE vf v_get(const void *p, int64_t i, para_dtype type, int64_t n) {
    return __builtin_expect(n == VL, 1) ? v_load(p, i, type) : v_load_n(p, i, type, n);
}

V_INLINE void v_put(void *p, int64_t i, para_dtype type, vf v, int64_t n) {
    if (__builtin_expect(n == VL, 1)) v_store(p, i, type, v);
    else v_store_n(p, i, type, v, n);
}

#endif
