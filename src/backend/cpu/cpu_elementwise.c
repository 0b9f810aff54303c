/* Activations, gated products, linear combinations, copies, look-ups and the check for NaN. SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "backend/cpu/cpu.h"
#include "core/error.h"
#include "core/float.h"

enum { CHUNK = 1024, MOST_TERMS = 4 };

static bool is_float(para_dtype type) {
    return type == PARA_F32 || type == PARA_F16 || type == PARA_BF16 || type == PARA_F8_E4M3;
}

static bool computes(para_dtype type) {
    return type == PARA_F32 || type == PARA_BF16;
}

static bool same_sizes(const para_tensor *a, const para_tensor *b) {
    if (a->rank != b->rank) return false;
    for (int i = 0; i < a->rank; i++)
        if (a->dim[i] != b->dim[i]) return false;
    return true;
}

/* Elements of the last dimension, and how many such rows there are. */
static int64_t row_length(const para_tensor *t) {
    return t->rank ? t->dim[t->rank - 1] : 1;
}

static int64_t row_count(const para_tensor *t) {
    int64_t n = row_length(t);
    return n ? para_tensor_count(t) / n : 0;
}

static int64_t last_stride(const para_tensor *t) {
    return t->rank ? t->stride[t->rank - 1] : 1;
}

static char *row_at(const para_tensor *t, int64_t row) {
    return (char *)t->data + para_cpu_row(t, row) * (int64_t)para_dtype_size(t->dtype);
}

/* A contiguous tensor as rows of CHUNK elements would do for any split: one row of all. */
static para_tensor flat(const para_tensor *t) {
    return para_tensor_make(t->data, t->dtype, 2, (int64_t[]){para_tensor_count(t), 1});
}

/* y = f(a), or f(a) · b. */
typedef struct map_task {
    const para_simd *simd;
    para_activation f;
    const para_tensor *a, *b, *y;
    int64_t length; /* of a row */
} map_task;

static void map_range(void *context, int64_t first, int64_t last, int worker) {
    const map_task *t = context;
    (void)worker;
    for (int64_t row = first; row < last; row++) {
        if (t->b) t->simd->gated(t->f, row_at(t->y, row), row_at(t->a, row), row_at(t->b, row), t->y->dtype, t->length);
        else t->simd->activate(t->f, row_at(t->y, row), row_at(t->a, row), t->y->dtype, t->length);
    }
}

/* One contiguous run instead of rows: the range itself is the row. */
static void map_flat(void *context, int64_t first, int64_t last, int worker) {
    map_task run = *(const map_task *)context;
    run.length = last - first;
    para_tensor a = para_rows(*run.a, first, 1), y = para_rows(*run.y, first, 1),
                b = run.b ? para_rows(*run.b, first, 1) : *run.a;
    run.a = &a;
    run.y = &y;
    if (run.b) run.b = &b;
    map_range(&run, 0, 1, worker);
}

static void map(para_device *dev, para_activation f, const para_tensor *a, const para_tensor *b, const para_tensor *y) {
    map_task task = {para_simd_of(dev), f, a, b, y, row_length(y)};
    if (para_tensor_contiguous(a) && para_tensor_contiguous(y) && (!b || para_tensor_contiguous(b))) {
        para_tensor flat_a = flat(a), flat_y = flat(y), flat_b = b ? flat(b) : flat_a;
        task.a = &flat_a;
        task.y = &flat_y;
        task.b = b ? &flat_b : NULL;
        para_cpu_split(dev, flat_y.dim[0], para_cpu_grain(4), map_flat, &task);
        return;
    }
    para_cpu_split(dev, row_count(y), para_cpu_grain(4 * task.length), map_range, &task);
}

para_status para_cpu_activate(para_device *dev, para_activation f, para_tensor x, para_tensor y) {
    PARA_TRY(para_cpu_check(same_sizes(&x, &y) && x.dtype == y.dtype && computes(x.dtype) && last_stride(&x) == 1 &&
                                last_stride(&y) == 1,
                            "activate", "x and y must have the same sizes and type, with contiguous rows"));
    map(dev, f, &x, NULL, &y);
    return PARA_OK;
}

para_status para_cpu_gated(para_device *dev, para_activation f, para_tensor a, para_tensor b, para_tensor y) {
    PARA_TRY(para_cpu_check(same_sizes(&a, &y) && same_sizes(&b, &y) && a.dtype == y.dtype && b.dtype == y.dtype &&
                                computes(y.dtype) && last_stride(&a) == 1 && last_stride(&b) == 1 &&
                                last_stride(&y) == 1,
                            "gated", "a, b and y must have the same sizes and type, with contiguous rows"));
    map(dev, f, &a, &b, &y);
    return PARA_OK;
}

typedef struct combine_task {
    const para_simd *simd;
    const para_tensor *y, *x;
    const float *c;
    int n;
} combine_task;

static void combine_range(void *context, int64_t first, int64_t last, int worker) {
    const combine_task *t = context;
    (void)worker;
    for (int64_t at = first; at < last; at += CHUNK) {
        int64_t count = last - at < CHUNK ? last - at : CHUNK;
        float sum[CHUNK], term[CHUNK];
        memset(sum, 0, sizeof sum);
        for (int i = 0; i < t->n; i++) {
            const para_tensor *x = &t->x[i];
            t->simd->convert(term, PARA_F32, (char *)x->data + at * (int64_t)para_dtype_size(x->dtype), x->dtype,
                             PARA_F32, count);
            for (int64_t j = 0; j < count; j++) sum[j] += t->c[i] * term[j];
        }
        para_floats_from_f32((char *)t->y->data + at * (int64_t)para_dtype_size(t->y->dtype), t->y->dtype, sum, count);
    }
}

para_status para_cpu_combine(para_device *dev, para_tensor y, int n, const para_tensor *x, const float *c) {
    combine_task task = {para_simd_of(dev), &y, x, c, n};
    PARA_TRY(para_cpu_check(n >= 0 && n <= MOST_TERMS && para_tensor_contiguous(&y) && is_float(y.dtype) &&
                                y.dtype != PARA_F8_E4M3,
                            "combine", "at most 4 terms into a contiguous y of F32, F16 or BF16"));
    for (int i = 0; i < n; i++)
        PARA_TRY(para_cpu_check(para_tensor_count(&x[i]) == para_tensor_count(&y) && para_tensor_contiguous(&x[i]) &&
                                    is_float(x[i].dtype),
                                "combine", "each term must be contiguous, of a float type and as large as y"));
    para_cpu_split(dev, para_tensor_count(&y), para_cpu_grain(4), combine_range, &task);
    return PARA_OK;
}

typedef struct copy_task {
    const para_simd *simd;
    const para_tensor *dst, *src;
} copy_task;

/* `count` elements of any spacing, converted by way of a buffer where the types differ. */
static void copy_row(const copy_task *t, char *dst, const char *src, int64_t count) {
    int64_t to = last_stride(t->dst), from = last_stride(t->src);
    size_t to_size = para_dtype_size(t->dst->dtype), from_size = para_dtype_size(t->src->dtype);
    bool same = t->dst->dtype == t->src->dtype;
    if (same && to == 1 && from == 1) {
        memcpy(dst, src, (size_t)count * to_size);
        return;
    }
    for (int64_t at = 0; at < count; at += CHUNK) {
        int64_t now = count - at < CHUNK ? count - at : CHUNK;
        char gathered[CHUNK * 8], converted[CHUNK * 8];
        float wide[CHUNK];
        const char *in = src + at * from * (int64_t)from_size;
        if (from != 1) {
            for (int64_t i = 0; i < now; i++)
                memcpy(gathered + (size_t)i * from_size, in + i * from * (int64_t)from_size, from_size);
            in = gathered;
        }
        if (!same) {
            t->simd->convert(wide, PARA_F32, in, t->src->dtype, PARA_F32, now);
            para_floats_from_f32(converted, t->dst->dtype, wide, now);
            in = converted;
        }
        char *out = dst + at * to * (int64_t)to_size;
        if (to == 1) memcpy(out, in, (size_t)now * to_size);
        else
            for (int64_t i = 0; i < now; i++)
                memcpy(out + i * to * (int64_t)to_size, in + (size_t)i * to_size, to_size);
    }
}

static void copy_range(void *context, int64_t first, int64_t last, int worker) {
    const copy_task *t = context;
    (void)worker;
    for (int64_t row = first; row < last; row++)
        copy_row(t, row_at(t->dst, row), row_at(t->src, row), row_length(t->dst));
}

static void copy_flat(void *context, int64_t first, int64_t last, int worker) {
    const copy_task *t = context;
    (void)worker;
    copy_row(t, (char *)t->dst->data + first * (int64_t)para_dtype_size(t->dst->dtype),
             (char *)t->src->data + first * (int64_t)para_dtype_size(t->src->dtype), last - first);
}

para_status para_cpu_copy(para_device *dev, para_tensor dst, para_tensor src) {
    copy_task task = {para_simd_of(dev), &dst, &src};
    PARA_TRY(para_cpu_check(same_sizes(&dst, &src), "copy", "source and destination must have the same sizes"));
    PARA_TRY(para_cpu_check(dst.dtype == src.dtype ||
                                (is_float(src.dtype) && is_float(dst.dtype) && dst.dtype != PARA_F8_E4M3),
                            "copy", "only float types are converted, and none to F8_E4M3"));
    if (para_tensor_contiguous(&dst) && para_tensor_contiguous(&src) && last_stride(&dst) == 1 &&
        last_stride(&src) == 1)
        para_cpu_split(dev, para_tensor_count(&dst), para_cpu_grain(4), copy_flat, &task);
    else para_cpu_split(dev, row_count(&dst), para_cpu_grain(row_length(&dst) * 4), copy_range, &task);
    return PARA_OK;
}

typedef struct embedding_task {
    const para_simd *simd;
    const para_tensor *table, *ids, *y;
} embedding_task;

static int32_t id_at(const para_tensor *ids, int64_t i) {
    int32_t id;
    memcpy(&id, (char *)ids->data + i * ids->stride[0] * 4, 4);
    return id;
}

static void embedding_range(void *context, int64_t first, int64_t last, int worker) {
    const embedding_task *t = context;
    (void)worker;
    for (int64_t i = first; i < last; i++)
        t->simd->convert(row_at(t->y, i), t->y->dtype, row_at(t->table, id_at(t->ids, i)), t->table->dtype, PARA_F32,
                         t->y->dim[1]);
}

para_status para_cpu_embedding(para_device *dev, para_tensor table, para_tensor ids, para_tensor y) {
    embedding_task task = {para_simd_of(dev), &table, &ids, &y};
    PARA_TRY(para_cpu_check(table.rank == 2 && ids.rank == 1 && y.rank == 2 && ids.dim[0] == y.dim[0] &&
                                table.dim[1] == y.dim[1] && ids.dtype == PARA_I32 && is_float(table.dtype) &&
                                computes(y.dtype),
                            "embedding", "table [V, D], ids [M] of I32 and y [M, D] do not fit together"));
    for (int64_t i = 0; i < ids.dim[0]; i++)
        if (id_at(&ids, i) < 0 || id_at(&ids, i) >= table.dim[0])
            return para_fail(PARA_ERR_ARGUMENT,
                             "token id %d is outside the embedding table of %lld rows: tokenizer and text encoder do "
                             "not belong together",
                             id_at(&ids, i), (long long)table.dim[0]);
    para_cpu_split(dev, ids.dim[0], para_cpu_grain(y.dim[1] * 4), embedding_range, &task);
    return PARA_OK;
}

typedef struct finite_task {
    const para_simd *simd;
    const para_tensor *x;
    bool bad; /* set by any thread */
} finite_task;

static void finite_range(void *context, int64_t first, int64_t last, int worker) {
    finite_task *t = context;
    (void)worker;
    const char *x = (char *)t->x->data + first * (int64_t)para_dtype_size(t->x->dtype);
    if (!t->simd->all_finite(x, t->x->dtype, last - first)) {
#pragma omp atomic write
        t->bad = true;
    }
}

para_status para_cpu_all_finite(para_device *dev, para_tensor x, bool *out) {
    finite_task task = {para_simd_of(dev), &x, false};
    PARA_TRY(para_cpu_check(para_tensor_contiguous(&x) && is_float(x.dtype), "all_finite",
                            "x must be contiguous and of a float type"));
    para_cpu_split(dev, para_tensor_count(&x), para_cpu_grain(4), finite_range, &task);
    *out = !task.bad;
    return PARA_OK;
}
