/* Two attentions over different keys into one, by their LSE. SPDX-License-Identifier: Apache-2.0 */
#include "backend/cpu/simd/simd_table.h"
#include "backend/cpu/simd/vec.h"

#include <math.h>

/* The row-th element of [B, H, Sq, …]. */
static float *row_of(const para_tensor *t, int64_t row) {
    int64_t s = row % t->dim[2], h = row / t->dim[2] % t->dim[1], b = row / t->dim[2] / t->dim[1];
    return (float *)t->data + b * t->stride[0] + h * t->stride[1] + s * t->stride[2];
}

void PARA_SIMD_NAME(para_simd_merge)(const para_merge_args *a, int64_t first, int64_t last) {
    int64_t dv = a->out.dim[3];
    for (int64_t row = first; row < last; row++) {
        float *out = row_of(&a->out, row), *lse = row_of(&a->lse, row), mine = *lse;
        const float *part = row_of(&a->part_out, row);
        float other = *row_of(&a->part_lse, row), highest = mine > other ? mine : other;
        if (other == -INFINITY) continue; /* nothing comes in */
        float keep = expf(mine - highest), add = expf(other - highest), sum = keep + add;
        *lse = highest + logf(sum);
        keep /= sum;
        add /= sum;
        V_FOR(i, n, dv)
        v_put(out, i, PARA_F32, v_get(out, i, PARA_F32, n) * keep + v_get(part, i, PARA_F32, n) * add, n);
    }
}
