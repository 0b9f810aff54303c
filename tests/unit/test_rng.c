/* Noise against torch's generators: tests/data/rng.json (CPU), tests/data/rng_cuda.json (drawn on an H200).
 * SPDX-License-Identifier: Apache-2.0 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <jansson.h>

#include "core/float.h"
#include "core/rng.h"

#define DATA PARA_SOURCE_DIR "/tests/data/"

/* What was compared in one file. */
typedef struct tally {
    double f32_worst;            /* largest error of a float32 value */
    double f32_sum, bf16_sum;    /* largest error of a draw's sum or sum of squares, by the root of its size */
    long values, bf16, bf16_off; /* all; bfloat16; those one step off */
} tally;

static json_t *load(const char *name) {
    char path[512];
    json_error_t error;
    snprintf(path, sizeof path, DATA "%s", name);
    json_t *root = json_load_file(path, 0, &error);
    if (!root) fail_msg("%s: %s", path, error.text);
    return root;
}

/* Negative seeds count from 2^64, as in torch. */
static uint64_t seed_of(const json_t *text) {
    return strtoull(json_string_value(text), NULL, 10);
}

static para_dtype dtype_of(const json_t *item) {
    return strcmp(json_string_value(json_object_get(item, "dtype")), "float32") ? PARA_BF16 : PARA_F32;
}

/* Order of bfloat16 values: neighbours differ by 1. */
static int bf16_rank(float x) {
    uint16_t bits = para_f32_to_bf16(x);
    return bits & 0x8000 ? -(bits & 0x7fff) : bits;
}

static void compare_value(tally *t, para_dtype dtype, float got, float want) {
    t->values++;
    if (dtype == PARA_F32) {
        t->f32_worst = fmax(t->f32_worst, fabs((double)got - want));
        return;
    }
    int step = abs(bf16_rank(got) - bf16_rank(want));
    assert_true(step <= 1);
    t->bf16++;
    t->bf16_off += step;
}

/* Compares n drawn values with a described tensor. */
static void compare(tally *t, const json_t *want, para_dtype dtype, const void *drawn, int64_t n) {
    assert_int_equal(json_integer_value(json_object_get(want, "size")), n);
    float *got = malloc((size_t)n * sizeof *got);
    para_floats_to_f32(got, drawn, dtype, n);
    const json_t *index = json_object_get(want, "index"), *values = json_object_get(want, "values");
    assert_true(json_array_size(values) > 0);
    for (size_t i = 0; i < json_array_size(values); i++) {
        int64_t at = index ? json_integer_value(json_array_get(index, i)) : (int64_t)i;
        compare_value(t, dtype, got[at], (float)json_number_value(json_array_get(values, i)));
    }
    if (index) {
        double sum = 0, squares = 0;
        for (int64_t i = 0; i < n; i++) sum += got[i], squares += (double)got[i] * got[i];
        double off = fmax(fabs(sum - json_number_value(json_object_get(want, "sum"))),
                          fabs(squares - json_number_value(json_object_get(want, "sum_squares"))));
        double *worst = dtype == PARA_F32 ? &t->f32_sum : &t->bf16_sum;
        *worst = fmax(*worst, off / sqrt((double)n));
    }
    free(got);
}

/* Every case of a file: one generator, draws one after another. */
static tally run_cases(const json_t *root, para_rng_kind kind) {
    tally t = {0};
    size_t i, j;
    json_t *item, *draw;
    json_array_foreach(json_object_get(root, "cases"), i, item) {
        para_rng rng;
        para_dtype dtype = dtype_of(item);
        para_rng_seed(&rng, kind, seed_of(json_object_get(item, "seed")));
        if (kind == PARA_RNG_CUDA) {
            rng.cuda_sms = (int)json_integer_value(json_object_get(root, "multi_processor_count"));
            rng.cuda_threads_per_sm = (int)json_integer_value(json_object_get(root, "max_threads_per_multi_processor"));
        }
        json_array_foreach(json_object_get(item, "draws"), j, draw) {
            int64_t n = json_integer_value(json_object_get(draw, "size"));
            void *out = malloc((size_t)n * para_dtype_size(dtype));
            para_rng_normal(&rng, out, dtype, n);
            compare(&t, draw, dtype, out, n);
            free(out);
            if (kind == PARA_RNG_CUDA)
                assert_int_equal(rng.offset, json_integer_value(json_object_get(draw, "offset_after")));
        }
    }
    print_message(
        "  %ld values: float32 within %.2e, bfloat16 off by one step %ld of %ld, sums within %.1e and %.1e · √n\n",
        t.values, t.f32_worst, t.bf16_off, t.bf16, t.f32_sum, t.bf16_sum);
    assert_true(t.values > 1000 && t.bf16 > 1000);
    return t;
}

/* Measured: float32 2.4e-7 (sums 3.1e-6 · √n; one wrong value in 10^7 moves it by 3e-4), no bfloat16 value off; against torch itself 4.8e-7, and 153 of 5·10^7 values one step off. */
static void cpu_draws_are_those_of_torch(void **state) {
    (void)state;
    json_t *root = load("rng.json");
    tally t = run_cases(root, PARA_RNG_CPU);
    json_decref(root);
    assert_true(t.f32_worst <= 1e-6);
    assert_true((double)t.bf16_off <= 1e-4 * (double)t.bf16);
    assert_true(t.f32_sum <= 1e-5 && t.bf16_sum <= 3e-4);
}

/* diffusers' randn_tensor: a batch from one generator, or a picture from each. */
static void batches_are_those_of_diffusers(void **state) {
    (void)state;
    json_t *root = load("rng.json"), *item;
    tally t = {0};
    size_t i;
    json_array_foreach(json_object_get(root, "randn_tensor"), i, item) {
        int64_t n = json_integer_value(json_object_get(item, "size"));
        const json_t *seeds = json_object_get(item, "seeds");
        int64_t parts = (int64_t)json_array_size(seeds), each = n / parts;
        para_dtype dtype = dtype_of(item);
        size_t bytes = (size_t)each * para_dtype_size(dtype);
        char *out = malloc((size_t)parts * bytes);
        for (int64_t p = 0; p < parts; p++) {
            para_rng rng;
            para_rng_seed(&rng, PARA_RNG_CPU, seed_of(json_array_get(seeds, (size_t)p)));
            para_rng_normal(&rng, out + (size_t)p * bytes, dtype, each);
        }
        compare(&t, item, dtype, out, n);
        free(out);
    }
    json_decref(root);
    assert_true(t.values > 100 && t.f32_worst <= 1e-6 && t.bf16_off == 0);
}

/* Measured: float32 8.4e-7 (sums 2.2e-5 · √n), one bfloat16 value of 2435 off by a step (sums 2.0e-4 · √n). The GPU's fast sine
 * is good to 2^-21; times the largest radius of 6.7 that would be 3e-6. */
static void cuda_draws_are_those_of_torch(void **state) {
    (void)state;
    json_t *root = load("rng_cuda.json");
    tally t = run_cases(root, PARA_RNG_CUDA);
    json_decref(root);
    assert_true(t.f32_worst <= 1e-5);
    assert_true((double)t.bf16_off <= 1e-3 * (double)t.bf16);
    assert_true(t.f32_sum <= 1e-4 && t.bf16_sum <= 1e-3);
}

/* The words of Philox 4x32-10 for counter 0 and key 0 are published with Random123. */
static void philox_gives_its_known_answer(void **state) {
    (void)state;
    static const double word[4] = {0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8};
    enum { THREADS = 132 * 2048 };
    static float got[3 * THREADS + 1];
    para_rng rng;
    para_rng_seed(&rng, PARA_RNG_CUDA, 0);
    para_rng_normal(&rng, got, PARA_F32, 3 * THREADS + 1);
    assert_int_equal(rng.offset, 4);
    for (int pair = 0; pair < 2; pair++) {
        double radius = sqrt(-2 * log((word[2 * pair] + 0.5) * 0x1p-32)),
               angle = (word[2 * pair + 1] + 0.5) * 0x1p-31 * M_PI;
        assert_true(fabs(got[2 * pair * THREADS] - radius * sin(angle)) < 1e-5);
        assert_true(fabs(got[(2 * pair + 1) * THREADS] - radius * cos(angle)) < 1e-5);
    }
}

/* A copy draws what the original draws. */
static void generators_can_be_copied(void **state) {
    (void)state;
    for (int kind = PARA_RNG_CPU; kind <= PARA_RNG_CUDA; kind++) {
        para_rng a, b;
        float x[20], y[20];
        para_rng_seed(&a, (para_rng_kind)kind, 3);
        para_rng_normal(&a, x, PARA_F32, 7);
        b = a;
        para_rng_normal(&a, x, PARA_F32, 20);
        para_rng_normal(&b, y, PARA_F32, 20);
        assert_memory_equal(x, y, sizeof x);
        para_rng_normal(&b, y, PARA_F32, 20);
        assert_memory_not_equal(x, y, sizeof x);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(cpu_draws_are_those_of_torch),  cmocka_unit_test(batches_are_those_of_diffusers),
        cmocka_unit_test(cuda_draws_are_those_of_torch), cmocka_unit_test(philox_gives_its_known_answer),
        cmocka_unit_test(generators_can_be_copied),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
