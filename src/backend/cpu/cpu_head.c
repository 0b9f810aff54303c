/* Norm over the head dimension, rotary embedding, head layout. SPDX-License-Identifier: Apache-2.0 */
#include "backend/cpu/cpu.h"
#include "core/error.h"

typedef struct head_task {
    const para_simd *simd;
    const para_head_args *a;
} head_task;

static void head_range(void *context, int64_t first, int64_t last, int worker) {
    const head_task *t = context;
    (void)worker;
    t->simd->head(t->a, first, last);
}

static bool vector_of(const para_tensor *t, int64_t d) {
    return !t->data || (t->dim[0] == d && t->dtype == PARA_F32);
}

/* [rows, d] of F32, or none. */
static bool matrix_of(const para_tensor *t, int64_t rows, int64_t d) {
    return !t->data || (t->rank == 2 && t->dim[0] == rows && t->dim[1] == d && t->dtype == PARA_F32);
}

/* [3, H, D/2] of F32, or none. */
static bool frequencies_of(const para_tensor *t, const int64_t x[3]) {
    return !t->data || (t->rank == 3 && t->dim[0] == 3 && t->dim[1] == x[1] && t->dim[2] == x[2] / 2 &&
                        t->dtype == PARA_F32);
}

/* Heads that go to several places, one after the other. */
static para_status each_part(para_device *dev, const para_head_args *a) {
    int64_t first = 0;
    for (int i = 0; i < a->parts; i++) {
        para_head_args part = *a;
        int64_t heads = a->part[i].dim[0];
        PARA_TRY(para_cpu_check(heads <= a->x.dim[1] - first, "head", "parts have more heads than x"));
        part.parts = 0;
        part.x = para_slice(a->x, 1, first, heads);
        part.y = a->part[i];
        if (a->frequencies.rank == 3) part.frequencies = para_slice(a->frequencies, 1, first, heads);
        PARA_TRY(para_cpu_head(dev, &part));
        first += heads;
    }
    return para_cpu_check(first == a->x.dim[1], "head", "parts have fewer heads than x");
}

para_status para_cpu_head(para_device *dev, const para_head_args *a) {
    if (a->parts) return each_part(dev, a);
    const int64_t *x = a->x.dim, *y = a->y.dim;
    head_task task = {para_simd_of(dev), a};
    PARA_TRY(para_cpu_check(a->x.rank == 3 && a->y.rank == 3 && x[0] == y[1] && x[1] == y[0] && x[2] == y[2] &&
                                a->x.dtype == a->y.dtype,
                            "head", "x [S, H, D] and y [H, S, D] do not fit together"));
    PARA_TRY(
        para_cpu_check(vector_of(&a->weight, x[2]) && vector_of(&a->bias, x[2]) && (a->weight.data || !a->bias.data),
                       "head", "weight and bias must be [D] of F32, and a bias goes with a weight"));
    bool tables = a->cos.data, angles = a->positions.data;
    PARA_TRY(para_cpu_check(tables == !!a->sin.data && matrix_of(&a->cos, x[0], x[2]) && matrix_of(&a->sin, x[0], x[2]) &&
                                (!tables || x[2] % 2 == 0),
                            "head", "cos and sin must be [S, D] of F32 with an even D"));
    PARA_TRY(para_cpu_check(angles == !!a->frequencies.data && matrix_of(&a->positions, x[0], 3) &&
                                frequencies_of(&a->frequencies, x) && (!angles || (!tables && x[2] % 2 == 0)),
                            "head",
                            "positions [S, 3] and frequencies [3, H, D/2] must be of F32 with an even D, and without "
                            "cos and sin"));
    para_cpu_split(dev, x[0], para_cpu_grain(x[1] * x[2] * 4), head_range, &task);
    return PARA_OK;
}
