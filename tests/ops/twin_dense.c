/* Linear layers and convolutions in double precision. SPDX-License-Identifier: Apache-2.0 */
#include <math.h>

#include "ops/twin_ops.h"

double twin_activation(para_activation f, double x) {
    switch (f) {
    case PARA_ACT_NONE: return x;
    case PARA_ACT_SILU: return x / (1 + exp(-x));
    case PARA_ACT_GELU_TANH: return 0.5 * x * (1 + tanh(sqrt(2 / 3.14159265358979323846) * (x + 0.044715 * x * x * x)));
    case PARA_ACT_GELU_ERF: return 0.5 * x * erfc(-x / sqrt(2));
    case PARA_ACT_QUICK_GELU: return x / (1 + exp(-1.702 * x));
    case PARA_ACT_RELU: return x > 0 ? x : 0;
    case PARA_ACT_TANH: return tanh(x);
    }
    return NAN;
}

void twin_linear(double *y, const double *x, const double *w, const double *bias, int64_t m, int64_t n, int64_t k,
                 para_activation f, bool accumulate) {
    for (int64_t i = 0; i < m; i++)
        for (int64_t j = 0; j < n; j++) {
            double sum = bias ? bias[j] : 0;
            for (int64_t l = 0; l < k; l++) sum += x[i * k + l] * w[j * k + l];
            y[i * n + j] = (accumulate ? y[i * n + j] : 0) + twin_activation(f, sum);
        }
}

void twin_conv2d(double *y, const double *x, const double *w, const double *bias, const twin_conv_sizes *s) {
    for (int64_t n = 0; n < s->n; n++)
        for (int64_t oy = 0; oy < s->oh; oy++)
            for (int64_t ox = 0; ox < s->ow; ox++)
                for (int64_t o = 0; o < s->o; o++) {
                    double sum = bias ? bias[o] : 0;
                    for (int64_t ky = 0; ky < s->kh; ky++)
                        for (int64_t kx = 0; kx < s->kw; kx++) {
                            int64_t iy = oy * s->stride + ky - s->top, ix = ox * s->stride + kx - s->left;
                            if (iy < 0 || iy >= s->h || ix < 0 || ix >= s->w) continue;
                            for (int64_t i = 0; i < s->i; i++)
                                sum += x[((n * s->h + iy) * s->w + ix) * s->i + i] *
                                       w[((o * s->i + i) * s->kh + ky) * s->kw + kx];
                        }
                    y[((n * s->oh + oy) * s->ow + ox) * s->o + o] = sum;
                }
}

/* What lies at (t, y, x) of item n of the enlarged, padded video. */
static double pixel_at(const double *video, const double *before, const twin_video_sizes *s, int64_t n, int64_t t, int64_t y, int64_t x, int64_t i) {
    const int64_t *g = s->grown;
    bool outside = y < 0 || y >= g[1] || x < 0 || x >= g[2], odd = g[0] > 1 && g[0] % 2;
    if (outside && !s->replicate) return 0;
    y = y < 0 ? 0 : y >= g[1] ? g[1] - 1 : y;
    x = x < 0 ? 0 : x >= g[2] ? g[2] - 1 : x;
    if (t < 0 && before) return before[(((n * (s->k[0] - 1) + t + s->k[0] - 1) * g[1] + y) * g[2] + x) * s->i + i];
    if (t < 0) t = 0;
    /* F.interpolate's nearest: floor of the position times the ratio; with an odd number of frames of all but the first */
    if (odd && t > 0) t = 1 + (int64_t)floor((double)(t - 1) * ((double)(s->x[0] - 1) / (double)(g[0] - 1)));
    else if (!odd) t = (int64_t)floor((double)t * ((double)s->x[0] / (double)g[0]));
    y = (int64_t)floor((double)y * ((double)s->x[1] / (double)g[1]));
    x = (int64_t)floor((double)x * ((double)s->x[2] / (double)g[2]));
    return video[(((n * s->x[0] + t) * s->x[1] + y) * s->x[2] + x) * s->i + i];
}

void twin_conv3d(double *y, const double *x, const double *before, const double *w, const double *bias, const twin_video_sizes *s) {
    int64_t at = 0;
    for (int64_t n = 0; n < s->n; n++)
        for (int64_t pixel = 0; pixel < s->y[0] * s->y[1] * s->y[2]; pixel++)
            for (int64_t o = 0; o < s->o; o++, at++) {
                int64_t ox = pixel % s->y[2], oy = pixel / s->y[2] % s->y[1], ot = pixel / s->y[2] / s->y[1];
                double sum = bias ? bias[o] : 0;
                for (int64_t tap = 0; tap < s->k[0] * s->k[1] * s->k[2]; tap++) {
                    int64_t kx = tap % s->k[2], ky = tap / s->k[2] % s->k[1], kt = tap / s->k[2] / s->k[1];
                    for (int64_t i = 0; i < s->i; i++)
                        sum += pixel_at(x, before, s, n, ot * s->stride[0] + kt - (s->k[0] - 1), oy * s->stride[1] + ky - s->pad[1],
                                        ox * s->stride[2] + kx - s->pad[2], i) *
                               w[(o * s->i + i) * s->k[0] * s->k[1] * s->k[2] + tap];
                }
                y[at] = sum;
            }
}
