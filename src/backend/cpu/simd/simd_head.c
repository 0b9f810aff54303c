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

/* What turns the elements of a token's head: rows of tables, or frequencies of its pairs and the token's position. */
typedef struct rotation {
    const char *cosine, *sine;          /* [D] F32, or NULL */
    const char *position, *frequencies; /* [3] F32; [D/2] F32 of the first axis, of the next `axis` further on */
    int64_t axis;
    bool interleaved;
} rotation;

V_INLINE const char *float_at(const para_tensor *t, int64_t element) {
    return (const char *)t->data + element * 4;
}

V_INLINE float value(const char *p, int64_t i) {
    float f;
    memcpy(&f, p + i * 4, sizeof f);
    return f;
}

V_INLINE rotation rotation_of(const para_head_args *a, int64_t token, int64_t head) {
    rotation r = {.interleaved = a->rope_interleaved};
    if (a->cos.data) {
        r.cosine = float_at(&a->cos, token * a->cos.stride[0]);
        r.sine = float_at(&a->sin, token * a->sin.stride[0]);
    } else {
        r.position = float_at(&a->positions, token * a->positions.stride[0]);
        r.frequencies = float_at(&a->frequencies, head * a->frequencies.stride[1]);
        r.axis = a->frequencies.stride[0];
    }
    return r;
}

/* cos and sin of VL elements from i on; the first half of a head where pairs are not neighbours. */
V_INLINE void turns_at(const rotation *r, int64_t i, int64_t n, vf *cosine, vf *sine) {
    if (r->cosine) {
        *cosine = v_get(r->cosine, i, PARA_F32, n);
        *sine = v_get(r->sine, i, PARA_F32, n);
        return;
    }
    float c[VL] = {0}, s[VL] = {0};
    for (int64_t lane = 0; lane < n; lane++) {
        if (r->interleaved && lane % 2) { /* VL and i are even */
            c[lane] = c[lane - 1];
            s[lane] = s[lane - 1];
            continue;
        }
        int64_t pair = r->interleaved ? (i + lane) / 2 : i + lane;
        float angle = value(r->position, 0) * value(r->frequencies, pair);
        angle = fmaf(value(r->position, 1), value(r->frequencies, r->axis + pair), angle);
        angle = fmaf(value(r->position, 2), value(r->frequencies, 2 * r->axis + pair), angle);
        c[lane] = cosf(angle);
        s[lane] = sinf(angle);
    }
    *cosine = v_loadu(c);
    *sine = v_loadu(s);
}

V_INLINE void head_row(const para_head_args *a, int64_t token, int64_t head, const void *x, void *y, int64_t d,
                       para_dtype type) {
    head_norm norm = {.weight = a->weight.data, .bias = a->bias.data};
    if (norm.weight) {
        if (a->layer_norm) norm.mean = head_mean(x, d, type);
        norm.factor = 1.0f / sqrtf(head_variance(x, d, type, norm.mean) + a->eps);
    }
    if (!a->cos.data && !a->positions.data) {
        V_FOR(i, n, d) v_put(y, i, type, normed(x, &norm, i, type, n), n);
        return;
    }
    rotation r = rotation_of(a, token, head);
    if (r.interleaved) {
        V_FOR(i, n, d) {
            vf v = normed(x, &norm, i, type, n), cosine, sine;
            turns_at(&r, i, n, &cosine, &sine);
            v_put(y, i, type, v * cosine + turn_pairs(v) * sine, n);
        }
        return;
    }
    int64_t half = d / 2;
    V_FOR(i, n, half) {
        vf low = normed(x, &norm, i, type, n), high = normed(x, &norm, i + half, type, n), cosine, sine;
        turns_at(&r, i, n, &cosine, &sine);
        v_put(y, i, type, low * cosine - high * sine, n);
        if (r.cosine) turns_at(&r, i + half, n, &cosine, &sine);
        v_put(y, i + half, type, high * cosine + low * sine, n);
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
