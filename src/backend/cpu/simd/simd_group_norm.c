/* Moments of channels and the scaling that group norm makes of them. SPDX-License-Identifier: Apache-2.0 */
#include "backend/cpu/simd/simd_table.h"
#include "backend/cpu/simd/vec.h"
#include "backend/cpu/simd/vec_math.h"

/* Pixels that are taken together: their sums stay short in float32 and they stay in the cache for the second pass. */
enum { PIXELS = 64 };

/* Merges the VL channels at `at` of `count` ≤ PIXELS pixels into the running moments (Chan, Golub and LeVeque 1983). */
V_INLINE void merge(const void *x, para_dtype type, int64_t count, int64_t channels, int64_t at, int64_t n,
                    double before, double *mean, double *m2) {
    vf sum = {0}, rest = {0}, squares = {0};
    for (int64_t p = 0; p < count; p++) sum += v_get(x, p * channels + at, type, n);
    vf centre = sum * (1.0f / (float)count);
    for (int64_t p = 0; p < count; p++) {
        vf v = v_get(x, p * channels + at, type, n) - centre;
        rest += v; /* what rounding left out of the centre */
        squares += v * v;
    }
    float centre_of[VL], rest_of[VL], squares_of[VL];
    memcpy(centre_of, &centre, sizeof centre);
    memcpy(rest_of, &rest, sizeof rest);
    memcpy(squares_of, &squares, sizeof squares);
    for (int64_t i = 0; i < n; i++) {
        double off = rest_of[i] / (double)count, total = before + (double)count;
        double step = centre_of[i] + off - mean[at + i];
        mean[at + i] += step * (double)count / total;
        m2[at + i] += squares_of[i] - off * off * (double)count + step * step * before * (double)count / total;
    }
}

V_INLINE void moments(const char *x, para_dtype type, int64_t count, int64_t channels, int64_t before, double *mean,
                      double *m2) {
    int64_t pixel = channels * (type == PARA_BF16 ? 2 : 4);
    for (int64_t p = 0; p < count; p += PIXELS) {
        int64_t now = count - p < PIXELS ? count - p : PIXELS;
        V_FOR(i, n, channels) merge(x + p * pixel, type, now, channels, i, n, (double)(before + p), mean, m2);
    }
}

V_INLINE void channel_scale(para_activation f, char *y, const char *x, para_dtype type, int64_t count, int64_t channels,
                            const float *scale, const float *offset) {
    int64_t pixel = channels * (type == PARA_BF16 ? 2 : 4);
    for (int64_t p = 0; p < count; p++) V_FOR(i, n, channels)
    v_put(y + p * pixel, i, type,
          v_activation(f,
                       v_get(x + p * pixel, i, type, n) * v_get(scale, i, PARA_F32, n) + v_get(offset, i, PARA_F32, n)),
          n);
}

void PARA_SIMD_NAME(para_simd_channel_moments)(const void *x, para_dtype type, int64_t count, int64_t c, int64_t before,
                                               double *mean, double *m2) {
    V_SWITCH_TYPE(type, moments(x, T, count, c, before, mean, m2));
}

void PARA_SIMD_NAME(para_simd_channel_scale)(para_activation f, void *y, const void *x, para_dtype type, int64_t count,
                                             int64_t c, const float *scale, const float *offset) {
    V_SWITCH_TYPE(type, V_SWITCH_ACTIVATION(f, channel_scale(F, y, x, T, count, c, scale, offset)));
}
