/* PSNR and SSIM. SPDX-License-Identifier: Apache-2.0 */
#include <paraattn/quality.h>

#include <math.h>

#include "core/alloc.h"
#include "core/error.h"

enum { CHANNELS = 3, RADIUS = 5, TAPS = 2 * RADIUS + 1 };

/* What a window is averaged of. */
enum { X, Y, XX, YY, XY, MOMENTS };

/* Two planes of a picture, and room for the sums of windows of a row each. */
typedef struct comparison {
    const float *x, *y; /* [height, width] */
    int64_t height, width;
    double tap[TAPS];
    double *columns; /* [MOMENTS, width]: windows' weighted sums over their rows */
} comparison;

static double clamped(float v) {
    return v > 0 ? v < 1 ? (double)v : 1.0 : v <= 0 ? 0.0 : NAN;
}

static void fill_taps(double tap[TAPS]) {
    double sum = 0;
    for (int i = 0; i < TAPS; i++) sum += tap[i] = exp(-(i - RADIUS) * (i - RADIUS) / (2 * 1.5 * 1.5));
    for (int i = 0; i < TAPS; i++) tap[i] /= sum;
}

static void sum_columns(const comparison *c, int64_t top) {
    double *sum = c->columns;
    for (int64_t k = 0; k < c->width; k++) {
        double m[MOMENTS] = {0};
        for (int i = 0; i < TAPS; i++) {
            double x = clamped(c->x[(top + i) * c->width + k]), y = clamped(c->y[(top + i) * c->width + k]);
            const double part[MOMENTS] = {x, y, x * x, y * y, x * y};
            for (int j = 0; j < MOMENTS; j++) m[j] += c->tap[i] * part[j];
        }
        for (int j = 0; j < MOMENTS; j++) sum[j * c->width + k] = m[j];
    }
}

static double similarity_at(const comparison *c, int64_t left) {
    static const double c1 = 0.01 * 0.01, c2 = 0.03 * 0.03;
    double m[MOMENTS] = {0};
    for (int i = 0; i < TAPS; i++)
        for (int j = 0; j < MOMENTS; j++) m[j] += c->tap[i] * c->columns[j * c->width + left + i];
    double xx = m[XX] - m[X] * m[X], yy = m[YY] - m[Y] * m[Y], xy = m[XY] - m[X] * m[Y];
    return (2 * m[X] * m[Y] + c1) * (2 * xy + c2) / ((m[X] * m[X] + m[Y] * m[Y] + c1) * (xx + yy + c2));
}

static double similarity(const comparison *c) {
    int64_t rows = c->height - TAPS + 1, columns = c->width - TAPS + 1;
    double sum = 0;
    for (int64_t i = 0; i < rows; i++) {
        sum_columns(c, i);
        for (int64_t k = 0; k < columns; k++) sum += similarity_at(c, k);
    }
    return sum / (double)(rows * columns);
}

static double squared_difference(const comparison *c) {
    double sum = 0;
    for (int64_t i = 0; i < c->height * c->width; i++) {
        double d = clamped(c->x[i]) - clamped(c->y[i]);
        sum += d * d;
    }
    return sum / (double)(c->height * c->width);
}

static bool is_picture(const para_tensor *t) {
    return t && t->data && t->dtype == PARA_F32 && t->rank == 3 && t->dim[0] == CHANNELS && t->dim[1] > 0 &&
           t->dim[2] > 0 && para_tensor_contiguous(t);
}

double para_psnr(double mse) {
    return -10 * log10(mse);
}

para_status para_compare_pictures(const para_tensor *picture, const para_tensor *reference, para_quality *out) {
    if (!out) return para_fail(PARA_ERR_ARGUMENT, "para_compare_pictures: out is NULL");
    if (!is_picture(picture) || !is_picture(reference) || picture->dim[1] != reference->dim[1] ||
        picture->dim[2] != reference->dim[2])
        return para_fail(PARA_ERR_SHAPE,
                         "para_compare_pictures: give two pictures of one size, F32 [3, height, width], "
                         "contiguous, on the host");
    comparison c = {.height = picture->dim[1], .width = picture->dim[2]};
    bool windows = c.height >= TAPS && c.width >= TAPS;
    if (!(c.columns = para_alloc((size_t)c.width, MOMENTS * sizeof *c.columns))) return PARA_ERR_MEMORY;
    fill_taps(c.tap);
    *out = (para_quality){.ssim = windows ? 0 : NAN};
    for (int i = 0; i < CHANNELS; i++) {
        c.x = (const float *)picture->data + i * c.height * c.width;
        c.y = (const float *)reference->data + i * c.height * c.width;
        out->mse += squared_difference(&c) / CHANNELS;
        if (windows) out->ssim += similarity(&c) / CHANNELS;
    }
    out->psnr = para_psnr(out->mse);
    para_free(c.columns);
    return PARA_OK;
}
