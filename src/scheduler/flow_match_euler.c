/* FlowMatchEulerDiscreteScheduler: config and sigmas. SPDX-License-Identifier: Apache-2.0 */
#include "scheduler/flow_match_euler.h"

#include <math.h>
#include <string.h>

#include "core/alloc.h"
#include "core/error.h"
#include "scheduler/beta_quantile.h"

static const double RHO = 7, BETA = 0.6;
enum { MAX_TRAIN_TIMESTEPS = 1 << 24 }; /* whole numbers up to here are exact in float32 */

static para_status read_numbers(para_flow_match_euler *s, const para_config *config) {
    const struct {
        const char *key;
        double fallback, *out;
        bool may_lack;
    } numbers[] = {
        {"shift", 1.0, &s->shift, false},          {"base_shift", 0.5, &s->base_shift, false},
        {"max_shift", 1.15, &s->max_shift, false}, {"shift_terminal", 0, &s->shift_terminal, false},
        {"sigma_min", NAN, &s->sigma_min, true},   {"sigma_max", NAN, &s->sigma_max, true},
    };
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) {
        PARA_TRY(para_config_number(config, numbers[i].key, numbers[i].fallback, numbers[i].out));
        if (!isfinite(*numbers[i].out) && !(numbers[i].may_lack && !para_config_has(config, numbers[i].key)))
            return para_fail(PARA_ERR_CONFIG, "'%s': \"%s\" must be finite", config->path, numbers[i].key);
    }
    return PARA_OK;
}

static para_status read_schedule(para_flow_match_euler *s, const para_config *config) {
    static const char *const keys[] = {"use_karras_sigmas", "use_exponential_sigmas", "use_beta_sigmas"};
    static const para_sigma_schedule schedules[] = {PARA_SIGMAS_KARRAS, PARA_SIGMAS_EXPONENTIAL, PARA_SIGMAS_BETA};
    int used = 0;
    for (int i = 0; i < 3; i++) {
        bool use;
        PARA_TRY(para_config_bool(config, keys[i], false, &use));
        if (use) s->schedule = schedules[i];
        used += use;
    }
    if (used > 1)
        return para_fail(
            PARA_ERR_CONFIG,
            "'%s': only one of \"use_karras_sigmas\", \"use_exponential_sigmas\" and \"use_beta_sigmas\" can be true",
            config->path);
    return PARA_OK;
}

para_status para_flow_match_euler_read(para_flow_match_euler *out, const para_config *config) {
    para_flow_match_euler s = {.schedule = PARA_SIGMAS_PLAIN};
    const char *type;
    PARA_TRY(para_config_int_in(config, "num_train_timesteps", 1000, 1, MAX_TRAIN_TIMESTEPS, &s.num_train_timesteps));
    PARA_TRY(para_config_int(config, "base_image_seq_len", 256, &s.base_image_seq_len));
    PARA_TRY(para_config_int(config, "max_image_seq_len", 4096, &s.max_image_seq_len));
    if (s.base_image_seq_len == s.max_image_seq_len)
        return para_fail(PARA_ERR_CONFIG, "'%s': \"base_image_seq_len\" and \"max_image_seq_len\" must differ",
                         config->path);
    PARA_TRY(read_numbers(&s, config));
    PARA_TRY(read_schedule(&s, config));
    PARA_TRY(para_config_bool(config, "use_dynamic_shifting", false, &s.use_dynamic_shifting));
    PARA_TRY(para_config_bool(config, "invert_sigmas", false, &s.invert_sigmas));
    PARA_TRY(para_config_bool(config, "stochastic_sampling", false, &s.stochastic_sampling));
    PARA_TRY(para_config_bool(config, "use_flow_sigmas", false, &s.use_flow_sigmas));
    PARA_TRY(para_config_string(config, "time_shift_type", "exponential", &type));
    s.time_shift_linear = strcmp(type, "linear") == 0;
    if (!s.time_shift_linear && strcmp(type, "exponential") != 0)
        return para_fail(PARA_ERR_CONFIG, "'%s': \"time_shift_type\" is '%s'; it must be exponential or linear",
                         config->path, type);
    *out = s;
    return PARA_OK;
}

double para_flow_match_euler_mu(const para_flow_match_euler *s, int64_t image_seq_len) {
    double m = (s->max_shift - s->base_shift) / (double)(s->max_image_seq_len - s->base_image_seq_len);
    double b = s->base_shift - m * (double)s->base_image_seq_len;
    return (double)image_seq_len * m + b;
}

/* numpy's linspace(from, to, n). */
static double linspace(double from, double to, int n, int i) {
    if (n > 1 && i == n - 1) return to;
    return i * ((to - from) / (n > 1 ? n - 1 : 1)) + from;
}

/* A step of numpy's arithmetic: the array is float32 with sigmas of the user, else float64. One operation on floats done in
 * double and rounded once is the float32 operation. */
static double rounded(bool single, double x) {
    return single ? (float)x : x;
}

/* The scheduler's own spacing: between the first and the last of all training sigmas, which torch computes in float32. */
static void own_spacing(const para_flow_match_euler *s, int steps, double *sigmas) {
    double n = (double)s->num_train_timesteps, ends[2] = {1, (float)(1 / n)};
    for (int i = 0; i < 2 && !s->use_dynamic_shifting; i++) {
        float x = (float)ends[i], shift = (float)s->shift, less = (float)(s->shift - 1);
        ends[i] = shift * x / (1 + less * x);
    }
    for (int i = 0; i < steps; i++) sigmas[i] = linspace(ends[0] * n, ends[1] * n, steps, i) / n;
}

static void shift_sigmas(const para_flow_match_euler *s, bool single, double mu, int steps, double *sigmas) {
    double shift = rounded(single, s->shift), less = rounded(single, s->shift - 1);
    double pull = rounded(single, s->time_shift_linear ? mu : exp(mu));
    for (int i = 0; i < steps; i++) {
        double x = sigmas[i];
        if (s->use_dynamic_shifting) {
            double odds = rounded(single, rounded(single, 1 / x) - 1);
            sigmas[i] = rounded(single, pull / rounded(single, pull + odds));
        } else {
            double below = rounded(single, 1 + rounded(single, less * x));
            sigmas[i] = rounded(single, rounded(single, shift * x) / below);
        }
    }
}

static void stretch_to_terminal(const para_flow_match_euler *s, bool single, int steps, double *sigmas) {
    double last = rounded(single, 1 - sigmas[steps - 1]);
    double scale = rounded(single, last / rounded(single, 1 - s->shift_terminal));
    for (int i = 0; i < steps; i++)
        sigmas[i] = rounded(single, 1 - rounded(single, rounded(single, 1 - sigmas[i]) / scale));
}

/* Another spacing between the first and the last sigma, in float64. */
static void respace(const para_flow_match_euler *s, int steps, double *sigmas) {
    double max = isnan(s->sigma_max) ? sigmas[0] : s->sigma_max,
           min = isnan(s->sigma_min) ? sigmas[steps - 1] : s->sigma_min;
    double max_root = pow(max, 1 / RHO), min_root = pow(min, 1 / RHO);
    for (int i = 0; i < steps; i++) {
        double ramp = linspace(0, 1, steps, i);
        switch (s->schedule) {
        case PARA_SIGMAS_PLAIN: break;
        case PARA_SIGMAS_KARRAS: sigmas[i] = pow(max_root + ramp * (min_root - max_root), RHO); break;
        case PARA_SIGMAS_EXPONENTIAL: sigmas[i] = exp(linspace(log(max), log(min), steps, i)); break;
        case PARA_SIGMAS_BETA: sigmas[i] = min + para_beta_quantile(1 - ramp, BETA) * (max - min); break;
        }
    }
}

para_status para_flow_match_euler_sigmas(const para_flow_match_euler *s, int steps, const double *user_sigmas,
                                         double mu, float *sigmas, float *timesteps) {
    if (steps < 1) return para_fail(PARA_ERR_ARGUMENT, "%d denoising steps were asked for; use 1 or more", steps);
    double *x = para_alloc((size_t)steps, sizeof *x);
    if (!x) return PARA_ERR_MEMORY;
    bool single = user_sigmas != NULL;
    for (int i = 0; single && i < steps; i++) x[i] = (float)user_sigmas[i];
    if (!single) own_spacing(s, steps, x);
    shift_sigmas(s, single, mu, steps, x);
    if (s->shift_terminal != 0) stretch_to_terminal(s, single, steps, x);
    if (s->schedule != PARA_SIGMAS_PLAIN) respace(s, steps, x);

    bool finite = true;
    for (int i = 0; i < steps; i++) {
        float sigma = (float)x[i];
        sigmas[i] = s->invert_sigmas ? 1 - sigma : sigma;
        timesteps[i] = sigmas[i] * (float)s->num_train_timesteps;
        finite = finite && isfinite(timesteps[i]);
    }
    sigmas[steps] = s->invert_sigmas ? 1 : 0;
    para_free(x);
    if (!finite)
        return para_fail(PARA_ERR_CONFIG,
                         "the scheduler's settings make a sigma of %d steps infinite or not a number; check shift, "
                         "shift_terminal and the sigmas; with dynamic shifting a smaller picture helps, too",
                         steps);
    return PARA_OK;
}

/* latents += (sigma of the next step - sigma) · prediction */
static para_status euler_step(para_schedule *s, para_device *dev, const para_schedule_step *at) {
    const float *sigmas = s->values; /* [steps + 1] */
    float dt = sigmas[at->step + 1] - sigmas[at->step];
    return dev->ops->combine(dev, at->latents, 2, (para_tensor[]){at->latents, at->prediction}, (float[]){1.0f, dt});
}

static const para_schedule_table euler_table = {.step = euler_step};

para_status para_flow_match_euler_schedule(const para_flow_match_euler *s, int steps, const double *user_sigmas,
                                           double mu, para_schedule *out) {
    PARA_TRY(para_schedule_open(out, &euler_table, steps, ((size_t)steps + 1) * sizeof(float)));
    return para_flow_match_euler_sigmas(s, steps, user_sigmas, mu, out->values, out->timesteps);
}
