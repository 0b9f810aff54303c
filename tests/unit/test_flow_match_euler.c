/* The scheduler's sigmas and timesteps against diffusers' (tests/data/scheduler.json), and what it refuses.
 * SPDX-License-Identifier: Apache-2.0 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <jansson.h>

#include "core/alloc.h"
#include "scheduler/beta_quantile.h"
#include "scheduler/flow_match_euler.h"
#include "scheduler/linear_quadratic.h"

static void read_json(para_flow_match_euler *s, json_t *object) {
    para_config config = {.root = object, .path = (char *)"scheduler_config.json"};
    assert_int_equal(para_flow_match_euler_read(s, &config), PARA_OK);
}

static para_status read_text(para_flow_match_euler *s, const char *text) {
    para_config config;
    assert_int_equal(para_config_parse(&config, text, strlen(text), "scheduler_config.json"), PARA_OK);
    para_status status = para_flow_match_euler_read(s, &config);
    para_config_close(&config);
    return status;
}

/* Steps between two floats of one sign. */
static int64_t ulps(float a, float b) {
    int32_t x, y;
    memcpy(&x, &a, 4), memcpy(&y, &b, 4);
    return llabs((int64_t)x - y);
}

typedef struct tally {
    long values, off;
    int64_t worst;
} tally;

/* The wanted list has every value, or those at the case's index. */
static void compare(tally *t, const json_t *item, const char *key, const float *got, size_t count) {
    const json_t *want = json_object_get(item, key), *index = json_object_get(item, "index");
    if (!index) assert_int_equal(json_array_size(want), count);
    for (size_t i = 0; i < json_array_size(want); i++) {
        size_t at = index ? (size_t)json_integer_value(json_array_get(index, i)) : i;
        int64_t off = ulps(got[at], (float)json_number_value(json_array_get(want, i)));
        t->values++, t->off += off != 0;
        if (off > t->worst) t->worst = off;
    }
}

static void run_case(tally *t, json_t *item) {
    const json_t *args = json_object_get(item, "arguments"), *given = json_object_get(args, "sigmas");
    const json_t *threshold_noise = json_object_get(args, "threshold_noise");
    bool pipeline = json_is_true(json_object_get(item, "pipeline"));
    para_flow_match_euler s;
    read_json(&s, json_object_get(item, "config"));
    int steps = given ? (int)json_array_size(given) : (int)json_integer_value(json_object_get(args, "steps"));
    double mu = json_number_value(json_object_get(args, "mu")), *user = malloc((size_t)steps * sizeof *user);
    for (int i = 0; i < steps; i++) {
        if (given) user[i] = json_number_value(json_array_get(given, (size_t)i));
        else /* numpy's linspace(1, 1 / steps, steps) */
            user[i] = i && i == steps - 1 ? 1.0 / steps : 1 + (steps > 1 ? i * ((1.0 / steps - 1) / (steps - 1)) : 0);
    }
    if (threshold_noise) para_linear_quadratic_sigmas(steps, json_number_value(threshold_noise), user);
    if (pipeline) {
        int64_t tokens = json_integer_value(json_object_get(args, "image_seq_len"));
        assert_true(para_flow_match_euler_mu(&s, tokens) == mu);
    }
    float *sigmas = malloc(((size_t)steps + 1) * sizeof *sigmas),
          *timesteps = malloc((size_t)steps * sizeof *timesteps);
    assert_int_equal(para_flow_match_euler_sigmas(&s, steps, pipeline || given || threshold_noise ? user : NULL, mu,
                                                  sigmas, timesteps),
                     PARA_OK);
    compare(t, item, "sigmas", sigmas, (size_t)steps + 1);
    compare(t, item, "timesteps", timesteps, (size_t)steps);
    assert_true(sigmas[steps] == (s.invert_sigmas ? 1.0f : 0.0f));
    free(user), free(sigmas), free(timesteps);
}

/* Measured: every value equal to the bit here; 6 of 147,310 one step off in 6,000 random configs, all of them beta. */
static void sigmas_are_those_of_diffusers(void **state) {
    (void)state;
    json_error_t error;
    json_t *root = json_load_file(PARA_SOURCE_DIR "/tests/data/scheduler.json", 0, &error), *item;
    if (!root) fail_msg("%s", error.text);
    tally t = {0};
    size_t i;
    int cases = 0;
    json_array_foreach(json_object_get(root, "schedules"), i, item) {
        const json_t *args = json_object_get(item, "arguments");
        if (json_is_null(args) || json_object_get(args, "timesteps")) continue; /* no pipeline here asks for these */
        run_case(&t, item);
        cases++;
    }
    json_decref(root);
    print_message("  %d schedules, %ld values: %ld differ, by at most %lld float32 steps\n", cases, t.values, t.off,
                  (long long)t.worst);
    assert_true(cases > 150 && t.values > 5000);
    assert_true(t.worst <= 1 && t.off * 1000 <= t.values);
}

/* Where linear_quadratic_schedule divides by zero. */
static void a_single_step_of_mochi_starts_at_noise(void **state) {
    (void)state;
    double sigma = 0;
    para_linear_quadratic_sigmas(1, 0.025, &sigma);
    assert_true(sigma == 1);
}

static void sigma_ends_of_the_config_are_used(void **state) {
    (void)state;
    para_flow_match_euler s;
    float sigmas[6], timesteps[5];
    /* diffusers 0.42.1 on the same config */
    static const float want[6] = {0.9000f, 0.3721f, 0.1354f, 0.0415f, 0.0100f, 0};
    assert_int_equal(
        read_text(&s,
                  "{\"use_karras_sigmas\": true, \"sigma_min\": 0.01, \"sigma_max\": 0.9, \"use_flow_sigmas\": true}"),
        PARA_OK);
    assert_true(s.use_flow_sigmas);
    assert_int_equal(para_flow_match_euler_sigmas(&s, 5, NULL, 0, sigmas, timesteps), PARA_OK);
    for (int i = 0; i < 6; i++) assert_true(fabsf(sigmas[i] - want[i]) < 6e-5f);
}

static void unsupported_values_are_refused_by_key(void **state) {
    (void)state;
    static const struct {
        const char *text, *key;
    } bad[] = {
        {"{\"time_shift_type\": \"cubic\"}", "cubic"},
        {"{\"use_karras_sigmas\": true, \"use_beta_sigmas\": true}", "use_beta_sigmas"},
        {"{\"use_exponential_sigmas\": 1}", "use_exponential_sigmas"},
        {"{\"num_train_timesteps\": 0}", "num_train_timesteps"},
        {"{\"shift\": \"3\"}", "shift"},
        {"{\"base_image_seq_len\": 9, \"max_image_seq_len\": 9}", "max_image_seq_len"},
        {"{\"invert_sigmas\": \"no\"}", "invert_sigmas"},
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        para_flow_match_euler s;
        assert_int_equal(read_text(&s, bad[i].text), PARA_ERR_CONFIG);
        if (!strstr(para_last_error(), bad[i].key) || !strstr(para_last_error(), "scheduler_config.json"))
            fail_msg("%s: %s", bad[i].text, para_last_error());
    }
}

static void impossible_schedules_are_errors(void **state) {
    (void)state;
    para_flow_match_euler s;
    float sigmas[3], timesteps[2];
    assert_int_equal(read_text(&s, "{}"), PARA_OK);
    assert_int_equal(para_flow_match_euler_sigmas(&s, 0, NULL, 0, sigmas, timesteps), PARA_ERR_ARGUMENT);
    para_alloc_fail_after(1);
    para_status status = para_flow_match_euler_sigmas(&s, 2, NULL, 0, sigmas, timesteps);
    para_alloc_fail_after(0);
    assert_int_equal(status, PARA_ERR_MEMORY);
    /* One sigma of 1 has no distance to stretch: 0/0 in diffusers. */
    assert_int_equal(read_text(&s, "{\"shift_terminal\": 0.1}"), PARA_OK);
    assert_int_equal(para_flow_match_euler_sigmas(&s, 1, (double[]){1}, 0, sigmas, timesteps), PARA_ERR_CONFIG);
}

/* Closed form for a = 1/2 (arcsine law) and a = 1; against scipy with a = 0.6 see sigmas_are_those_of_diffusers. */
static void beta_quantiles_are_exact(void **state) {
    (void)state;
    double worst = 0;
    for (int i = 0; i <= 1000; i++) {
        double p = i / 1000.0, arc = pow(sin(p * M_PI / 2), 2);
        worst = fmax(worst, fabs(para_beta_quantile(p, 0.5) - arc));
        worst = fmax(worst, fabs(para_beta_quantile(p, 1) - p));
    }
    print_message("  largest error %.1e\n", worst);
    assert_true(worst <= 1e-14); /* measured 2.3e-15 */
    assert_true(isnan(para_beta_quantile(-0.1, 0.6)) && isnan(para_beta_quantile(NAN, 0.6)));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sigmas_are_those_of_diffusers),     cmocka_unit_test(a_single_step_of_mochi_starts_at_noise),
        cmocka_unit_test(sigma_ends_of_the_config_are_used), cmocka_unit_test(unsupported_values_are_refused_by_key),
        cmocka_unit_test(impossible_schedules_are_errors),   cmocka_unit_test(beta_quantiles_are_exact),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
