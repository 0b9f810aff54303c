/* Norms, alone, after a gated residual and over groups of channels. SPDX-License-Identifier: Apache-2.0 */
#include "backend/cpu/cpu.h"
#include "backend/cpu/cpu_scratch.h"
#include "core/error.h"

#include <math.h>
#include <string.h>

typedef struct norm_task {
    const para_simd *simd;
    const para_norm_args *norm;
    const para_residual_args *residual;
} norm_task;

static void norm_range(void *context, int64_t first, int64_t last, int worker) {
    const norm_task *t = context;
    (void)worker;
    t->simd->norm(t->norm, first, last);
}

static void residual_range(void *context, int64_t first, int64_t last, int worker) {
    const norm_task *t = context;
    (void)worker;
    t->simd->residual(t->residual, first, last);
}

static bool same_matrix(const para_tensor *x, const para_tensor *y) {
    return x->rank == 2 && y->rank == 2 && x->dim[0] == y->dim[0] && x->dim[1] == y->dim[1] && x->dtype == y->dtype;
}

static bool vector_of(const para_tensor *v, int64_t d) {
    return !v->data || (v->rank == 1 && v->dim[0] == d && v->dtype == PARA_F32);
}

static bool norm_vectors(const para_norm_args *a, int64_t d) {
    return vector_of(&a->weight, d) && vector_of(&a->bias, d) && vector_of(&a->scale, d) && vector_of(&a->shift, d);
}

para_status para_cpu_norm(para_device *dev, const para_norm_args *a) {
    norm_task task = {.simd = para_simd_of(dev), .norm = a};
    PARA_TRY(para_cpu_check(same_matrix(&a->x, &a->y) && norm_vectors(a, a->x.dim[1]), "norm",
                            "x [M, D], y [M, D] and the vectors [D] of F32 do not fit together"));
    para_cpu_split(dev, a->x.dim[0], para_cpu_grain(a->x.dim[1] * 4), norm_range, &task);
    return PARA_OK;
}

para_status para_cpu_residual(para_device *dev, const para_residual_args *a) {
    norm_task task = {.simd = para_simd_of(dev), .residual = a};
    PARA_TRY(para_cpu_check(same_matrix(&a->x, &a->y) && vector_of(&a->gate, a->x.dim[1]), "residual",
                            "x [M, D], y [M, D] and gate [D] of F32 do not fit together"));
    PARA_TRY(para_cpu_check(!a->norm || (same_matrix(&a->x, &a->norm->y) && norm_vectors(a->norm, a->x.dim[1])),
                            "residual", "x [M, D] and the norm's y [M, D] and vectors [D] do not fit together"));
    para_cpu_split(dev, a->x.dim[0], para_cpu_grain(a->x.dim[1] * 4), residual_range, &task);
    return PARA_OK;
}

/* Scratch: for each thread means and squares [C] in double, then the picture's scale and offset [C], then for each thread those of a pixel. */
typedef struct group_task {
    const para_simd *simd;
    const para_group_norm_args *a;
    int64_t picture, c;
    double *moments; /* [threads][2][C] */
    int64_t *pixels; /* [threads]: how many a thread has taken */
    float *scale, *offset;
    float *own; /* [threads][2][C] */
} group_task;

static int64_t channels_of(const para_group_norm_args *a) {
    return a->x.dim[a->x.rank - 1];
}

static size_t moments_bytes(const para_group_norm_args *a, int threads) {
    return para_cpu_round((size_t)(2 * channels_of(a) * threads) * sizeof(double));
}

static size_t pixels_bytes(int threads) {
    return para_cpu_round((size_t)threads * sizeof(int64_t));
}

static size_t vectors_bytes(const para_group_norm_args *a) {
    return para_cpu_round((size_t)channels_of(a) * sizeof(float));
}

static size_t own_bytes(const para_group_norm_args *a, int threads) {
    return a->scale.data ? para_cpu_round((size_t)(2 * channels_of(a) * threads) * sizeof(float)) : 0;
}

size_t para_cpu_group_norm_scratch(const para_group_norm_args *a, int threads) {
    return moments_bytes(a, threads) + pixels_bytes(threads) + 2 * vectors_bytes(a) + own_bytes(a, threads);
}

static char *pixel(const group_task *t, const para_tensor *of, int64_t at) {
    return (char *)of->data + (t->picture * of->stride[0] + at * t->c) * (int64_t)para_dtype_size(of->dtype);
}

static void moments_range(void *context, int64_t first, int64_t last, int worker) {
    const group_task *t = context;
    double *mean = t->moments + 2 * t->c * worker, *m2 = mean + t->c;
    for (int64_t i = 0; i < 2 * t->c; i++) mean[i] = 0;
    t->pixels[worker] = last - first;
    t->simd->channel_moments(pixel(t, &t->a->x, first), t->a->x.dtype, last - first, t->c, 0, mean, m2);
}

static void scale_range(void *context, int64_t first, int64_t last, int worker) {
    const group_task *t = context;
    (void)worker;
    t->simd->channel_scale(t->a->activation, pixel(t, &t->a->y, first), pixel(t, &t->a->x, first), t->a->x.dtype,
                           last - first, t->c, t->scale, t->offset);
}

/* What pixel `at` of [F, H, W] is conditioned by, as a pixel of [f, h, w]; *same: how many pixels from there on are by the same. */
static int64_t condition_of(const para_group_norm_args *a, int64_t at, int64_t *same) {
    const int64_t *x = a->x.dim, *s = a->scale.dim;
    int64_t column = at % x[3], line = at / x[3] % x[2], frame = at / x[3] / x[2], from = column * s[3] / x[3];
    *same = 1;
    while (column + *same < x[3] && (column + *same) * s[3] / x[3] == from) ++*same;
    return (para_nearest_frame(frame, s[1], x[1]) * s[2] + line * s[2] / x[2]) * s[3] + from;
}

/* (x · scale + offset) · more + shift as one product and sum, for each run of pixels of one condition. */
static void conditioned_range(void *context, int64_t first, int64_t last, int worker) {
    const group_task *t = context;
    const para_group_norm_args *a = t->a;
    float *scale = t->own + 2 * t->c * worker, *offset = scale + t->c;
    for (int64_t at = first, same; at < last; at += same) {
        int64_t from = condition_of(a, at, &same);
        if (same > last - at) same = last - at;
        t->simd->convert(scale, PARA_F32, pixel(t, &a->scale, from), a->scale.dtype, PARA_F32, t->c);
        t->simd->convert(offset, PARA_F32, pixel(t, &a->shift, from), a->shift.dtype, PARA_F32, t->c);
        for (int64_t i = 0; i < t->c; i++) {
            offset[i] += t->offset[i] * scale[i];
            scale[i] *= t->scale[i];
        }
        t->simd->channel_scale(a->activation, pixel(t, &a->y, at), pixel(t, &a->x, at), a->x.dtype, same, t->c, scale,
                               offset);
    }
}

static float float_at(const para_tensor *v, int64_t i) {
    float f;
    memcpy(&f, (char *)v->data + 4 * i, 4);
    return f;
}

/* Merges all threads' channels of each group and writes what they make of a channel's elements. */
static void make_scales(const group_task *t, int threads) {
    int64_t c = t->c, size = c / t->a->groups;
    for (int64_t first = 0; first < c; first += size) {
        double count = 0, mean = 0, m2 = 0;
        for (int w = 0; w < threads; w++) {
            if (t->pixels[w] == 0) continue;
            const double *means = t->moments + 2 * c * w, *squares = means + c;
            for (int64_t i = first; i < first + size; i++) {
                double more = (double)t->pixels[w], total = count + more, step = means[i] - mean;
                mean += step * more / total;
                m2 += squares[i] + step * step * count * more / total;
                count = total;
            }
        }
        double factor = 1.0 / sqrt(m2 / count + t->a->eps);
        for (int64_t i = first; i < first + size; i++) {
            double scale = factor * float_at(&t->a->weight, i);
            t->scale[i] = (float)scale;
            t->offset[i] = (float)(float_at(&t->a->bias, i) - mean * scale);
        }
    }
}

static bool conditioned(const para_group_norm_args *a) {
    const para_tensor *x = &a->x, *s = &a->scale, *o = &a->shift;
    if (!s->data && !o->data) return true;
    bool right = s->data && o->data && x->rank == 5 && s->rank == 5 && o->rank == 5 && s->dtype == x->dtype &&
                 o->dtype == x->dtype && para_tensor_contiguous(s) && para_tensor_contiguous(o);
    for (int i = 0; right && i < 5; i++)
        right = s->dim[i] == o->dim[i] && s->dim[i] <= x->dim[i] && (s->dim[i] > 0 || x->dim[i] == 0);
    return right && s->dim[0] == x->dim[0] && s->dim[4] == x->dim[4];
}

para_status para_cpu_group_norm(para_device *dev, const para_group_norm_args *a) {
    void *scratch;
    PARA_TRY(para_cpu_check(
        (a->x.rank == 4 || a->x.rank == 5) && a->y.rank == a->x.rank && a->groups > 0 &&
            channels_of(a) % a->groups == 0 && vector_of(&a->weight, channels_of(a)) &&
            vector_of(&a->bias, channels_of(a)) && a->weight.data && a->bias.data && a->x.dtype == a->y.dtype &&
            para_tensor_count(&a->x) == para_tensor_count(&a->y) && para_tensor_contiguous(&a->x) &&
            para_tensor_contiguous(&a->y),
        "group_norm",
        "x and y [N, H, W, C] or [N, F, H, W, C], contiguous, and the vectors [C] of F32 do not fit together"));
    PARA_TRY(para_cpu_check(conditioned(a), "group_norm",
                            "scale and shift must be [N, f, h, w, C] of x's type, no larger than x [N, F, H, W, C]"));
    group_task task = {.simd = para_simd_of(dev), .a = a, .c = channels_of(a)};
    int64_t all = a->x.dim[0] * task.c, pixels = all ? para_tensor_count(&a->x) / all : 0;
    size_t mark = para_arena_mark(&dev->arena);
    PARA_TRY(para_arena_take(&dev->arena, para_cpu_group_norm_scratch(a, dev->threads), &scratch));
    char *part = scratch;
    task.moments = scratch;
    task.pixels = (void *)(part += moments_bytes(a, dev->threads));
    task.scale = (void *)(part += pixels_bytes(dev->threads));
    task.offset = (void *)(part += vectors_bytes(a));
    task.own = (void *)(part + vectors_bytes(a));
    for (task.picture = 0; pixels > 0 && task.picture < a->x.dim[0]; task.picture++) {
        for (int w = 0; w < dev->threads; w++) task.pixels[w] = 0;
        para_cpu_split(dev, pixels, para_cpu_grain(task.c * 4), moments_range, &task);
        make_scales(&task, dev->threads);
        para_cpu_split(dev, pixels, para_cpu_grain(task.c * 4), a->scale.data ? conditioned_range : scale_range, &task);
    }
    para_arena_release(&dev->arena, mark);
    return PARA_OK;
}
