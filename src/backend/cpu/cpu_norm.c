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

/* Scratch: for each thread means and squares [C] in double, then the picture's scale and offset [C]. */
typedef struct group_task {
    const para_simd *simd;
    const para_group_norm_args *a;
    int64_t picture;
    double *moments; /* [threads][2][C] */
    int64_t *pixels; /* [threads]: how many a thread has taken */
    float *scale, *offset;
} group_task;

static size_t moments_bytes(const para_group_norm_args *a, int threads) {
    return para_cpu_round((size_t)(2 * a->x.dim[3] * threads) * sizeof(double));
}

static size_t pixels_bytes(int threads) {
    return para_cpu_round((size_t)threads * sizeof(int64_t));
}

static size_t vectors_bytes(const para_group_norm_args *a) {
    return para_cpu_round((size_t)a->x.dim[3] * sizeof(float));
}

size_t para_cpu_group_norm_scratch(const para_group_norm_args *a, int threads) {
    return moments_bytes(a, threads) + pixels_bytes(threads) + 2 * vectors_bytes(a);
}

static char *pixel(const para_tensor *t, int64_t picture, int64_t at) {
    return (char *)t->data + (picture * t->stride[0] + at * t->dim[3]) * (int64_t)para_dtype_size(t->dtype);
}

static void moments_range(void *context, int64_t first, int64_t last, int worker) {
    const group_task *t = context;
    int64_t c = t->a->x.dim[3];
    double *mean = t->moments + 2 * c * worker, *m2 = mean + c;
    for (int64_t i = 0; i < 2 * c; i++) mean[i] = 0;
    t->pixels[worker] = last - first;
    t->simd->channel_moments(pixel(&t->a->x, t->picture, first), t->a->x.dtype, last - first, c, 0, mean, m2);
}

static void scale_range(void *context, int64_t first, int64_t last, int worker) {
    const group_task *t = context;
    (void)worker;
    t->simd->channel_scale(t->a->activation, pixel(&t->a->y, t->picture, first), pixel(&t->a->x, t->picture, first),
                           t->a->x.dtype, last - first, t->a->x.dim[3], t->scale, t->offset);
}

static float float_at(const para_tensor *v, int64_t i) {
    float f;
    memcpy(&f, (char *)v->data + 4 * i, 4);
    return f;
}

/* Merges all threads' channels of each group and writes what they make of a channel's elements. */
static void make_scales(const group_task *t, int threads) {
    int64_t c = t->a->x.dim[3], size = c / t->a->groups;
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

para_status para_cpu_group_norm(para_device *dev, const para_group_norm_args *a) {
    int64_t c = a->x.dim[3], pixels = a->x.dim[1] * a->x.dim[2];
    void *scratch;
    PARA_TRY(para_cpu_check(a->x.rank == 4 && a->y.rank == 4 && a->groups > 0 && c % a->groups == 0 &&
                                vector_of(&a->weight, c) && vector_of(&a->bias, c) && a->weight.data && a->bias.data &&
                                a->x.dtype == a->y.dtype && para_tensor_count(&a->x) == para_tensor_count(&a->y) &&
                                para_tensor_contiguous(&a->x) && para_tensor_contiguous(&a->y),
                            "group_norm",
                            "x and y [N, H, W, C], contiguous, and the vectors [C] of F32 do not fit together"));
    size_t mark = para_arena_mark(&dev->arena);
    PARA_TRY(para_arena_take(&dev->arena, para_cpu_group_norm_scratch(a, dev->threads), &scratch));
    char *part = scratch;
    group_task task = {.simd = para_simd_of(dev), .a = a, .moments = scratch};
    task.pixels = (void *)(part += moments_bytes(a, dev->threads));
    task.scale = (void *)(part += pixels_bytes(dev->threads));
    task.offset = (void *)(part + vectors_bytes(a));
    for (task.picture = 0; pixels > 0 && task.picture < a->x.dim[0]; task.picture++) {
        for (int w = 0; w < dev->threads; w++) task.pixels[w] = 0;
        para_cpu_split(dev, pixels, para_cpu_grain(c * 4), moments_range, &task);
        make_scales(&task, dev->threads);
        para_cpu_split(dev, pixels, para_cpu_grain(c * 4), scale_range, &task);
    }
    para_arena_release(&dev->arena, mark);
    return PARA_OK;
}
