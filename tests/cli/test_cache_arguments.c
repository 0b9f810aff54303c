/* The cache on the command line: what the run says of it, what its report holds, what is refused. SPDX-License-Identifier: Apache-2.0 */
#include "program.h"

#include <math.h>

#include <jansson.h>

#define MODEL PARA_SOURCE_DIR "/models/tiny-flux"
#define SMALL                                                                                                          \
    MODEL, "--prompt", "two snowmen", "--steps", "8", "--width", "64", "--height", "64", "--max-sequence-length", "16"

static program p;

/* The report's part on the cache, kept by *root. */
static const json_t *cache_of(json_t **root) {
    *root = json_load_file(temp_path("report.json"), 0, NULL);
    assert_non_null(*root);
    return json_object_get(*root, "cache");
}

static void report_tells_every_step(void **state) {
    (void)state;
    program_run(&p, NULL, "generate", SMALL, "--cache", "0.3", "--cache-max-hits", "4", "--cache-taylorseer", "1",
                "--report", temp_path("report.json"), "-o", temp_path("x.png"));
    program_expect(&p, 0, "cache: 4 of 8 hit", "operations saved", "times as fast");
    json_t *root;
    const json_t *cache = cache_of(&root), *steps = json_object_get(cache, "steps"), *step;
    int hits = 0;
    size_t i;
    assert_int_equal(json_array_size(steps), 8);
    json_array_foreach(steps, i, step) {
        assert_int_equal(json_integer_value(json_object_get(step, "step")), (int)i);
        assert_true(json_is_null(json_object_get(step, "difference")) == (i == 0));
        assert_true(json_number_value(json_object_get(step, "seconds")) > 0);
        hits += json_is_true(json_object_get(step, "hit"));
    }
    assert_int_equal(json_integer_value(json_object_get(cache, "hits")), hits);
    /* A step is 14 blocks and a hit one of them. */
    double saved =
        json_number_value(json_object_get(cache, "flops_saved")) / json_number_value(json_object_get(cache, "flops"));
    assert_true(saved > 0.4 && saved < 0.5);
    assert_true(json_number_value(json_object_get(cache, "speed_up")) > 1);
    json_decref(root);
    program_run(&p, NULL, "generate", SMALL, "--report", temp_path("report.json"), "-o", temp_path("x.png"));
    program_expect(&p, 0, "");
    assert_null(strstr(p.said, "cache"));
    cache = cache_of(&root);
    assert_true(json_is_null(cache));
    json_decref(root);
}

static void a_cache_without_effect_says_so(void **state) {
    (void)state;
    program_run(&p, NULL, "generate", SMALL, "--cache", "0.001", "-o", temp_path("x.png"));
    program_expect(&p, 0, "warning: the cache never hit: the smallest difference was 0.", "0 of 8 hit");
    program_run(&p, NULL, "generate", SMALL, "--cache", "1.5", "--cache-joint", "-o", temp_path("x.png"));
    program_expect(&p, 0, "of 1 or more", "has no effect without a negative prompt");
}

static void plan_counts_a_cached_step(void **state) {
    (void)state;
    program_run(&p, NULL, "plan", MODEL, "--cache", "0.1", "--cache-warmup", "3");
    program_expect(&p, 0, "");
    const char *step_line = strstr(p.out, "a step"), *cached_line = strstr(p.out, "a cached one");
    assert_true(step_line && cached_line);
    double step = strtod(step_line + strlen("a step"), NULL),
           cached = strtod(cached_line + strlen("a cached one"), NULL);
    assert_true(cached > 0 && cached < step / 3);
}

static void bad_arguments_are_refused(void **state) {
    (void)state;
    static const char *const cases[][5] = {
        {"--cache)", "is -0.1", "--cache", "-0.1", NULL},
        {"--cache)", "nan", "--cache", "nan", NULL},
        {"--cache 'much'", "a number", "--cache", "much", NULL},
        {"--cache-warmup", "turns the cache off", "--cache-warmup", "2", NULL},
        {"--cache-warmup", "none of the 8 steps", "--cache=0.1", "--cache-warmup=8", NULL},
        {"--cache-taylorseer", "0 to 8", "--cache=0.1", "--cache-taylorseer=9", NULL},
        {"--cache-skip-layers", "1 to 13", "--cache=0.1", "--cache-skip-layers=3,14", NULL},
        {"--cache-skip-layers", "1 to 13", "--cache=0.1", "--cache-skip-layers=1.5", NULL},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const char *const *c = cases[i];
        program_run(&p, NULL, "generate", SMALL, "-o", temp_path("bad.png"), c[2], c[3]);
        program_expect(&p, 2, c[1]);
        assert_ptr_equal(strchr(p.said, '\n'), p.said + p.length - 1); /* one sentence */
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(report_tells_every_step),
        cmocka_unit_test(a_cache_without_effect_says_so),
        cmocka_unit_test(plan_counts_a_cached_step),
        cmocka_unit_test(bad_arguments_are_refused),
    };
    return cmocka_run_group_tests(tests, temp_folder_setup, temp_folder_teardown);
}
