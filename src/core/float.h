/* Conversions between float32 and the short float types, bit for bit as PyTorch. SPDX-License-Identifier: Apache-2.0 */
#ifndef PARA_CORE_FLOAT_H
#define PARA_CORE_FLOAT_H

#include <paraattn/tensor.h>
#include <stdint.h>
#include <string.h>

static inline float para_bf16_to_f32(uint16_t h) {
    uint32_t bits = (uint32_t)h << 16;
    float f;
    memcpy(&f, &bits, 4);
    return f;
}

/* Round to nearest, ties to even; NaN becomes 0x7fc0 as in torch. */
static inline uint16_t para_f32_to_bf16(float f) {
    uint32_t bits;
    memcpy(&bits, &f, 4);
    if ((bits & 0x7fffffffu) > 0x7f800000u) return 0x7fc0;
    return (uint16_t)((bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16);
}

float para_f16_to_f32(uint16_t h);
uint16_t para_f32_to_f16(float f); /* round to nearest, ties to even */
float para_f8_e4m3_to_f32(uint8_t code);

/* Converts n elements of any float type to float32, or float32 to `to` (F32, F16, BF16). Pointers need no alignment beyond the type's. */
void para_floats_to_f32(float *out, const void *in, para_dtype from, int64_t n);
void para_floats_from_f32(void *out, para_dtype to, const float *in, int64_t n);

#endif
