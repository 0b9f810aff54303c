/* CogVideoX's schedulers against diffusers' (tests/data/cogvideox_scheduler.json): timesteps, steps, the noise that they draw; and what is refused.
 * SPDX-License-Identifier: Apache-2.0 */
#include <jansson.h>
#include <math.h>

#include "core/rng.h"
#include "io_checks.h"
#include "scheduler/cogvideox_scheduler.h"

enum { SIZE = 20, MOST_STEPS = 64 };

typedef struct generator {
    para_device *dev;
    para_rng rng;
    int draws;
} generator;

static para_status draw(void *user, para_tensor out) {
    generator *g = user;
    float values[SIZE];
    para_rng_normal(&g->rng, values, PARA_F32, SIZE);
    g->draws++;
    return g->dev->ops->upload(g->dev, out, values);
}

typedef struct sums {
    double off, whole;
} sums;

static void add(sums *s, float got, const json_t *wanted) {
    double w = json_number_value(wanted);
    s->off += (got - w) * (got - w);
    s->whole += w * w;
}

/* The case's run, as the generator of the vectors makes it. Relative L2 of all that it has. */
static double run_steps(para_device *dev, para_schedule *s, const json_t *item, int *draws) {
    float values[SIZE];
    para_rng rng;
    generator noise = {.dev = dev};
    sums first = {0}, last = {0};
    para_tensor latents, prediction;
    size_t mark = para_arena_mark(&dev->arena);
    para_rng_seed(&rng, PARA_RNG_CPU, 5);
    para_rng_seed(&noise.rng, PARA_RNG_CPU, 77);
    assert_ok(PARA_NEW(dev, &latents, PARA_F32, 1, SIZE / 4, 4));
    assert_ok(PARA_NEW(dev, &prediction, PARA_F32, 1, SIZE / 4, 4));
    para_rng_normal(&rng, values, PARA_F32, SIZE);
    assert_ok(dev->ops->upload(dev, latents, values));
    if (s->table->begin) assert_ok(s->table->begin(s, dev, latents));
    for (int i = 0; i < s->steps; i++) {
        para_rng_normal(&rng, values, PARA_F32, SIZE);
        assert_ok(dev->ops->upload(dev, prediction, values));
        assert_ok(s->table->step(s, dev, &(para_schedule_step){i, prediction, latents, draw, &noise}));
        assert_ok(dev->ops->download(dev, values, &latents));
        add(&first, values[0], json_array_get(json_object_get(item, "first"), (size_t)i));
    }
    for (size_t k = 0; k < SIZE; k++) add(&last, values[k], json_array_get(json_object_get(item, "last"), k));
    para_arena_release(&dev->arena, mark);
    *draws = noise.draws;
    return fmax(sqrt(first.off / first.whole), sqrt(last.off / last.whole));
}

/* Error over bound. */
static double run_case(para_device *dev, json_t *item) {
    para_config config = {.root = json_object_get(item, "config"), .path = (char *)"scheduler_config.json"};
    int steps = (int)json_integer_value(json_object_get(item, "steps")), draws;
    const json_t *timesteps = json_object_get(item, "timesteps");
    para_cogvideox_scheduler scheduler;
    para_schedule schedule;
    bool dpm;
    assert_true(para_cogvideox_scheduler_named(json_string_value(json_object_get(item, "class")), &dpm));
    assert_ok(para_cogvideox_scheduler_read(&scheduler, &config, dpm));
    assert_ok(para_cogvideox_schedule(&scheduler, steps, &schedule));
    assert_int_equal(json_array_size(timesteps), steps);
    for (int i = 0; i < steps; i++)
        assert_true(schedule.timesteps[i] == (float)json_integer_value(json_array_get(timesteps, (size_t)i)));
    double error = run_steps(dev, &schedule, item, &draws), bound = 2e-6; /* measured: 8.2e-7 */
    const char *kind = json_string_value(json_object_get(item, "kind"));
    if (!(error <= bound)) fail_msg("%s, %s, %d steps: off by %.1e", dpm ? "DPM" : "DDIM", kind, steps, error);
    /* One in the first step, two in the others; but one where no timestep follows. */
    int last = (int)schedule.timesteps[steps - 1] - (int)scheduler.num_train_timesteps / steps >= 0 ? 2 : 1;
    assert_int_equal(draws, !dpm ? 0 : steps == 1 ? 1 : 1 + 2 * (steps - 2) + last);
    para_schedule_close(&schedule);
    para_cogvideox_scheduler_close(&scheduler);
    return error;
}

static void steps_are_those_of_diffusers(void **state) {
    (void)state;
    json_error_t error;
    json_t *root = json_load_file(PARA_SOURCE_DIR "/tests/data/cogvideox_scheduler.json", 0, &error), *item;
    para_device *cpu;
    double worst = 0;
    size_t i;
    if (!root) fail_msg("%s", error.text);
    assert_ok(para_cpu_open(&cpu, 1));
    assert_ok(para_device_reserve(cpu, 1 << 16));
    json_array_foreach(json_object_get(root, "cases"), i, item) worst = fmax(worst, run_case(cpu, item));
    print_message("  %d runs: relative L2 at most %.1e\n", (int)i, worst);
    assert_true(i >= 40);
    para_device_close(&cpu);
    json_decref(root);
}

/* ---- what is refused */

static para_status try_config(const para_config *config, bool dpm, int steps) {
    para_cogvideox_scheduler s;
    para_schedule schedule = {0};
    para_status status = para_cogvideox_scheduler_read(&s, config, dpm);
    if (status == PARA_OK) status = para_cogvideox_schedule(&s, steps, &schedule);
    para_schedule_close(&schedule);
    para_cogvideox_scheduler_close(&s);
    return status;
}

static para_status try_text(const char *text, bool dpm, int steps) {
    para_config config;
    assert_ok(para_config_parse(&config, text, strlen(text), "scheduler_config.json"));
    para_status status = try_config(&config, dpm, steps);
    para_config_close(&config);
    return status;
}

static void unsupported_values_are_refused_by_key(void **state) {
    (void)state;
    static const struct {
        const char *text, *says;
    } bad[] = {
        {"{\"beta_schedule\": \"sigmoid\"}", "\"beta_schedule\" is 'sigmoid'"},
        {"{\"prediction_type\": \"flow\"}",
         "\"prediction_type\" is 'flow'; it must be epsilon, sample or v_prediction"},
        {"{\"timestep_spacing\": \"even\"}", "\"timestep_spacing\" is 'even'"},
        {"{\"num_train_timesteps\": 0}", "num_train_timesteps"},
        {"{\"num_train_timesteps\": 4, \"trained_betas\": [0.1, 0.2]}",
         "\"trained_betas\" must be a list of num_train_timesteps, 4"},
        {"{\"num_train_timesteps\": 2, \"trained_betas\": [0.1, \"0.2\"]}", "holds something that is no number"},
        {"{\"num_train_timesteps\": 2, \"trained_betas\": [0.1, 1.5]}", "noise level of timestep 1"},
        {"{\"beta_end\": 2}", "\"beta_end\" must lie between 0 and 1"},
        {"{\"beta_start\": \"low\"}", "beta_start"},
        {"{\"snr_shift_scale\": 0}", "\"snr_shift_scale\" is 0"},
        {"{\"rescale_betas_zero_snr\": 1}", "rescale_betas_zero_snr"},
        {"{\"set_alpha_to_one\": \"yes\"}", "set_alpha_to_one"},
        {"{\"steps_offset\": -1}", "steps_offset"},
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        for (int dpm = 0; dpm < 2; dpm++) {
            assert_fails(PARA_ERR_CONFIG, bad[i].says, try_text(bad[i].text, dpm, 5));
            assert_non_null(strstr(para_last_error(), "scheduler_config.json"));
        }
}

static void impossible_schedules_are_errors(void **state) {
    (void)state;
    static const char trailing[] = "{\"timestep_spacing\": \"trailing\"}";
    for (int dpm = 0; dpm < 2; dpm++) {
        assert_fails(PARA_ERR_ARGUMENT, "use 1 or more", try_text("{}", dpm, 0));
        assert_fails(PARA_ERR_ARGUMENT, "the scheduler has 1000", try_text("{}", dpm, 1001));
        assert_fails(PARA_ERR_ARGUMENT, "with 61 denoising steps",
                     try_text(trailing, dpm, 61)); /* numpy's arange gives 62 */
        assert_ok(try_text(trailing, dpm, 60));
        assert_fails(PARA_ERR_ARGUMENT, "the first timestep is 1000", try_text("{\"steps_offset\": 1}", dpm, 1000));
        assert_ok(try_text("{\"steps_offset\": 1}", dpm, 500));
        /* The first noise level is 0: diffusers divides by it. */
        assert_fails(PARA_ERR_CONFIG, "coefficient of step 1 of 4",
                     try_text("{\"timestep_spacing\": \"trailing\", \"rescale_betas_zero_snr\": true}", dpm, 4));
    }
}

static void each_allocation_fails_cleanly(void **state) {
    (void)state;
    para_config config;
    assert_ok(para_config_parse(&config, "{}", 2, "scheduler_config.json"));
    assert_survives_alloc_failure(2, try_config(&config, true, 5));
    para_config_close(&config);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(steps_are_those_of_diffusers),
        cmocka_unit_test(unsupported_values_are_refused_by_key),
        cmocka_unit_test(impossible_schedules_are_errors),
        cmocka_unit_test(each_allocation_fails_cleanly),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
