/* Norms in double precision. SPDX-License-Identifier: Apache-2.0 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "ops/twin_ops.h"

void twin_norm(double *y, const double *x, int64_t d, para_norm_kind kind, double eps, const double *weight,
               const double *bias, const double *scale, const double *shift) {
    double mean = 0, variance = 0;
    for (int64_t i = 0; i < d && kind == PARA_NORM_LAYER; i++) mean += x[i] / (double)d;
    for (int64_t i = 0; i < d; i++) variance += (x[i] - mean) * (x[i] - mean) / (double)d;
    for (int64_t i = 0; i < d; i++) {
        double v = (x[i] - mean) / sqrt(variance + eps);
        if (weight) v *= weight[i];
        if (bias) v += bias[i];
        if (scale) v *= 1 + scale[i];
        if (shift) v += shift[i];
        y[i] = v;
    }
}

void twin_group_norm(double *y, const double *x, int64_t n, int64_t pixels, int64_t c, int groups, double eps,
                     const double *weight, const double *bias, para_activation f) {
    int64_t size = c / groups;
    for (int64_t picture = 0; picture < n; picture++)
        for (int g = 0; g < groups; g++) {
            const double *in = x + picture * pixels * c + g * size;
            double *out = y + picture * pixels * c + g * size;
            double mean = 0, variance = 0, count = (double)(pixels * size);
            for (int64_t p = 0; p < pixels; p++)
                for (int64_t i = 0; i < size; i++) mean += in[p * c + i] / count;
            for (int64_t p = 0; p < pixels; p++)
                for (int64_t i = 0; i < size; i++) variance += (in[p * c + i] - mean) * (in[p * c + i] - mean) / count;
            for (int64_t p = 0; p < pixels; p++)
                for (int64_t i = 0; i < size; i++)
                    out[p * c + i] = twin_activation(
                        f, (in[p * c + i] - mean) / sqrt(variance + eps) * weight[g * size + i] + bias[g * size + i]);
        }
}

/* What the op promises of an angle: products and sum rounded to float32, as fmaf does. */
static double angle(const twin_head_options *o, int64_t t, int64_t head, int64_t pair, int64_t h, int64_t d) {
    float sum = 0;
    for (int64_t a = 0; a < 3; a++)
        sum = fmaf((float)o->positions[3 * t + a], (float)o->frequencies[(a * h + head) * (d / 2) + pair], sum);
    return sum;
}

void twin_head(double *y, const double *x, int64_t s, int64_t h, int64_t d, const twin_head_options *o) {
    double *own = malloc((size_t)d * sizeof *own);
    for (int64_t t = 0; t < s; t++)
        for (int64_t head = 0; head < h; head++) {
            const double *in = x + (t * h + head) * d;
            double *out = y + (head * s + t) * d;
            if (o->weight) twin_norm(own, in, d, o->kind, o->eps, o->weight, o->bias, NULL, NULL);
            else memcpy(own, in, (size_t)d * sizeof *own);
            for (int64_t i = 0; i < d; i++) {
                int64_t partner = o->interleaved ? i ^ 1 : (i + d / 2) % d;
                bool first = o->interleaved ? i % 2 == 0 : i < d / 2;
                out[i] = own[i];
                if (!o->cosine && !o->positions) continue;
                double by = o->cosine ? 0 : angle(o, t, head, o->interleaved ? i / 2 : i % (d / 2), h, d);
                out[i] *= o->cosine ? o->cosine[t * d + i] : cos(by);
                out[i] += (first ? -own[partner] : own[partner]) * (o->cosine ? o->sine[t * d + i] : sin(by));
            }
        }
    free(own);
}
