/* Conversions between float32 and the short float types. SPDX-License-Identifier: Apache-2.0 */
#include "core/float.h"

static inline float float_of(uint32_t bits) {
    float f;
    memcpy(&f, &bits, 4);
    return f;
}

static inline uint32_t bits_of(float f) {
    uint32_t bits;
    memcpy(&bits, &f, 4);
    return bits;
}

/* Branch-free, so that the loops below vectorise: the short number's bits stand in a float32's place and a
 * multiplication by a power of two moves the exponent's bias; it is exact for subnormal numbers too. */
static inline float f16_to_f32(uint16_t h) {
    uint32_t magnitude = h & 0x7fffu;
    uint32_t bits = bits_of(float_of(magnitude << 13) * 0x1p112f);
    uint32_t special = magnitude > 0x7c00u ? 0x7fc00000u : 0x7f800000u;
    bits = magnitude >= 0x7c00u ? special | magnitude << 13 : bits;
    return float_of(bits | (uint32_t)(h & 0x8000u) << 16);
}

static inline float f8_e4m3_to_f32(uint8_t code) {
    uint32_t magnitude = code & 0x7fu;
    uint32_t bits = bits_of(float_of(magnitude << 20) * 0x1p120f);
    bits = magnitude == 0x7fu ? 0x7ff00000u : bits; /* the only NaN; no infinities */
    return float_of(bits | (uint32_t)(code & 0x80u) << 24);
}

static inline uint16_t f32_to_f16(float f) {
    uint32_t bits = bits_of(f), magnitude = bits & 0x7fffffffu;
    uint32_t half;
    if (magnitude > 0x7f800000u) {
        half = 0x7e00u;
    } else if (magnitude >= 0x477ff000u) { /* 65520 and more round to infinity */
        half = 0x7c00u;
    } else if (magnitude < 0x38800000u) { /* below 2^-14: the adder rounds to the subnormal grid of 2^-24 */
        half = bits_of(float_of(magnitude) + 0.5f) - 0x3f000000u;
    } else {
        half = (magnitude - 0x38000000u + 0xfffu + ((magnitude >> 13) & 1u)) >> 13;
    }
    return (uint16_t)(half | (bits >> 16 & 0x8000u));
}

float para_f16_to_f32(uint16_t h) {
    return f16_to_f32(h);
}

uint16_t para_f32_to_f16(float f) {
    return f32_to_f16(f);
}

float para_f8_e4m3_to_f32(uint8_t code) {
    return f8_e4m3_to_f32(code);
}

void para_floats_to_f32(float *out, const void *in, para_dtype from, int64_t n) {
    const char *bytes = in; /* may lie at any address; memcpy compiles to plain loads */
    switch (from) {
    case PARA_F32: memmove(out, in, (size_t)n * 4); return;
    case PARA_BF16:
        for (int64_t i = 0; i < n; i++) {
            uint16_t h;
            memcpy(&h, bytes + 2 * i, 2);
            out[i] = para_bf16_to_f32(h);
        }
        return;
    case PARA_F16:
        for (int64_t i = 0; i < n; i++) {
            uint16_t h;
            memcpy(&h, bytes + 2 * i, 2);
            out[i] = f16_to_f32(h);
        }
        return;
    case PARA_F8_E4M3:
        for (int64_t i = 0; i < n; i++) out[i] = f8_e4m3_to_f32((uint8_t)bytes[i]);
        return;
    default: return; /* not a float type: nothing to convert */
    }
}

void para_floats_from_f32(void *out, para_dtype to, const float *in, int64_t n) {
    char *bytes = out;
    switch (to) {
    case PARA_F32: memmove(out, in, (size_t)n * 4); return;
    case PARA_BF16:
        for (int64_t i = 0; i < n; i++) {
            uint16_t h = para_f32_to_bf16(in[i]);
            memcpy(bytes + 2 * i, &h, 2);
        }
        return;
    case PARA_F16:
        for (int64_t i = 0; i < n; i++) {
            uint16_t h = f32_to_f16(in[i]);
            memcpy(bytes + 2 * i, &h, 2);
        }
        return;
    default: return;
    }
}
