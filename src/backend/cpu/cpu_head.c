/* Norm over the head dimension, rotary embedding, head layout. SPDX-License-Identifier: Apache-2.0 */
#include "backend/cpu/cpu.h"
#include "core/error.h"

typedef struct head_task {
    const para_simd *simd;
    int n;
    const para_head_args *a; /* [n] */
    int64_t tokens;          /* of the one with the most */
} head_task;

/* The i-th part of a, of which the heads before `first` lie in the parts before it. */
static para_head_args part_of(const para_head_args *a, int i, int64_t first) {
    para_head_args part = *a;
    int64_t heads = a->part[i].dim[0];
    part.parts = 0;
    part.x = para_slice(a->x, 1, first, heads);
    part.y = a->part[i];
    if (a->frequencies.rank == 3) part.frequencies = para_slice(a->frequencies, 1, first, heads);
    return part;
}

/* Each operand's share of the tokens. */
static void head_range(void *context, int64_t first, int64_t last, int worker) {
    const head_task *t = context;
    (void)worker;
    for (int i = 0; i < t->n; i++) {
        const para_head_args *a = &t->a[i];
        int64_t from = a->x.dim[0] * first / t->tokens, to = a->x.dim[0] * last / t->tokens, head = 0;
        if (!a->parts) t->simd->head(a, from, to);
        for (int k = 0; k < a->parts; k++) {
            para_head_args part = part_of(a, k, head);
            t->simd->head(&part, from, to);
            head += a->part[k].dim[0];
        }
    }
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

static para_status check_one(const para_head_args *a) {
    const int64_t *x = a->x.dim, *y = a->y.dim;
    PARA_TRY(para_cpu_check(a->x.rank == 3 && a->y.rank == 3 && x[0] == y[1] && x[1] == y[0] && x[2] == y[2] &&
                                a->x.dtype == a->y.dtype,
                            "heads", "x [S, H, D] and y [H, S, D] do not fit together"));
    PARA_TRY(
        para_cpu_check(vector_of(&a->weight, x[2]) && vector_of(&a->bias, x[2]) && (a->weight.data || !a->bias.data),
                       "heads", "weight and bias must be [D] of F32, and a bias goes with a weight"));
    bool tables = a->cos.data, angles = a->positions.data;
    PARA_TRY(para_cpu_check(tables == !!a->sin.data && matrix_of(&a->cos, x[0], x[2]) && matrix_of(&a->sin, x[0], x[2]) &&
                                (!tables || x[2] % 2 == 0),
                            "heads", "cos and sin must be [S, D] of F32 with an even D"));
    PARA_TRY(para_cpu_check(angles == !!a->frequencies.data && matrix_of(&a->positions, x[0], 3) &&
                                frequencies_of(&a->frequencies, x) && (!angles || (!tables && x[2] % 2 == 0)),
                            "heads",
                            "positions [S, 3] and frequencies [3, H, D/2] must be of F32 with an even D, and without "
                            "cos and sin"));
    return PARA_OK;
}

static para_status check(const para_head_args *a) {
    int64_t first = 0;
    if (!a->parts) return check_one(a);
    for (int i = 0; i < a->parts; i++) {
        int64_t heads = a->part[i].dim[0];
        PARA_TRY(para_cpu_check(a->x.rank == 3 && heads <= a->x.dim[1] - first, "heads", "parts have more heads than x"));
        para_head_args part = part_of(a, i, first);
        PARA_TRY(check_one(&part));
        first += heads;
    }
    return para_cpu_check(first == a->x.dim[1], "heads", "parts have fewer heads than x");
}

para_status para_cpu_heads(para_device *dev, int n, const para_head_args *a) {
    head_task task = {.simd = para_simd_of(dev), .n = n, .a = a};
    int64_t width = 0; /* of a token in all operands */
    PARA_TRY(para_cpu_check(n >= 0 && n <= PARA_OPERANDS, "heads", "there are no more operands than three"));
    for (int i = 0; i < n; i++) {
        PARA_TRY(check(&a[i]));
        width += a[i].x.dim[1] * a[i].x.dim[2];
        if (a[i].x.dim[0] > task.tokens) task.tokens = a[i].x.dim[0];
    }
    para_cpu_split(dev, task.tokens, para_cpu_grain(width * 4), head_range, &task);
    return PARA_OK;
}
