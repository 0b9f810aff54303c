/* Philox 4x32-10 and the order in which torch's CUDA kernel hands out its normals. SPDX-License-Identifier:
 * Apache-2.0 Salmon et al., "Parallel Random Numbers: As Easy as 1, 2, 3", 2011; torch:
 * aten/src/ATen/native/cuda/DistributionTemplates.h. */
#include "core/rng_philox.h"

#include <math.h>

#include "core/float.h"

/* torch's launch: threads of a block, normals that a thread makes at a time, what each time adds to the
 * offset. */
enum { BLOCK = 256, UNROLL = 4, OFFSET_STEP = 4 };
enum { H200_SMS = 132, H200_THREADS_PER_SM = 2048 };

void para_philox_seed(para_rng *rng, uint64_t seed) {
    rng->seed = seed;
    rng->offset = 0;
    rng->cuda_sms = H200_SMS;
    rng->cuda_threads_per_sm = H200_THREADS_PER_SM;
}

/* Four words for one counter. */
static void philox(uint64_t seed, uint64_t position, uint64_t subsequence, uint32_t out[4]) {
    uint32_t c[4] = {(uint32_t)position, (uint32_t)(position >> 32), (uint32_t)subsequence,
                     (uint32_t)(subsequence >> 32)};
    uint32_t key[2] = {(uint32_t)seed, (uint32_t)(seed >> 32)};
    for (int round = 0; round < 10; round++) {
        uint64_t a = (uint64_t)0xd2511f53u * c[0], b = (uint64_t)0xcd9e8d57u * c[2];
        c[0] = (uint32_t)(b >> 32) ^ c[1] ^ key[0];
        c[1] = (uint32_t)b;
        c[2] = (uint32_t)(a >> 32) ^ c[3] ^ key[1];
        c[3] = (uint32_t)a;
        key[0] += 0x9e3779b9u;
        key[1] += 0xbb67ae85u;
    }
    for (int i = 0; i < 4; i++) out[i] = c[i];
}

/* The product rounded towards zero. */
static float multiply_down(float a, float b) {
    double exact = (double)a * b;
    float nearest = (float)exact;
    return nearest > exact ? nextafterf(nearest, 0) : nearest;
}

/* To a multiple of 2^-23, towards zero. */
static float truncate_sine(double x) {
    return (float)(trunc(x * 0x1p23) * 0x1p-23);
}

/* Two words become two normals, rounded where cuRAND's __sincosf rounds: the GPU's sine takes turns, cut to a float, and its
 * result is cut, too. Without these cuts the values are 1.4e-6 off instead of 8e-7, and the sums of 10^7 draws by 1 part in 10^7. */
static void box_muller(const uint32_t word[2], float out[2]) {
    const float turn = 0x1p-32f * 6.2831855f, per_turn = 0.15915494f;
    float u = fmaf((float)word[0], 0x1p-32f, 0x1p-33f), v = fmaf((float)word[1], turn, turn / 2);
    float radius = sqrtf(-2.0f * logf(u));
    double angle = 2 * M_PI * multiply_down(v, per_turn);
    out[0] = radius * truncate_sine(sin(angle)) + 0.0f; /* torch adds the mean: -0 becomes 0 */
    out[1] = radius * truncate_sine(cos(angle)) + 0.0f;
}

void para_philox_normal(para_rng *rng, void *out, para_dtype dtype, int64_t n) {
    if (n <= 0) return;
    int64_t size = (int64_t)para_dtype_size(dtype), blocks = (n + BLOCK - 1) / BLOCK;
    int64_t resident = (int64_t)rng->cuda_sms * (rng->cuda_threads_per_sm / BLOCK);
    int64_t threads = BLOCK * (blocks < resident ? blocks : resident), rounds = (n - 1) / (threads * UNROLL) + 1;
    char *to = out;
    for (int64_t r = 0; r < rounds; r++) {
        for (int64_t t = 0; t < threads; t++) {
            uint32_t word[UNROLL];
            float value[UNROLL];
            int64_t first = r * threads * UNROLL + t;
            if (first >= n) break;
            philox(rng->seed, rng->offset / OFFSET_STEP + (uint64_t)r, (uint64_t)t, word);
            box_muller(word, value);
            box_muller(word + 2, value + 2);
            for (int64_t i = 0, at = first; i < UNROLL && at < n; i++, at += threads)
                para_floats_from_f32(to + at * size, dtype, &value[i], 1);
        }
    }
    rng->offset += (uint64_t)rounds * OFFSET_STEP;
}
