/* Activations, sums and conversions of contiguous elements. SPDX-License-Identifier: Apache-2.0 */
#include "backend/cpu/simd/simd_table.h"
#include "backend/cpu/simd/vec.h"
#include "backend/cpu/simd/vec_math.h"

V_INLINE void activate(para_activation f, void *y, const void *x, para_dtype type, int64_t count) {
    V_FOR(i, n, count) v_put(y, i, type, v_activation(f, v_get(x, i, type, n)), n);
}

V_INLINE void gated(para_activation f, void *y, const void *a, const void *b, para_dtype type, int64_t count) {
    V_FOR(i, n, count) v_put(y, i, type, v_activation(f, v_get(a, i, type, n)) * v_get(b, i, type, n), n);
}

V_INLINE void add(void *y, para_dtype type, const float *x, int64_t count) {
    V_FOR(i, n, count) v_put(y, i, type, v_get(y, i, type, n) + v_get(x, i, PARA_F32, n), n);
}

V_INLINE void convert(void *y, para_dtype to, const void *x, para_dtype from, bool round, int64_t count) {
    V_FOR(i, n, count) {
        vf v = v_get(x, i, from, n);
        v_put(y, i, to, round ? v_round_bf16(v) : v, n);
    }
}

V_INLINE void convert_to(void *y, para_dtype to, const void *x, para_dtype from, bool round, int64_t n) {
    switch (from) {
    case PARA_BF16: convert(y, to, x, PARA_BF16, false, n); break;
    case PARA_F16: convert(y, to, x, PARA_F16, round, n); break;
    case PARA_F8_E4M3: convert(y, to, x, PARA_F8_E4M3, round, n); break;
    default: convert(y, to, x, PARA_F32, round, n); break;
    }
}

V_INLINE bool all_finite(const void *x, para_dtype type, int64_t count) {
    vi bad = {0};
    V_FOR(i, n, count) {
        vf v = v_get(x, i, type, n);
        bad |= ((vi)v & 0x7f800000) == 0x7f800000;
    }
    int32_t lane[VL], any = 0;
    memcpy(lane, &bad, sizeof lane);
    for (int i = 0; i < VL; i++) any |= lane[i];
    return !any;
}

void PARA_SIMD_NAME(para_simd_activate)(para_activation f, void *y, const void *x, para_dtype type, int64_t n) {
    V_SWITCH_TYPE(type, V_SWITCH_ACTIVATION(f, activate(F, y, x, T, n)));
}

void PARA_SIMD_NAME(para_simd_gated)(para_activation f, void *y, const void *a, const void *b, para_dtype type,
                                     int64_t n) {
    V_SWITCH_TYPE(type, V_SWITCH_ACTIVATION(f, gated(F, y, a, b, T, n)));
}

void PARA_SIMD_NAME(para_simd_add)(void *y, para_dtype type, const float *x, int64_t n) {
    V_SWITCH_TYPE(type, add(y, T, x, n));
}

void PARA_SIMD_NAME(para_simd_convert)(void *y, para_dtype to, const void *x, para_dtype from, para_dtype between,
                                       int64_t n) {
    if (to == PARA_BF16) convert_to(y, PARA_BF16, x, from, false, n);
    else if (between == PARA_BF16) convert_to(y, PARA_F32, x, from, true, n);
    else convert_to(y, PARA_F32, x, from, false, n);
}

bool PARA_SIMD_NAME(para_simd_all_finite)(const void *x, para_dtype type, int64_t n) {
    switch (type) {
    case PARA_BF16: return all_finite(x, PARA_BF16, n);
    case PARA_F16: return all_finite(x, PARA_F16, n);
    case PARA_F8_E4M3: return all_finite(x, PARA_F8_E4M3, n);
    default: return all_finite(x, PARA_F32, n);
    }
}
