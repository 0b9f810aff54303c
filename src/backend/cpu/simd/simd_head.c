/* Norm over the head dimension and rotary embedding. SPDX-License-Identifier: Apache-2.0 */
#include "backend/cpu/simd/simd_table.h"
#include "backend/cpu/simd/vec.h"
#include "backend/cpu/simd/vec_math.h"

#include <math.h>

/* The neighbours of each pair exchanged, the new even lanes negated: what the sine multiplies. */
V_INLINE vf turn_pairs(vf v) {
    typedef uint64_t pairs __attribute__((vector_size(VL * 4)));
    vi sign;
    for (int i = 0; i < VL; i++) sign[i] = i % 2 ? 0 : INT32_MIN;
    pairs exchanged = (pairs)v << 32 | (pairs)v >> 32; /* a rotation: gcc and clang both have it */
    return (vf)((vi)exchanged ^ sign);
}

/* What a head's norm does to its elements: (x - mean) · factor · weight + bias. */
typedef struct head_norm {
    const void *weight, *bias; /* [D] F32; or NULL */
    float mean, factor;
} head_norm;

/* VL normed elements of a head. */
V_INLINE vf normed(const void *x, const head_norm *norm, int64_t i, para_dtype type, int64_t n) {
    vf v = v_get(x, i, type, n);
    if (!norm->weight) return v;
    v = (v - norm->mean) * norm->factor * v_get(norm->weight, i, PARA_F32, n);
    return norm->bias ? v + v_get(norm->bias, i, PARA_F32, n) : v;
}

V_INLINE float head_mean(const void *x, int64_t d, para_dtype type) {
    vf sum = {0};
    V_FOR(i, n, d) sum += v_get(x, i, type, n);
    return v_sum(sum) / (float)d;
}

/* Mean of (x - mean)²; beyond the row's end the lanes are zero, of which the mean is not taken away. */
V_INLINE float head_variance(const void *x, int64_t d, para_dtype type, float mean) {
    vf sum = {0};
    V_FOR(i, n, d) {
        vf v = v_get(x, i, type, n);
        if (n == VL) v -= mean;
        else
            for (int64_t lane = 0; lane < n; lane++) v[lane] -= mean;
        sum += v * v;
    }
    return v_sum(sum) / (float)d;
}

/* Where a table has the row of a token and head. */
V_INLINE const char *table_row(const para_tensor *t, int64_t token, int64_t head) {
    return (const char *)t->data + (token * t->stride[0] + (t->rank == 3 ? head * t->stride[1] : 0)) * 4;
}

V_INLINE void head_row(const para_head_args *a, int64_t token, int64_t head, const void *x, void *y, int64_t d,
                       para_dtype type) {
    head_norm norm = {.weight = a->weight.data, .bias = a->bias.data};
    if (norm.weight) {
        if (a->layer_norm) norm.mean = head_mean(x, d, type);
        norm.factor = 1.0f / sqrtf(head_variance(x, d, type, norm.mean) + a->eps);
    }
    if (!a->cos.data) {
        V_FOR(i, n, d) v_put(y, i, type, normed(x, &norm, i, type, n), n);
        return;
    }
    const char *cosine = table_row(&a->cos, token, head), *sine = table_row(&a->sin, token, head);
    if (a->rope_interleaved) {
        V_FOR(i, n, d) {
            vf v = normed(x, &norm, i, type, n);
            v_put(y, i, type, v * v_get(cosine, i, PARA_F32, n) + turn_pairs(v) * v_get(sine, i, PARA_F32, n), n);
        }
        return;
    }
    int64_t half = d / 2;
    V_FOR(i, n, half) {
        vf low = normed(x, &norm, i, type, n), high = normed(x, &norm, i + half, type, n);
        v_put(y, i, type, low * v_get(cosine, i, PARA_F32, n) - high * v_get(sine, i, PARA_F32, n), n);
        v_put(y, i + half, type, high * v_get(cosine, i + half, PARA_F32, n) + low * v_get(sine, i + half, PARA_F32, n),
              n);
    }
}

V_INLINE void head_rows(const para_head_args *a, int64_t first, int64_t last, para_dtype type) {
    int64_t size = type == PARA_BF16 ? 2 : 4;
    for (int64_t s = first; s < last; s++)
        for (int64_t h = 0; h < a->x.dim[1]; h++)
            head_row(a, s, h, (char *)a->x.data + (s * a->x.stride[0] + h * a->x.stride[1]) * size,
                     (char *)a->y.data + (h * a->y.stride[0] + s * a->y.stride[1]) * size, a->x.dim[2], type);
}

void PARA_SIMD_NAME(para_simd_head)(const para_head_args *a, int64_t first, int64_t last) {
    V_SWITCH_TYPE(a->x.dtype, head_rows(a, first, last, T));
}
