/* exp, the normal distribution's tail and the activations on vectors. SPDX-License-Identifier: Apache-2.0 */
#ifndef PARA_SIMD_VEC_MATH_H
#define PARA_SIMD_VEC_MATH_H

#include "backend/backend.h"
#include "backend/cpu/simd/vec.h"

/* e^x within 2 ulp for results that are normal numbers; 0 below them (-inf included), the greatest float32 above
 * them, NaN for NaN. x = n ln 2 + r, |r| ≤ ln 2 / 2; e^r = 1 + r + r² P(r), P fitted for least relative error. */
V_INLINE vf v_exp(vf x) {
    vf t = v_max(v_set(-87.33654f), v_min(v_set(88.72283f), x));
    vf shifted = t * 1.44269504f + 0x1.8p23f; /* adding 1.5 · 2²³ rounds to an integer in the low bits */
    vf n = shifted - 0x1.8p23f;
    vf r = t - n * 0x1.62e4p-1f; /* ln 2 in two parts; n times the first is exact */
    r = r - n * 0x1.7f7d1cp-20f;
    vf p = v_set(0x1.9f081ep-13f);
    p = p * r + 0x1.6d8db2p-10f;
    p = p * r + 0x1.111272p-7f;
    p = p * r + 0x1.55548ep-5f;
    p = p * r + 0x1.555554p-3f;
    p = p * r + 0.5f;
    p = p * (r * r) + r;
    p = p + 1.0f;
    vf scaled = (vf)((vi)p + ((vi)shifted << 23));
    scaled = (vf)((vi)scaled & (vi)(x >= -87.33654f));
    return v_select(x == x, scaled, x);
}

/* 2^x within 2 ulp for results that are normal numbers; 0 below them (-inf included), NaN for NaN, and no promise for
 * x above 127.5: attention has none. x = n + r, |r| ≤ 1/2; 2^r = 1 + r P(r). */
V_INLINE vf v_exp2(vf x) {
#if defined(__AVX512F__)
    vf n = (vf)_mm512_roundscale_ps((__m512)x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
    vf r = x - n;
#else
    vf t = v_max(v_set(-126.0f), v_min(v_set(127.5f), x));
    vf shifted = t + 0x1.8p23f;
    vf r = t - (shifted - 0x1.8p23f);
#endif
    vf p = v_set(0x1.41fb62p-13f);
    p = p * r + 0x1.5f3edap-10f;
    p = p * r + 0x1.3b2d4ep-7f;
    p = p * r + 0x1.c6aee8p-5f;
    p = p * r + 0x1.ebfbdcp-3f;
    p = p * r + 0x1.62e43p-1f;
    p = p * r + 1.0f;
#if defined(__AVX512F__)
    __mmask16 normal = _mm512_cmp_ps_mask((__m512)x, _mm512_set1_ps(-126.0f), _CMP_NLT_UQ);
    return (vf)_mm512_maskz_scalef_ps(normal, (__m512)p, (__m512)n);
#else
    vf scaled = (vf)(((vi)p + ((vi)shifted << 23)) & (vi)(x >= -126.0f));
    return v_select(x == x, scaled, x);
#endif
}

/* P(X > |x|) for a standard normal X: e^(-x²/2) · t · Q(t), t = 1 / (1 + 0.4 |x| / √2), Q fitted for least relative error. */
V_INLINE vf v_normal_tail(vf x) {
    vf a = (vf)((vi)x & 0x7fffffff) * 0.70710678f;
    vf t = 1.0f / (1.0f + 0.4f * a);
    vf q = v_set(-0.009189601f);
    q = q * t + 0.038733628f;
    q = q * t - 0.037678845f;
    q = q * t - 0.04831421f;
    q = q * t + 0.08530196f;
    q = q * t - 0.024918856f;
    q = q * t + 0.08702304f;
    q = q * t + 0.078401774f;
    q = q * t + 0.10508438f;
    q = q * t + 0.11271357f;
    q = q * t + 0.112843156f;
    return v_exp(x * x * -0.5f) * (q * t);
}

/* tanh x: its Taylor series below 0.35, where the other form cancels; beyond, (1 - t) / (1 + t) with t = e^(-2|x|). */
V_INLINE vf v_tanh(vf x) {
    vf s = x * x, t = v_exp(v_select(x < 0.0f, x, -x) * 2.0f), far = (1.0f - t) / (1.0f + t);
    vf q = v_set(-1382.0f / 155925);
    q = q * s + 62.0f / 2835;
    q = q * s - 17.0f / 315;
    q = q * s + 2.0f / 15;
    q = q * s - 1.0f / 3;
    return v_select(s < 0.1225f, x + x * s * q, v_select(x < 0.0f, -far, far));
}

/* f(x); f is a constant where this is inlined. */
V_INLINE vf v_activation(para_activation f, vf x) {
    switch (f) {
    case PARA_ACT_SILU: return x / (1.0f + v_exp(-x));
    case PARA_ACT_QUICK_GELU: return x / (1.0f + v_exp(x * -1.702f));
    case PARA_ACT_GELU_TANH: /* (1 + tanh u) / 2 = 1 / (1 + e^(-2u)), u = √(2/π) (x + 0.044715 x³) */
        return x / (1.0f + v_exp(x * (x * x * (-2 * 0.7978845608f * 0.044715f) - 2 * 0.7978845608f)));
    case PARA_ACT_GELU_ERF: {
        vf part = x * v_normal_tail(x);
        return v_select(x > 0.0f, x - part, part);
    }
    case PARA_ACT_RELU: return v_select(x < 0.0f, (vf){0}, x);
    case PARA_ACT_TANH: return v_tanh(x);
    default: return x;
    }
}

/* Runs `statement` once for the run-time activation f, with F a constant in each copy. */
#define V_CASE_ACTIVATION(value, statement)                                                                            \
    case value: {                                                                                                      \
        const para_activation F = value;                                                                               \
        statement;                                                                                                     \
    } break;
#define V_SWITCH_ACTIVATION(f, statement)                                                                              \
    switch (f) {                                                                                                       \
        V_CASE_ACTIVATION(PARA_ACT_NONE, statement)                                                                    \
        V_CASE_ACTIVATION(PARA_ACT_SILU, statement)                                                                    \
        V_CASE_ACTIVATION(PARA_ACT_GELU_TANH, statement)                                                               \
        V_CASE_ACTIVATION(PARA_ACT_GELU_ERF, statement)                                                                \
        V_CASE_ACTIVATION(PARA_ACT_QUICK_GELU, statement)                                                              \
        V_CASE_ACTIVATION(PARA_ACT_RELU, statement)                                                                    \
        V_CASE_ACTIVATION(PARA_ACT_TANH, statement)                                                                    \
    }

/* Runs `statement` for the run-time type, F32 or BF16, with T a constant in each copy. */
#define V_SWITCH_TYPE(type, statement)                                                                                 \
    do {                                                                                                               \
        if ((type) == PARA_BF16) {                                                                                     \
            const para_dtype T = PARA_BF16;                                                                            \
            statement;                                                                                                 \
        } else {                                                                                                       \
            const para_dtype T = PARA_F32;                                                                             \
            statement;                                                                                                 \
        }                                                                                                              \
    } while (0)

#endif
