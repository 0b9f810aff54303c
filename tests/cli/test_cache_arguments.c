/* The cache on the command line: what the run says of it, what its report holds, what is refused. SPDX-License-Identifier: Apache-2.0 */
#include "program.h"

#include <math.h>

#include <jansson.h>

#define MODEL PARA_SOURCE_DIR "/models/tiny-flux"
#define SMALL                                                                                                          \
    MODEL, "--prompt", "two snowmen", "--steps", "8", "--width", "64", "--height", "64", "--max-sequence-length",      \
        "16", "--threads", "1"

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

static void auto_explains_itself(void **state) {
    (void)state;
    program_run(&p, NULL, "generate", SMALL, "--cache", "auto", "--cache-psnr", "25", "--cache-taylorseer", "1",
                "--report", temp_path("report.json"), "-o", temp_path("x.png"));
    program_expect(&p, 0, "calibrating the cache for 25 dB", "threshold 0.1: ", "the worst picture has",
                   "chosen: ", "the calibration took", "of 8 hit");
    json_t *root;
    const json_t *cache = cache_of(&root), *calibration = json_object_get(cache, "calibration");
    double threshold = json_number_value(json_object_get(json_object_get(cache, "options"), "residual_diff_threshold"));
    char chosen[64];
    snprintf(chosen, sizeof chosen, "--cache %.3g saves", threshold);
    program_expect(&p, 0, chosen);
    assert_true(json_integer_value(json_object_get(cache, "hits")) > 0);
    assert_true(json_number_value(json_object_get(calibration, "worst_psnr_db")) >= 25);
    assert_true(json_integer_value(json_object_get(calibration, "trials")) > 0);
    json_decref(root);
}

static void auto_draws_or_is_refused(void **state) {
    (void)state;
    program_run(&p, NULL, "plan", MODEL, "--cache", "auto");
    program_expect(&p, 2, "--cache auto finds a threshold by drawing pictures, which only generate does");
    program_run(&p, NULL, "verify", MODEL, "--ranks", "2", "--cache", "auto");
    program_expect(&p, 2, "--cache auto finds a threshold by drawing pictures, which only generate does");
}

static void bad_arguments_are_refused(void **state) {
    (void)state;
    static const char *const cases[][5] = {
        {"--cache)", "is -0.1", "--cache", "-0.1", NULL},
        {"--cache)", "nan", "--cache", "nan", NULL},
        {"--cache 'much'", "a number", "--cache", "much", NULL},
        {"--cache-psnr", "give that, too", "--cache=0.1", "--cache-psnr=32", NULL},
        {"--cache-psnr", "give that, too", "--seed=1", "--cache-psnr=32", NULL},
        {"--cache-psnr", "one number", "--cache=auto", "--cache-psnr=32,33", NULL},
        {"--cache-psnr", "is nan; give dB above 0", "--cache=auto", "--cache-psnr=nan", NULL},
        {"--cache-psnr", "is -1; give dB above 0", "--cache=auto", "--cache-psnr=-1", NULL},
        {"--cache-warmup", "none of the 8 steps", "--cache=auto", "--cache-warmup=8", NULL},
        {"--cache-negative", "is -0.5", "--cache=0.1", "--cache-negative=-0.5", NULL},
        {"--cache-negative", "leave one of them out", "--cache-negative=0.2", "--cache-joint", NULL},
        {"--cache-max-hits", "no step may be a hit", "--cache=0.1", "--cache-max-hits=0", NULL},
        {"--cache-skip-range", "parts of all steps", "--cache-skip-layers=3", "--cache-skip-range=0.5,0.1", NULL},
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

/* Every file of a study, and what they say. */
static void bench_writes_tables_and_pictures(void **state) {
    (void)state;
    static const char *const files[] = {"cache.csv", "runs.csv", "cache.svg", "cache.png"};
    FILE *prompts = fopen(temp_path("prompts"), "w");
    fprintf(prompts, "# two\ntwo snowmen\r\n\na red heart\n");
    assert_int_equal(fclose(prompts), 0);
    program_run(&p, NULL, "bench", "cache", MODEL, "--prompts", temp_path("prompts"), "--steps", "8", "--width", "64",
                "--height", "64", "--max-sequence-length", "16", "--threads", "1", "--thresholds", "0.001,0.4",
                "--taylorseer", "0,1", "--seeds", "3,4", "-o", temp_path("study"));
    program_expect(&p, 0, "draw 20/20", "picture");
    char path[600];
    size_t n;
    for (int i = 0; i < 4; i++) {
        snprintf(path, sizeof path, "%s/%s", temp_path("study"), files[i]);
        free(slurp(path, &n));
        assert_true(n > 200);
    }
    snprintf(path, sizeof path, "%s/cache.csv", temp_path("study"));
    char *table = slurp(path, &n);
    static const char *const wanted[] = {"\n0,0.001,4,0,32,", "\n0,0.4,4,", "\n1,0.001,4,0,32,", "\n1,0.4,4,"};
    for (int i = 0; i < 4; i++)
        if (!strstr(table, wanted[i])) fail_msg("no \"%s\" in %s", wanted[i], table);
    const char *never = strstr(table, wanted[0]);
    assert_non_null(strstr(never, ",inf,1.00000,")); /* no hit, no difference */
    free(table);
    snprintf(path, sizeof path, "%s/cache.svg", temp_path("study"));
    char *plot = slurp(path, &n);
    assert_non_null(strstr(plot, "TaylorSeer 1"));
    assert_null(strstr(plot, "inf"));
    assert_null(strstr(plot, "nan"));
    free(plot);
}

static void bench_refuses(void **state) {
    (void)state;
    static const char *const cases[][4] = {
        {"one a line", "-o", "x", NULL},
        {"Give -o FOLDER", "--prompts", "x", NULL},
        {"'/no/such' cannot be read", "--prompts=/no/such", "-o", "x"},
    };
    for (int i = 0; i < 3; i++) {
        program_run(&p, NULL, "bench", "cache", MODEL, cases[i][1], cases[i][2], cases[i][3]);
        program_expect(&p, i < 2 ? 2 : 1, cases[i][0]);
    }
    static const char *const lists[][3] = {{"--thresholds", "0.1,0", "above 0"},
                                           {"--thresholds", "nan", "above 0"},
                                           {"--seeds", "1.5", "whole numbers"},
                                           {"--taylorseer", "9", "0 to 8"},
                                           {"--thresholds", "a", "numbers separated by commas"}};
    for (int i = 0; i < 5; i++) {
        program_run(&p, NULL, "bench", "cache", MODEL, "--prompts", "x", "-o", "x", lists[i][0], lists[i][1]);
        program_expect(&p, 2, lists[i][0], lists[i][2]);
    }
}

static void bench_stops_when_told(void **state) {
    (void)state;
    program_options o = {0};
    FILE *prompts = fopen(temp_path("prompts"), "w");
    fprintf(prompts, "two snowmen\n");
    assert_int_equal(fclose(prompts), 0);
    program_start(
        &p, &o,
        PROGRAM_ARGV("bench", "cache", MODEL, "--prompts", temp_path("prompts"), "--steps", "8", "--width", "64",
                     "--height", "64", "--max-sequence-length", "16", "--threads", "1", "--seeds",
                     "1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23,24,25,26,27,28,29,30,31,32,33,34",
                     "-o", temp_path("stopped")));
    assert_true(program_wait_for(&p, "draw "));
    kill(p.pid, SIGINT);
    program_finish(&p, &o);
    program_expect(&p, 1, "cancelled");
    char path[600];
    snprintf(path, sizeof path, "%s/cache.csv", temp_path("stopped"));
    assert_int_equal(access(path, R_OK), 0); /* what was drawn until then */
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(report_tells_every_step),
        cmocka_unit_test(a_cache_without_effect_says_so),
        cmocka_unit_test(plan_counts_a_cached_step),
        cmocka_unit_test(auto_explains_itself),
        cmocka_unit_test(auto_draws_or_is_refused),
        cmocka_unit_test(bad_arguments_are_refused),
        cmocka_unit_test(bench_writes_tables_and_pictures),
        cmocka_unit_test(bench_refuses),
        cmocka_unit_test(bench_stops_when_told),
    };
    return cmocka_run_group_tests(tests, temp_folder_setup, temp_folder_teardown);
}
