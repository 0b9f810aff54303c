/* Layer and RMS norm with modulation, alone or after a gated residual. SPDX-License-Identifier: Apache-2.0 */
#include "backend/cpu/simd/simd_table.h"
#include "backend/cpu/simd/vec.h"
#include "backend/cpu/simd/vec_math.h"

#include <math.h>

V_INLINE float row_sum(const void *x, para_dtype type, int64_t d) {
    vf sum0 = {0}, sum1 = {0};
    int64_t i = 0;
    for (; i + 2 * VL <= d; i += 2 * VL) {
        sum0 += v_load(x, i, type);
        sum1 += v_load(x, i + VL, type);
    }
    for (; i < d; i += VL) sum0 += v_get(x, i, type, d - i < VL ? d - i : VL);
    return v_sum(sum0 + sum1);
}

/* Sum of (x - centre)². */
V_INLINE float row_squares(const void *x, para_dtype type, int64_t d, float centre) {
    vf sum0 = {0}, sum1 = {0};
    int64_t i = 0;
    for (; i + 2 * VL <= d; i += 2 * VL) {
        vf a = v_load(x, i, type) - centre, b = v_load(x, i + VL, type) - centre;
        sum0 += a * a;
        sum1 += b * b;
    }
    for (; i + VL <= d; i += VL) {
        vf a = v_load(x, i, type) - centre;
        sum0 += a * a;
    }
    float rest = 0;
    if (i < d) {
        float lane[VL];
        vf a = v_load_n(x, i, type, d - i) - centre;
        memcpy(lane, &a, sizeof lane);
        for (int64_t j = 0; j < d - i; j++) rest += lane[j] * lane[j];
    }
    return v_sum(sum0 + sum1) + rest;
}

V_INLINE void norm_row(const para_norm_args *a, const void *x, void *y, int64_t d, para_dtype type) {
    float mean = a->kind == PARA_NORM_LAYER ? row_sum(x, type, d) / (float)d : 0.0f;
    float factor = 1.0f / sqrtf(row_squares(x, type, d, mean) / (float)d + a->eps);
    const void *weight = a->weight.data, *bias = a->bias.data, *scale = a->scale.data, *shift = a->shift.data;
    V_FOR(i, n, d) {
        vf v = (v_get(x, i, type, n) - mean) * factor;
        if (weight) v *= v_get(weight, i, PARA_F32, n);
        if (bias) v += v_get(bias, i, PARA_F32, n);
        if (scale) v *= 1.0f + v_get(scale, i, PARA_F32, n);
        if (shift) v += v_get(shift, i, PARA_F32, n);
        v_put(y, i, type, v, n);
    }
}

V_INLINE void norm_rows(const para_norm_args *a, int64_t first, int64_t last, para_dtype type) {
    int64_t size = type == PARA_BF16 ? 2 : 4;
    for (int64_t row = first; row < last; row++)
        norm_row(a, (char *)a->x.data + row * a->x.stride[0] * size, (char *)a->y.data + row * a->y.stride[0] * size,
                 a->x.dim[1], type);
}

V_INLINE void residual_rows(const para_residual_args *a, int64_t first, int64_t last, para_dtype type) {
    int64_t size = type == PARA_BF16 ? 2 : 4, d = a->x.dim[1];
    const void *gate = a->gate.data;
    for (int64_t row = first; row < last; row++) {
        char *x = (char *)a->x.data + row * a->x.stride[0] * size;
        const char *y = (char *)a->y.data + row * a->y.stride[0] * size;
        float factor = a->rms_norm ? 1.0f / sqrtf(row_squares(y, type, d, 0.0f) / (float)d + a->eps) : 1.0f;
        V_FOR(i, n, d) {
            vf v = v_get(y, i, type, n) * factor;
            if (gate) v *= v_get(gate, i, PARA_F32, n);
            v_put(x, i, type, v_get(x, i, type, n) + v, n);
        }
        if (a->norm) norm_row(a->norm, x, (char *)a->norm->y.data + row * a->norm->y.stride[0] * size, d, type);
    }
}

void PARA_SIMD_NAME(para_simd_norm)(const para_norm_args *a, int64_t first, int64_t last) {
    V_SWITCH_TYPE(a->x.dtype, norm_rows(a, first, last, T));
}

void PARA_SIMD_NAME(para_simd_residual)(const para_residual_args *a, int64_t first, int64_t last) {
    V_SWITCH_TYPE(a->x.dtype, residual_rows(a, first, last, T));
}
