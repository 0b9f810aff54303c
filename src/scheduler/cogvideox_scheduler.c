/* CogVideoXDDIMScheduler and CogVideoXDPMScheduler. SPDX-License-Identifier: Apache-2.0 */
#include "scheduler/cogvideox_scheduler.h"

#include <math.h>
#include <string.h>

#include "core/alloc.h"
#include "core/error.h"
#include "scheduler/cogvideox_alphas.h"

enum { MAX_TRAIN_TIMESTEPS = 1 << 20 };

/* ---- config */

bool para_cogvideox_scheduler_named(const char *class_name, bool *dpm) {
    *dpm = strcmp(class_name, "CogVideoXDPMScheduler") == 0;
    return *dpm || strcmp(class_name, "CogVideoXDDIMScheduler") == 0;
}

/* Which of `count` names the value of `key` is. */
static para_status read_choice(const para_config *config, const char *key, const char *const *names, int count,
                               int fallback, int *out) {
    const char *name;
    PARA_TRY(para_config_string(config, key, names[fallback], &name));
    for (*out = 0; *out < count; ++*out)
        if (strcmp(names[*out], name) == 0) return PARA_OK;
    return para_fail(PARA_ERR_CONFIG, "'%s': \"%s\" is '%s'; it must be %s, %s or %s", config->path, key, name,
                     names[0], names[1], names[2]);
}

para_status para_cogvideox_scheduler_read(para_cogvideox_scheduler *out, const para_config *config, bool dpm) {
    static const char *const predictions[] = {"epsilon", "sample", "v_prediction"}, *const spacings[] = {"leading",
                                                                                                         "linspace",
                                                                                                         "trailing"};
    int prediction, spacing;
    bool to_one;
    *out = (para_cogvideox_scheduler){.dpm = dpm};
    PARA_TRY(
        para_config_int_in(config, "num_train_timesteps", 1000, 1, MAX_TRAIN_TIMESTEPS, &out->num_train_timesteps));
    PARA_TRY(para_config_int_in(config, "steps_offset", 0, 0, MAX_TRAIN_TIMESTEPS, &out->steps_offset));
    PARA_TRY(para_config_bool(config, "set_alpha_to_one", true, &to_one));
    PARA_TRY(read_choice(config, "prediction_type", predictions, 3, PARA_PREDICTS_NOISE, &prediction));
    PARA_TRY(read_choice(config, "timestep_spacing", spacings, 3, PARA_SPACING_LEADING, &spacing));
    out->prediction_type = (para_prediction_type)prediction;
    out->timestep_spacing = (para_timestep_spacing)spacing;
    out->alphas_cumprod = para_alloc((size_t)out->num_train_timesteps, sizeof *out->alphas_cumprod);
    if (!out->alphas_cumprod) return PARA_ERR_MEMORY;
    PARA_TRY(para_cogvideox_alphas(config, out->num_train_timesteps, out->alphas_cumprod));
    out->final_alpha_cumprod = to_one ? 1 : out->alphas_cumprod[0];
    return PARA_OK;
}

void para_cogvideox_scheduler_close(para_cogvideox_scheduler *s) {
    para_free(s->alphas_cumprod);
    *s = (para_cogvideox_scheduler){0};
}

/* ---- timesteps */

/* The i-th of numpy's arange(n, 0, -ratio), which adds multiples of the difference of the first two; and how many there are. */
static double arange(double n, double ratio, int i) {
    return n + i * ((n - ratio) - n);
}
static int64_t arange_length(double n, double ratio) {
    return (int64_t)ceil((0 - n) / -ratio);
}

static int64_t timestep_of(const para_cogvideox_scheduler *s, int steps, int i) {
    int64_t n = s->num_train_timesteps;
    int back = steps - 1 - i;
    switch (s->timestep_spacing) {
    case PARA_SPACING_LEADING: return back * (n / steps) + s->steps_offset;
    case PARA_SPACING_LINSPACE:
        if (steps > 1 && back == steps - 1) return n - 1;
        return (int64_t)rint(back * ((double)(n - 1) / (steps > 1 ? steps - 1 : 1)));
    case PARA_SPACING_TRAILING: return (int64_t)rint(arange((double)n, (double)n / steps, i)) - 1;
    }
    return 0;
}

static para_status check_steps(const para_cogvideox_scheduler *s, int steps) {
    int64_t n = s->num_train_timesteps;
    if (steps < 1) return para_fail(PARA_ERR_ARGUMENT, "%d denoising steps were asked for; use 1 or more", steps);
    if (steps > n)
        return para_fail(PARA_ERR_ARGUMENT,
                         "%d denoising steps were asked for, but the scheduler has %lld (num_train_timesteps)", steps,
                         (long long)n);
    if (s->timestep_spacing == PARA_SPACING_TRAILING && arange_length((double)n, (double)n / steps) != steps)
        return para_fail(
            PARA_ERR_ARGUMENT,
            "with %d denoising steps rounding makes diffusers' scheduler take one more, at timestep -1; use "
            "another number of steps",
            steps);
    if (timestep_of(s, steps, 0) < n) return PARA_OK;
    return para_fail(PARA_ERR_ARGUMENT,
                     "with %d denoising steps and steps_offset %lld the first timestep is %lld, beyond the scheduler's "
                     "last, %lld; use another number of steps",
                     steps, (long long)s->steps_offset, (long long)timestep_of(s, steps, 0), (long long)n - 1);
}

/* ---- coefficients. alpha is alphas_cumprod at the timestep, `next` at the one that the step leads to, `back` at that of the step before. */

/* Source: prediction_type in step. */
static para_cogvideox_step original_sample(const para_cogvideox_scheduler *s, double alpha) {
    double root = sqrt(alpha), noise = sqrt(1 - alpha), of_latents = 0, of_prediction = 1;
    if (s->prediction_type == PARA_PREDICTS_NOISE) of_latents = 1 / root, of_prediction = -noise / root;
    if (s->prediction_type == PARA_PREDICTS_VELOCITY) of_latents = root, of_prediction = -noise;
    return (para_cogvideox_step){.x0_latents = (float)of_latents, .x0_prediction = (float)of_prediction};
}

/* Source: CogVideoXDDIMScheduler.step. */
static void ddim_step(double alpha, double next, para_cogvideox_step *out) {
    double a = sqrt((1 - next) / (1 - alpha));
    out->latents = (float)a;
    out->x0 = (float)(sqrt(next) - sqrt(alpha) * a);
}

static double log_snr(double alpha) {
    return log(sqrt(alpha / (1 - alpha)));
}

/* Of the second order where there is a step before, and one after. Source: CogVideoXDPMScheduler.step, get_variables, get_mult. */
static void dpm_step(double alpha, double next, const double *back, para_cogvideox_step *out) {
    double h = log_snr(next) - log_snr(alpha);
    double latents = sqrt((1 - next) / (1 - alpha)) * exp(-h), x0 = -expm1(-2 * h) * sqrt(next);
    out->latents = (float)latents;
    out->noise = (float)(sqrt(1 - next) * sqrt(1 - exp(-2 * h)));
    out->draws = back ? 2 : 1;
    out->x0 = (float)x0;
    if (!back) return;
    double r = (log_snr(alpha) - log_snr(*back)) / h;
    out->x0 = (float)(x0 * (1 + 1 / (2 * r)));
    out->old = (float)(-x0 / (2 * r));
}

static bool is_finite(const para_cogvideox_step *x) {
    return isfinite(x->x0_latents) && isfinite(x->x0_prediction) && isfinite(x->latents) && isfinite(x->x0) &&
           isfinite(x->old) && isfinite(x->noise);
}

static para_status make_steps(const para_cogvideox_scheduler *s, int steps, float *timesteps,
                              para_cogvideox_step *out) {
    for (int i = 0; i < steps; i++) {
        int64_t t = timestep_of(s, steps, i), prev = t - s->num_train_timesteps / steps;
        double alpha = s->alphas_cumprod[t], next = prev >= 0 ? s->alphas_cumprod[prev] : s->final_alpha_cumprod;
        const double *back = i > 0 && prev >= 0 ? &s->alphas_cumprod[timestep_of(s, steps, i - 1)] : NULL;
        timesteps[i] = (float)t;
        out[i] = original_sample(s, alpha);
        if (s->dpm) dpm_step(alpha, next, back, &out[i]);
        else ddim_step(alpha, next, &out[i]);
        if (!is_finite(&out[i]))
            return para_fail(PARA_ERR_CONFIG,
                             "the scheduler's settings make a coefficient of step %d of %d infinite or not a number; "
                             "rescale_betas_zero_snr goes with prediction_type v_prediction or sample",
                             i + 1, steps);
    }
    return PARA_OK;
}

/* ---- steps */

static para_status begin(para_schedule *s, para_device *dev, para_tensor latents) {
    return para_new(dev, &s->kept, PARA_F32, latents.rank, latents.dim);
}

static para_status step(para_schedule *s, para_device *dev, const para_schedule_step *at) {
    const para_cogvideox_step *c = (const para_cogvideox_step *)s->values + at->step;
    size_t mark = para_arena_mark(&dev->arena);
    para_tensor x0 = at->prediction, noise = {0}, terms[4] = {at->latents, x0};
    float factors[4] = {c->latents, c->x0};
    int n = 2;
    PARA_TRY(dev->ops->combine(dev, x0, 2, (para_tensor[]){at->latents, at->prediction},
                               (float[]){c->x0_latents, c->x0_prediction}));
    if (c->draws > 0) PARA_TRY(para_new(dev, &noise, PARA_F32, at->latents.rank, at->latents.dim));
    for (int i = 0; i < c->draws; i++) PARA_TRY(at->noise(at->user, noise));
    if (c->old != 0) terms[n] = s->kept, factors[n++] = c->old;
    if (c->noise != 0) terms[n] = noise, factors[n++] = c->noise;
    PARA_TRY(dev->ops->combine(dev, at->latents, n, terms, factors));
    para_arena_release(&dev->arena, mark);
    return s->kept.data ? dev->ops->copy(dev, s->kept, x0) : PARA_OK;
}

static const para_schedule_table ddim_table = {.step = step}, dpm_table = {.begin = begin, .step = step};

para_status para_cogvideox_schedule(const para_cogvideox_scheduler *s, int steps, para_schedule *out) {
    *out = (para_schedule){0};
    PARA_TRY(check_steps(s, steps));
    PARA_TRY(
        para_schedule_open(out, s->dpm ? &dpm_table : &ddim_table, steps, (size_t)steps * sizeof(para_cogvideox_step)));
    return make_steps(s, steps, out->timesteps, out->values);
}
