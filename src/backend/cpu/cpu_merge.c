/* Merging attentions over different keys, and reading masks. SPDX-License-Identifier: Apache-2.0 */
#include <math.h>
#include <string.h>

#include "backend/cpu/cpu.h"
#include "core/error.h"

static bool same_rows(const para_tensor *t, int rank, const int64_t *dim) {
    if (t->rank != rank || t->dtype != PARA_F32 || (rank == 4 && t->stride[3] != 1)) return false;
    for (int i = 0; i < rank; i++)
        if (t->dim[i] != dim[i]) return false;
    return true;
}

typedef struct merge_task {
    const para_simd *simd;
    const para_merge_args *args;
} merge_task;

static void merge_range(void *context, int64_t first, int64_t last, int worker) {
    const merge_task *t = context;
    (void)worker;
    t->simd->merge(t->args, first, last);
}

para_status para_cpu_attention_merge(para_device *dev, const para_merge_args *a) {
    const int64_t *dim = a->out.dim;
    PARA_TRY(para_cpu_check(same_rows(&a->out, 4, dim) && same_rows(&a->part_out, 4, dim) &&
                                same_rows(&a->lse, 3, dim) && same_rows(&a->part_lse, 3, dim),
                            "attention_merge", "both results must be [B, H, Sq, Dv] and [B, H, Sq] of F32"));
    merge_task task = {para_simd_of(dev), a};
    para_cpu_split(dev, dim[0] * dim[1] * dim[2], para_cpu_grain(dim[3] * 8), merge_range, &task);
    return PARA_OK;
}

typedef struct columns_task {
    const para_tensor *mask;
    uint8_t *out; /* [B, keys] */
} columns_task;

/* What an element does, and what a column does that has one element of each. */
static uint8_t effect(const char *p, para_dtype type) {
    float added;
    if (type == PARA_BOOL) return *p ? PARA_COLUMN_PASSES : PARA_COLUMN_HIDES;
    memcpy(&added, p, 4);
    return added == 0 ? PARA_COLUMN_PASSES : added == -INFINITY ? PARA_COLUMN_HIDES : PARA_COLUMN_CHANGES;
}

/* The keys [first, last) of all batch entries: rows outside, so that memory is read in its order. */
static void columns_range(void *context, int64_t first, int64_t last, int worker) {
    const columns_task *t = context;
    const para_tensor *m = t->mask;
    int64_t rows = m->dim[1] * m->dim[2], size = (int64_t)para_dtype_size(m->dtype);
    (void)worker;
    for (int64_t b = 0; b < m->dim[0]; b++) {
        uint8_t *out = t->out + b * m->dim[3];
        for (int64_t row = 0; row < rows; row++) {
            const char *p = (char *)m->data + para_cpu_row(m, b * rows + row) * size;
            for (int64_t key = first; key < last; key++) {
                uint8_t e = effect(p + key * m->stride[3] * size, m->dtype);
                out[key] = row == 0 || out[key] == e ? e : PARA_COLUMN_CHANGES;
            }
        }
        if (rows == 0) memset(out + first, PARA_COLUMN_HIDES, (size_t)(last - first));
    }
}

para_status para_cpu_mask_columns(para_device *dev, para_tensor mask, uint8_t *out) {
    PARA_TRY(para_cpu_check(mask.rank == 4 && (mask.dtype == PARA_BOOL || mask.dtype == PARA_F32), "mask_columns",
                            "the mask must be [B, H, Sq, keys] of BOOL or F32"));
    columns_task task = {&mask, out};
    para_cpu_split(dev, mask.dim[3], para_cpu_grain(mask.dim[0] * mask.dim[1] * mask.dim[2]), columns_range, &task);
    return PARA_OK;
}
