/* The loops that are compiled once per instruction set. SPDX-License-Identifier: Apache-2.0
 *
 * None starts threads: the ops split the work and call them on ranges. Addresses need no alignment. */
#ifndef PARA_SIMD_SIMD_H
#define PARA_SIMD_SIMD_H

#include "backend/backend.h"

/* One block of queries against all keys of a head; see cpu_attention.c. */
typedef struct para_attention_block {
    const para_attention_args *args;
    int64_t b, h, first, rows; /* batch, head, first query, queries (≤ q_block) */
    const float *packed_k;     /* as pack_k wrote it */
    const float *packed_v;     /* as pack_v wrote it */
    float *scratch;            /* block_floats(D, Dv) floats of this thread, 64-byte aligned */
} para_attention_block;

typedef struct para_simd {
    const char *name; /* "base", "avx2", "avx512" */

    /* Rows [first, last) of the op of that name; head: tokens. */
    void (*norm)(const para_norm_args *a, int64_t first, int64_t last);
    void (*residual)(const para_residual_args *a, int64_t first, int64_t last);
    void (*head)(const para_head_args *a, int64_t first, int64_t last);

    /* n contiguous elements, F32 or BF16; y = f(x), y = f(a) · b, y += x with x in float32. */
    void (*activate)(para_activation f, void *y, const void *x, para_dtype type, int64_t n);
    void (*gated)(para_activation f, void *y, const void *a, const void *b, para_dtype type, int64_t n);
    void (*add)(void *y, para_dtype type, const float *x, int64_t n);
    /* n elements from any float type to F32 or BF16; `between` is the type they are rounded to first (F32: none). */
    void (*convert)(void *y, para_dtype to, const void *x, para_dtype from, para_dtype between, int64_t n);
    bool (*all_finite)(const void *x, para_dtype type, int64_t n); /* any float type */

    /* Columns [first, last) of a linear layer with few rows: one pass over the weights. */
    void (*linear_few)(const para_linear_args *a, int64_t first, int64_t last);

    /* Group norm. sums: for each channel of the `count` pixels at x (contiguous, [count, C]) merges into
     * mean[C] and m2[C] (sum of squared distances from the mean), which hold `before` pixels.
     * scale: y = f(x · scale[c] + offset[c]). */
    void (*channel_moments)(const void *x, para_dtype type, int64_t count, int64_t c, int64_t before, double *mean,
                            double *m2);
    void (*channel_scale)(para_activation f, void *y, const void *x, para_dtype type, int64_t count, int64_t c,
                          const float *scale, const float *offset);

    /* Attention. Sizes in floats; pack_k and pack_v convert the keys [first, last) of one head, first a multiple of key_panel. */
    int q_block, key_panel;
    size_t (*packed_k_floats)(int64_t keys, int64_t d);
    size_t (*packed_v_floats)(int64_t keys, int64_t dv);
    size_t (*block_floats)(int64_t d, int64_t dv);
    void (*pack_k)(float *packed, const para_attention_args *a, int64_t b, int64_t head, int64_t first, int64_t last);
    void (*pack_v)(float *packed, const para_attention_args *a, int64_t b, int64_t head, int64_t first, int64_t last);
    void (*attention)(const para_attention_block *block);
    void (*merge)(const para_merge_args *a, int64_t first, int64_t last); /* rows of [B · H · Sq] */
} para_simd;

/* The table for the best instruction set that this processor has. */
const para_simd *para_simd_select(void);
/* All tables that it can run, the best first; NULL after the last. */
const para_simd *para_simd_usable(int i);

#endif
