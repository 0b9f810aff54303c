/* Attention of one block of queries with all keys of a head: online softmax over blocks of keys (Milakov and
 * Gimelshein 2018; Dao 2022), both products as register-tiled loops over packed operands. SPDX-License-Identifier: Apache-2.0
 *
 * Packed keys:   [key / KEY_PANEL][d][KEY_PANEL], missing keys 0.
 * Packed values: [dv / KEY_PANEL][key][KEY_PANEL], missing columns 0.
 * A block's queries, scaled: [query / MR][d][MR], missing queries 0. */
#include "backend/cpu/simd/simd_table.h"
#include "backend/cpu/simd/vec.h"
#include "backend/cpu/simd/vec_math.h"

#include <float.h>
#include <math.h>

enum {
    MR = PARA_SIMD_MR,
    NR = PARA_SIMD_NR,
    PANEL = PARA_SIMD_KEY_PANEL,
    Q_BLOCK = PARA_SIMD_Q_BLOCK,
    KEY_BLOCK = 128 / PANEL * PANEL
};
enum { ROWS = (Q_BLOCK + VL - 1) / VL * VL }; /* of a block, in whole vectors */

/* Scores are kept times log2(e), so that powers of two do for exponentials. */
#define LOG2_E 1.44269504f
#define LN_2   0.69314718f

/* Runs `statement` for the run-time type, F32, BF16 or F16, with T a constant in each copy. */
#define SWITCH_TYPE(type, statement)                                                                                   \
    do {                                                                                                               \
        if ((type) == PARA_F16) {                                                                                      \
            const para_dtype T = PARA_F16;                                                                             \
            statement;                                                                                                 \
        } else V_SWITCH_TYPE(type, statement);                                                                         \
    } while (0)

static int64_t panels(int64_t n) {
    return (n + PANEL - 1) / PANEL;
}

/* This thread's scratch. */
typedef struct work {
    float *q;      /* [Q_BLOCK / MR][D][MR] */
    float *scores; /* [Q_BLOCK][KEY_BLOCK], then their exponentials */
    float *out;    /* [Q_BLOCK][padded Dv], not yet divided by the sum */
    float highest[ROWS], shrink[ROWS];
    vf sum[ROWS]; /* of a row's exponentials, by lanes */
} work;

static int64_t padded(int64_t dv) {
    return panels(dv) * PANEL;
}

size_t PARA_SIMD_NAME(para_simd_packed_k_floats)(int64_t keys, int64_t d) {
    return (size_t)(padded(keys) * d);
}

size_t PARA_SIMD_NAME(para_simd_packed_v_floats)(int64_t keys, int64_t dv) {
    return (size_t)(keys * padded(dv));
}

size_t PARA_SIMD_NAME(para_simd_block_floats)(int64_t d, int64_t dv) {
    return (size_t)(Q_BLOCK * (d + KEY_BLOCK + padded(dv)));
}

static const char *row_of(const para_tensor *t, int64_t b, int64_t h, int64_t s) {
    return (char *)t->data +
           (b * t->stride[0] + h * t->stride[1] + s * t->stride[2]) * (int64_t)para_dtype_size(t->dtype);
}

/* The rows [first, first + width) of t side by side: out[i][column], `wide` columns, missing rows 0. */
V_INLINE void pack_columns(float *out, const para_tensor *t, int64_t b, int64_t h, int64_t first, int64_t width,
                           int wide, float factor, para_dtype type) {
    int64_t d = t->dim[3];
    for (int64_t column = 0; column < width; column++) {
        const char *row = row_of(t, b, h, first + column);
        V_FOR(i, n, d) {
            float lane[VL];
            v_storeu(lane, v_get(row, i, type, n) * factor);
            for (int64_t j = 0; j < n; j++) out[(i + j) * wide + column] = lane[j];
        }
    }
    for (int64_t column = width; column < wide; column++)
        for (int64_t i = 0; i < d; i++) out[i * wide + column] = 0;
}

V_INLINE void pack_value_rows(float *packed, const para_tensor *v, int64_t b, int64_t h, int64_t first, int64_t last,
                              para_dtype type) {
    int64_t dv = v->dim[3], keys = v->dim[2];
    for (int64_t key = first; key < last; key++) {
        const char *row = row_of(v, b, h, key);
        for (int64_t i = 0; i < padded(dv); i += VL) {
            vf x = i >= dv ? (vf){0} : v_get(row, i, type, dv - i < VL ? dv - i : VL);
            v_storeu(packed + (i / PANEL * keys + key) * PANEL + i % PANEL, x);
        }
    }
}

void PARA_SIMD_NAME(para_simd_pack_k)(float *packed, const para_attention_args *a, int64_t b, int64_t head,
                                      int64_t first, int64_t last) {
    for (int64_t key = first; key < last; key += PANEL)
        SWITCH_TYPE(a->k.dtype, pack_columns(packed + key * a->k.dim[3], &a->k, b, head, key,
                                             last - key < PANEL ? last - key : PANEL, PANEL, 1.0f, T));
}

void PARA_SIMD_NAME(para_simd_pack_v)(float *packed, const para_attention_args *a, int64_t b, int64_t head,
                                      int64_t first, int64_t last) {
    SWITCH_TYPE(a->v.dtype, pack_value_rows(packed, &a->v, b, head, first, last, T));
}

/* scores[MR][PANEL] = queries[d][MR]ᵀ · keys[d][PANEL]; rows of scores are KEY_BLOCK apart. */
V_INLINE void multiply_keys(float *scores, const float *queries, const float *keys, int64_t d) {
    vf acc[MR][NR] = {0};
    for (int64_t i = 0; i < d; i++) {
        vf k[NR];
        for (int c = 0; c < NR; c++) k[c] = v_loadu(keys + i * PANEL + c * VL);
        for (int r = 0; r < MR; r++)
            for (int c = 0; c < NR; c++) acc[r][c] += v_set(queries[i * MR + r]) * k[c];
    }
    for (int r = 0; r < MR; r++)
        for (int c = 0; c < NR; c++) v_storeu(scores + r * KEY_BLOCK + c * VL, acc[r][c]);
}

/* out[MR][PANEL] = out · shrink + weights[MR][keys] · values[keys][PANEL]; rows of out are `width` apart. */
V_INLINE void multiply_values(float *out, int64_t width, const float *shrink, const float *weights, const float *values,
                              int64_t keys) {
    vf acc[MR][NR];
    for (int r = 0; r < MR; r++)
        for (int c = 0; c < NR; c++) acc[r][c] = v_loadu(out + r * width + c * VL) * shrink[r];
    for (int64_t i = 0; i < keys; i++) {
        vf v[NR];
        for (int c = 0; c < NR; c++) v[c] = v_loadu(values + i * PANEL + c * VL);
        for (int r = 0; r < MR; r++)
            for (int c = 0; c < NR; c++) acc[r][c] += v_set(weights[r * KEY_BLOCK + i]) * v[c];
    }
    for (int r = 0; r < MR; r++)
        for (int c = 0; c < NR; c++) v_storeu(out + r * width + c * VL, acc[r][c]);
}

/* A number to add to a score; the lowest finite ones, which stand for "not attended", stay finite. */
V_INLINE float in_base_2(float added) {
    float x = added * LOG2_E;
    return x < -FLT_MAX && added >= -FLT_MAX ? -FLT_MAX : x;
}

/* Keys that a query sees under causality: those before it, moved by the offset. */
V_INLINE int64_t visible_keys(const para_attention_args *a, int64_t query) {
    int64_t all = a->k.dim[2];
    if (a->causal_offset >= all) return all; /* also keeps the sum from overflowing */
    int64_t keys = query + 1 + a->causal_offset;
    return keys < 0 ? 0 : keys < all ? keys : all;
}

/* Applies mask and causality to a row of scores whose first key is `first`. */
static void mask_row(float *scores, const para_attention_args *a, int64_t b, int64_t h, int64_t query, int64_t first,
                     int64_t keys) {
    if (a->mask.data) {
        int64_t step = a->mask.stride[3];
        const char *row = row_of(&a->mask, b, h, query);
        if (a->mask.dtype == PARA_BOOL) {
            for (int64_t j = 0; j < keys; j++)
                if (!row[(first + j) * step]) scores[j] = -INFINITY;
        } else {
            for (int64_t j = 0; j < keys; j++) {
                float added;
                memcpy(&added, row + (first + j) * step * 4, 4);
                scores[j] += in_base_2(added);
            }
        }
    }
    if (!a->causal) return;
    int64_t visible = visible_keys(a, query);
    for (int64_t j = visible > first ? visible - first : 0; j < keys; j++) scores[j] = -INFINITY;
}

/* Brings the rows' highest scores up to date, and by how much what was summed before them shrinks. */
V_INLINE void raise_highest(work *w, int64_t rows, int64_t keys) {
    float before[ROWS];
    memcpy(before, w->highest, sizeof before);
    for (int64_t r = 0; r < rows; r++) {
        float *scores = w->scores + r * KEY_BLOCK;
        for (int64_t j = keys; j % VL; j++) scores[j] = -INFINITY;
        vf high = v_set(before[r]);
        for (int64_t j = 0; j < keys; j += VL) high = v_max(high, v_loadu(scores + j));
        w->highest[r] = v_highest(high);
    }
    for (int64_t r = 0; r < rows; r += VL)
        v_storeu(w->shrink + r, v_exp2(v_loadu(before + r) - v_loadu(w->highest + r)));
}

/* Turns a row of scores into powers of their distance from the highest so far. */
V_INLINE void exponentials(work *w, int64_t row, int64_t keys) {
    float *scores = w->scores + row * KEY_BLOCK;
    vf highest = v_set(w->highest[row]), sum = w->sum[row] * w->shrink[row];
    for (int64_t j = 0; j < keys; j += VL) {
        vf e = v_exp2(v_loadu(scores + j) - highest);
        sum += e;
        v_storeu(scores + j, e);
    }
    w->sum[row] = sum;
}

V_INLINE void finish(const para_attention_block *block, const work *w, para_dtype type) {
    const para_attention_args *a = block->args;
    int64_t dv = a->v.dim[3], width = padded(dv);
    for (int64_t r = 0; r < block->rows; r++) {
        float sum = v_sum(w->sum[r]);
        char *out = (char *)row_of(&a->out, block->b, block->h, block->first + r);
        float factor = sum == 0 ? 0.0f : 1.0f / sum;
        V_FOR(i, n, dv) v_put(out, i, type, v_loadu(w->out + r * width + i) * factor, n);
        if (a->lse.data) {
            float lse = sum == 0 ? -INFINITY : w->highest[r] * LN_2 + logf(sum);
            memcpy((float *)a->lse.data + block->b * a->lse.stride[0] + block->h * a->lse.stride[1] +
                       (block->first + r) * a->lse.stride[2],
                   &lse, 4);
        }
    }
}

void PARA_SIMD_NAME(para_simd_attention)(const para_attention_block *block) {
    const para_attention_args *a = block->args;
    int64_t d = a->q.dim[3], width = padded(a->v.dim[3]), all_keys = a->k.dim[2];
    int64_t tiles = (block->rows + MR - 1) / MR, rows = tiles * MR;
    work w;
    w.q = block->scratch;
    w.scores = w.q + Q_BLOCK * d;
    w.out = w.scores + Q_BLOCK * KEY_BLOCK;
    for (int64_t t = 0; t < tiles; t++) {
        int64_t left = block->rows - t * MR;
        SWITCH_TYPE(a->q.dtype, pack_columns(w.q + t * MR * d, &a->q, block->b, block->h, block->first + t * MR,
                                             left < MR ? left : MR, MR, a->scale * LOG2_E, T));
    }
    for (int64_t r = 0; r < ROWS; r++) {
        w.highest[r] = -FLT_MAX; /* finite, so that -inf is infinitely far from it */
        w.sum[r] = (vf){0};
    }
    memset(w.out, 0, (size_t)(rows * width) * sizeof(float));
    if (a->causal) all_keys = visible_keys(a, block->first + block->rows - 1);
    for (int64_t first = 0; first < all_keys; first += KEY_BLOCK) {
        int64_t keys = all_keys - first < KEY_BLOCK ? all_keys - first : KEY_BLOCK;
        for (int64_t j = 0; j < keys; j += PANEL)
            for (int64_t t = 0; t < tiles; t++)
                multiply_keys(w.scores + t * MR * KEY_BLOCK + j, w.q + t * MR * d, block->packed_k + (first + j) * d,
                              d);
        if (a->mask.data || (a->causal && first + keys > visible_keys(a, block->first)))
            for (int64_t r = 0; r < block->rows; r++)
                mask_row(w.scores + r * KEY_BLOCK, a, block->b, block->h, block->first + r, first, keys);
        raise_highest(&w, rows, keys);
        for (int64_t r = 0; r < rows; r++) exponentials(&w, r, keys);
        for (int64_t i = 0; i < width; i += PANEL)
            for (int64_t t = 0; t < tiles; t++)
                multiply_values(w.out + t * MR * width + i, width, w.shrink + t * MR, w.scores + t * MR * KEY_BLOCK,
                                block->packed_v + (i * a->v.dim[2] + first * PANEL), keys);
    }
    SWITCH_TYPE(a->out.dtype, finish(block, &w, T));
}
