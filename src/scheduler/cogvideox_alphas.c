/* Betas to alphas_cumprod. SPDX-License-Identifier: Apache-2.0 */
#include "scheduler/cogvideox_alphas.h"

#include <jansson.h>
#include <math.h>
#include <string.h>

#include "core/error.h"

/* A step of torch's arithmetic on these tensors. One operation on floats done in double and rounded once is the float32 operation. */
static double rounded(bool single, double x) {
    return single ? (float)x : x;
}

/* torch.linspace(from, to, n) at i. */
static double linspace(bool single, double from, double to, int64_t n, int64_t i) {
    from = rounded(single, from), to = rounded(single, to);
    double step = n > 1 ? rounded(single, rounded(single, to - from) / (double)(n - 1)) : 0;
    bool first_half = i < n / 2 || n == 1;
    double way = rounded(single, step * (double)(first_half ? i : n - i - 1));
    return rounded(single, first_half ? from + way : to - way);
}

/* Source: betas_for_alpha_bar, "cosine". */
static double alpha_bar(double t) {
    return pow(cos((t + 0.008) / 1.008 * M_PI / 2), 2);
}

static para_status trained_betas(const para_config *config, int64_t n, double *betas) {
    const json_t *list = json_object_get(config->root, "trained_betas");
    if (!json_is_array(list) || (int64_t)json_array_size(list) != n)
        return para_fail(PARA_ERR_CONFIG,
                         "'%s': \"trained_betas\" must be a list of num_train_timesteps, %lld, numbers", config->path,
                         (long long)n);
    for (int64_t i = 0; i < n; i++) {
        const json_t *value = json_array_get(list, (size_t)i);
        if (!json_is_number(value))
            return para_fail(PARA_ERR_CONFIG, "'%s': \"trained_betas\" holds something that is no number",
                             config->path);
        betas[i] = (float)json_number_value(value);
    }
    return PARA_OK;
}

/* *single: they are float32. */
static para_status read_betas(const para_config *config, int64_t n, double *betas, bool *single) {
    const char *schedule;
    double start, end;
    PARA_TRY(para_config_string(config, "beta_schedule", "scaled_linear", &schedule));
    PARA_TRY(para_config_number(config, "beta_start", 0.00085, &start));
    PARA_TRY(para_config_number(config, "beta_end", 0.0120, &end));
    *single = true;
    if (para_config_has(config, "trained_betas")) return trained_betas(config, n, betas);
    if (!(start >= 0 && start <= 1 && end >= 0 && end <= 1))
        return para_fail(PARA_ERR_CONFIG, "'%s': \"beta_start\" and \"beta_end\" must lie between 0 and 1",
                         config->path);
    if (strcmp(schedule, "linear") == 0) {
        for (int64_t i = 0; i < n; i++) betas[i] = linspace(true, start, end, n, i);
    } else if (strcmp(schedule, "scaled_linear") == 0) {
        *single = false;
        for (int64_t i = 0; i < n; i++) {
            double root = linspace(false, sqrt(start), sqrt(end), n, i);
            betas[i] = root * root;
        }
    } else if (strcmp(schedule, "squaredcos_cap_v2") == 0) {
        for (int64_t i = 0; i < n; i++) {
            double beta = 1 - alpha_bar((double)(i + 1) / (double)n) / alpha_bar((double)i / (double)n);
            betas[i] = (float)(beta < 0.999 ? beta : 0.999);
        }
    } else {
        return para_fail(PARA_ERR_CONFIG,
                         "'%s': \"beta_schedule\" is '%s'; it must be linear, scaled_linear or squaredcos_cap_v2",
                         config->path, schedule);
    }
    return PARA_OK;
}

/* So that the last one is 0 and the first stays. Source: rescale_zero_terminal_snr. */
static void rescale(bool single, int64_t n, double *alphas) {
    for (int64_t i = 0; i < n; i++) alphas[i] = rounded(single, sqrt(alphas[i]));
    double first = alphas[0], last = alphas[n - 1];
    double factor = rounded(single, first / rounded(single, first - last));
    for (int64_t i = 0; i < n; i++) {
        double root = rounded(single, rounded(single, alphas[i] - last) * factor);
        alphas[i] = rounded(single, root * root);
    }
}

para_status para_cogvideox_alphas(const para_config *config, int64_t n, double *out) {
    bool single, zero_snr;
    double shift, product = 1;
    PARA_TRY(para_config_number(config, "snr_shift_scale", 3.0, &shift));
    PARA_TRY(para_config_bool(config, "rescale_betas_zero_snr", false, &zero_snr));
    if (!(shift > 0 && isfinite(shift)))
        return para_fail(PARA_ERR_CONFIG, "'%s': \"snr_shift_scale\" is %g; it must be above 0", config->path, shift);
    PARA_TRY(read_betas(config, n, out, &single));
    for (int64_t i = 0; i < n; i++) {
        product *= rounded(single, 1 - out[i]); /* torch.cumprod keeps the product of floats in double */
        out[i] = rounded(single, product);
    }
    for (int64_t i = 0; i < n; i++) {
        double below = rounded(single, rounded(single, rounded(single, 1 - shift) * out[i]) + rounded(single, shift));
        out[i] = rounded(single, out[i] / below);
    }
    if (zero_snr) rescale(single, n, out);
    for (int64_t i = 0; i < n; i++)
        if (!(out[i] >= 0 && out[i] <= 1))
            return para_fail(PARA_ERR_CONFIG,
                             "'%s': the betas make the noise level of timestep %lld %g, which is not between 0 and 1",
                             config->path, (long long)i, out[i]);
    return PARA_OK;
}
