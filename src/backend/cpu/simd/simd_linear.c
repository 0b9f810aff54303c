/* A linear layer for few rows: every weight is read once. SPDX-License-Identifier: Apache-2.0 */
#include "backend/cpu/simd/simd_table.h"
#include "backend/cpu/simd/vec.h"
#include "backend/cpu/simd/vec_math.h"

/* The most of a block whose dot products are taken together; ROWS × 2 or 4 × COLUMNS of them at a time. */
enum { ROWS = 8, COLUMNS = 4 };

V_INLINE float activation_of(para_activation f, float x) {
    vf v = {0};
    v[0] = x;
    V_SWITCH_ACTIVATION(f, v = v_activation(F, v));
    return v[0];
}

/* Adds the products of n elements from index i. */
V_INLINE void step(vf acc[ROWS][COLUMNS], const char *const *x, int rows, para_dtype type, const char *const *w,
                   int columns, para_dtype weight_type, int64_t i, int64_t n) {
    vf row[ROWS];
    for (int r = 0; r < rows; r++) row[r] = v_get(x[r], i, type, n);
    for (int c = 0; c < columns; c++) {
        vf v = v_get(w[c], i, weight_type, n);
        if (type == PARA_BF16 && weight_type != PARA_BF16) v = v_round_bf16(v);
        for (int r = 0; r < rows; r++) acc[r][c] += row[r] * v;
    }
}

/* sum[r][c] = x[r] · w[c] over k elements; rows and columns are constants where this is inlined. */
V_INLINE void dots(float sum[ROWS][COLUMNS], const char *const *x, int rows, para_dtype type, const char *const *w,
                   int columns, para_dtype weight_type, int64_t k) {
    vf acc[ROWS][COLUMNS] = {0};
    int64_t i = 0;
    for (; i + VL <= k; i += VL) step(acc, x, rows, type, w, columns, weight_type, i, VL);
    if (i < k) step(acc, x, rows, type, w, columns, weight_type, i, k - i);
    for (int r = 0; r < rows; r++)
        for (int c = 0; c < columns; c++) sum[r][c] = v_sum(acc[r][c]);
}

V_INLINE void finish(const para_linear_args *a, int64_t row, int64_t column, float sum, para_dtype type) {
    int64_t at = row * a->y.stride[0] + column;
    if (a->w->bias.data) {
        float bias;
        memcpy(&bias, (char *)a->w->bias.data + 4 * column, 4);
        sum += bias;
    }
    sum = activation_of(a->activation, sum);
    if (type == PARA_BF16) {
        uint16_t *y = (uint16_t *)a->y.data + at;
        *y = para_f32_to_bf16(a->accumulate ? para_bf16_to_f32(*y) + sum : sum);
    } else {
        float *y = (float *)a->y.data + at;
        *y = a->accumulate ? *y + sum : sum;
    }
}

V_INLINE void block(const para_linear_args *a, int64_t m, int rows, int64_t column, int columns, para_dtype type,
                    para_dtype weight_type) {
    const para_tensor *weight = &a->w->weight;
    const char *x[ROWS], *w[COLUMNS];
    int64_t size = type == PARA_BF16 ? 2 : 4, weight_size = (int64_t)para_dtype_size(weight_type);
    for (int r = 0; r < rows; r++) x[r] = (char *)a->x.data + (m + r) * a->x.stride[0] * size;
    for (int c = 0; c < columns; c++) w[c] = (char *)weight->data + (column + c) * weight->stride[0] * weight_size;
    float sum[ROWS][COLUMNS];
    dots(sum, x, rows, type, w, columns, weight_type, a->x.dim[1]);
    for (int r = 0; r < rows; r++)
        for (int c = 0; c < columns; c++) finish(a, m + r, column + c, sum[r][c], type);
}

V_INLINE void linear_few(const para_linear_args *a, int64_t first, int64_t last, para_dtype type,
                         para_dtype weight_type) {
    int64_t m_count = a->x.dim[0], n = first;
    for (; n + COLUMNS <= last; n += COLUMNS) {
        int64_t m = 0;
        for (; m + ROWS <= m_count; m += ROWS) {
            block(a, m, ROWS, n, 2, type, weight_type);
            block(a, m, ROWS, n + 2, 2, type, weight_type);
        }
        for (; m + 4 <= m_count; m += 4) block(a, m, 4, n, COLUMNS, type, weight_type);
        for (; m + 2 <= m_count; m += 2) block(a, m, 2, n, COLUMNS, type, weight_type);
        for (; m < m_count; m++) block(a, m, 1, n, COLUMNS, type, weight_type);
    }
    for (; n < last; n++)
        for (int64_t m = 0; m < m_count; m++) block(a, m, 1, n, 1, type, weight_type);
}

void PARA_SIMD_NAME(para_simd_linear_few)(const para_linear_args *a, int64_t first, int64_t last) {
    switch (a->w->weight.dtype) {
    case PARA_BF16: V_SWITCH_TYPE(a->x.dtype, linear_few(a, first, last, T, PARA_BF16)); break;
    case PARA_F16: V_SWITCH_TYPE(a->x.dtype, linear_few(a, first, last, T, PARA_F16)); break;
    case PARA_F8_E4M3: V_SWITCH_TYPE(a->x.dtype, linear_few(a, first, last, T, PARA_F8_E4M3)); break;
    default: V_SWITCH_TYPE(a->x.dtype, linear_few(a, first, last, T, PARA_F32)); break;
    }
}
