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
