/* PSNR and SSIM against scikit-image's: tests/data/quality.json, by tools/reference/quality_vectors.py. SPDX-License-Identifier: Apache-2.0 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <jansson.h>
#include <paraattn/quality.h>

#include "io_checks.h"

/* Measured: 2.3e-14, relative, and 3.3e-16. */
static const double mse_bound = 1e-13, ssim_bound = 1e-14;

static double next(uint32_t *state) {
    *state = *state * 1664525u + 1013904223u;
    return (*state >> 24) / 255.0;
}

static double number(const json_t *o, const char *key) {
    return json_number_value(json_object_get(o, key));
}

/* As the generator describes. */
static void draw(const json_t *o, int count, float *picture, float *reference) {
    int smooth = (int)number(o, "smooth");
    double mix = number(o, "mix"), stretch = number(o, "stretch"),
           *raw = malloc((size_t)(count + smooth) * sizeof *raw);
    uint32_t one = 1, two = 2;
    for (int i = 0; i < count + smooth - 1; i++) raw[i] = next(&one);
    for (int i = 0; i < count; i++) {
        double x = 0;
        for (int k = 0; k < smooth; k++) x += raw[i + k];
        x /= smooth;
        double y = (x * (8 - mix) + next(&two) * mix) / 8;
        reference[i] = (float)((x - 0.5) * stretch + 0.5);
        picture[i] = (float)((y - 0.5) * stretch + 0.5);
    }
    free(raw);
}

static void as_scikit_image(void **state) {
    (void)state;
    json_t *cases = json_load_file(PARA_SOURCE_DIR "/tests/data/quality.json", 0, NULL), *o;
    double mse_worst = 0, ssim_worst = 0;
    size_t i;
    assert_int_equal(json_array_size(cases), 6);
    json_array_foreach(cases, i, o) {
        int64_t dim[] = {3, (int64_t)number(o, "height"), (int64_t)number(o, "width")};
        int count = (int)(3 * dim[1] * dim[2]);
        float *values = malloc(2 * (size_t)count * sizeof *values);
        para_tensor picture = para_tensor_make(values, PARA_F32, 3, dim),
                    reference = para_tensor_make(values + count, PARA_F32, 3, dim);
        para_quality q;
        draw(o, count, values, values + count);
        assert_ok(para_compare_pictures(&picture, &reference, &q));
        double mse = number(o, "mse");
        mse_worst = fmax(mse_worst, fabs(q.mse - mse) / (mse > 0 ? mse : 1));
        ssim_worst = fmax(ssim_worst, fabs(q.ssim - number(o, "ssim")));
        if (json_is_null(json_object_get(o, "psnr"))) assert_true(isinf(q.psnr) && q.psnr > 0);
        else assert_true(fabs(q.psnr - number(o, "psnr")) < 1e-9);
        free(values);
    }
    print_message("  mean squared difference to %.1e, relative; SSIM to %.1e\n", mse_worst, ssim_worst);
    assert_true(mse_worst < mse_bound && ssim_worst < ssim_bound);
    json_decref(cases);
}

static void what_cannot_be_compared(void **state) {
    (void)state;
    float values[3 * 16 * 16] = {0}, odd[3 * 16 * 16] = {0};
    para_tensor a = para_tensor_make(values, PARA_F32, 3, (int64_t[]){3, 16, 16}), b = a;
    para_quality q;
    assert_survives_alloc_failure(1, para_compare_pictures(&a, &b, &q));
    b.dim[1] = 15;
    assert_fails(PARA_ERR_SHAPE, "of one size", para_compare_pictures(&a, &b, &q));
    b = para_tensor_make(values, PARA_F16, 3, a.dim);
    assert_fails(PARA_ERR_SHAPE, "F32", para_compare_pictures(&b, &a, &q));
    assert_fails(PARA_ERR_SHAPE, "F32", para_compare_pictures(NULL, &a, &q));
    assert_fails(PARA_ERR_ARGUMENT, "out", para_compare_pictures(&a, &a, NULL));
    a = b = para_tensor_make(values, PARA_F32, 3, (int64_t[]){3, 10, 16}); /* no window fits */
    assert_ok(para_compare_pictures(&a, &b, &q));
    assert_true(q.mse == 0 && isnan(q.ssim));
    a = b = para_tensor_make(values, PARA_F32, 3, (int64_t[]){3, 16, 16});
    b.data = odd;
    odd[5] = NAN;
    assert_ok(para_compare_pictures(&b, &a, &q));
    assert_true(isnan(q.mse) && isnan(q.psnr) && isnan(q.ssim));
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(as_scikit_image), cmocka_unit_test(what_cannot_be_compared)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
