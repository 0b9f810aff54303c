/* MT19937 and the two ways in which torch makes normals of it. SPDX-License-Identifier: Apache-2.0
 * Matsumoto and Nishimura, "Mersenne Twister", 1998; torch: aten/src/ATen/native/cpu/DistributionTemplates.h.
 */
#include "core/rng_mt19937.h"

#include <math.h>

#include "core/float.h"

enum { WORDS = 624, MIDDLE = 397, FILL = 16 };

void para_mt19937_seed(para_rng *rng, uint64_t seed) {
    rng->mt[0] = (uint32_t)seed; /* torch, too, drops the upper half */
    for (uint32_t i = 1; i < WORDS; i++) rng->mt[i] = 1812433253u * (rng->mt[i - 1] ^ (rng->mt[i - 1] >> 30)) + i;
    rng->mt_index = WORDS;
}

static void refill(para_rng *rng) {
    for (int i = 0; i < WORDS; i++) {
        uint32_t y = (rng->mt[i] & 0x80000000u) | (rng->mt[(i + 1) % WORDS] & 0x7fffffffu);
        rng->mt[i] = rng->mt[(i + MIDDLE) % WORDS] ^ (y >> 1) ^ (y & 1 ? 0x9908b0dfu : 0);
    }
    rng->mt_index = 0;
}

static uint32_t next_word(para_rng *rng) {
    if (rng->mt_index == WORDS) refill(rng);
    uint32_t y = rng->mt[rng->mt_index++];
    y ^= y >> 11;
    y ^= y << 7 & 0x9d2c5680u;
    y ^= y << 15 & 0xefc60000u;
    return y ^ y >> 18;
}

/* 24 bits in [0, 1). */
static float next_float(para_rng *rng) {
    return (float)(next_word(rng) & 0xffffffu) * 0x1p-24f;
}

/* 53 bits in [0, 1); the first word is the upper half. */
static double next_double(para_rng *rng) {
    uint64_t high = next_word(rng), low = next_word(rng);
    return (double)((high << 32 | low) & 0x1fffffffffffffu) * 0x1p-53;
}

/* One value of torch's normal_distribution<double>, which keeps the second of each pair. */
static double next_normal(para_rng *rng) {
    if (rng->has_normal) {
        rng->has_normal = false;
        return rng->next_normal;
    }
    double u1 = next_double(rng), u2 = next_double(rng);
    double radius = sqrt(-2.0 * log1p(-u2)), theta = 2.0 * M_PI * u1;
    rng->next_normal = radius * sin(theta);
    rng->has_normal = true;
    return radius * cos(theta);
}

/* 16 uniforms become 16 normals: Box-Muller of values i and i + 8, rounded to float32 where torch's AVX2 code
 * rounds. */
static void box_muller(float *x) {
    for (int i = 0; i < FILL / 2; i++) {
        float radius = sqrtf(-2.0f * logf(1.0f - x[i])), theta = (float)(2.0 * M_PI) * x[i + FILL / 2];
        x[i] = radius * cosf(theta) + 0.0f; /* torch adds the mean: -0 becomes 0 */
        x[i + FILL / 2] = radius * sinf(theta) + 0.0f;
    }
}

static void fill_16(para_rng *rng, void *out, para_dtype dtype) {
    float x[FILL];
    for (int i = 0; i < FILL; i++) x[i] = next_float(rng);
    box_muller(x);
    para_floats_from_f32(out, dtype, x, FILL);
}

void para_mt19937_normal(para_rng *rng, void *out, para_dtype dtype, int64_t n) {
    int64_t size = (int64_t)para_dtype_size(dtype), tail = n % FILL;
    char *to = out;
    if (n < FILL) {
        for (int64_t i = 0; i < n; i++) {
            float value = (float)(next_normal(rng) + 0.0);
            para_floats_from_f32(to + i * size, dtype, &value, 1);
        }
        return;
    }
    for (int64_t i = 0; i < n - tail; i += FILL) fill_16(rng, to + i * size, dtype);
    if (tail == 0) return;
    /* The last 16 values are drawn anew. Float32 has by then drawn uniforms for all n, short types only for
     * whole blocks. */
    for (int64_t i = 0; i < tail && dtype == PARA_F32; i++) next_word(rng);
    fill_16(rng, to + (n - FILL) * size, dtype);
}
