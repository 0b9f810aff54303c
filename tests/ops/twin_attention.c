/* Attention in double precision. SPDX-License-Identifier: Apache-2.0 */
#include <math.h>
#include <stdlib.h>

#include "ops/twin_ops.h"

/* One query's scores; those that are not attended are -inf. */
static double scores_of(double *score, const double *q, const double *k, const double *mask, int64_t query,
                        const twin_attention_sizes *s) {
    double highest = -INFINITY;
    for (int64_t j = 0; j < s->skv; j++) {
        double dot = 0;
        for (int64_t i = 0; i < s->d; i++) dot += q[i] * k[j * s->d + i];
        score[j] = dot * s->scale;
        if (mask && s->mask_is_bool && mask[j] == 0) score[j] = -INFINITY;
        if (mask && !s->mask_is_bool) score[j] += mask[j];
        if (s->causal && j > query + s->causal_offset) score[j] = -INFINITY;
        if (score[j] > highest) highest = score[j];
    }
    return highest;
}

void twin_attention(double *out, double *lse, const double *q, const double *k, const double *v, const double *mask,
                    const twin_attention_sizes *s) {
    double *score = malloc((size_t)(s->skv + 1) * sizeof *score);
    for (int64_t row = 0; row < s->b * s->h * s->sq; row++) {
        int64_t query = row % s->sq, head = row / s->sq % s->h, b = row / s->sq / s->h;
        int64_t key_head = b * s->hkv + head / (s->h / s->hkv);
        double highest =
            scores_of(score, q + row * s->d, k + key_head * s->skv * s->d, mask ? mask + row * s->skv : NULL, query, s);
        double sum = 0;
        for (int64_t j = 0; j < s->skv; j++) {
            score[j] = highest == -INFINITY ? 0 : exp(score[j] - highest);
            sum += score[j];
        }
        for (int64_t i = 0; i < s->dv; i++) {
            double mean = 0;
            for (int64_t j = 0; j < s->skv; j++) mean += score[j] * v[(key_head * s->skv + j) * s->dv + i];
            out[row * s->dv + i] = sum > 0 ? mean / sum : 0;
        }
        lse[row] = sum > 0 ? highest + log(sum) : -INFINITY;
    }
    free(score);
}

void twin_merge(double *out, double *lse, const double *part, const double *part_lse, int64_t rows, int64_t dv) {
    for (int64_t r = 0; r < rows; r++) {
        double highest = fmax(lse[r], part_lse[r]);
        if (highest == -INFINITY) continue;
        double keep = exp(lse[r] - highest), add = exp(part_lse[r] - highest);
        for (int64_t i = 0; i < dv; i++)
            out[r * dv + i] = (keep * out[r * dv + i] + add * part[r * dv + i]) / (keep + add);
        lse[r] = highest + log(keep + add);
    }
}
