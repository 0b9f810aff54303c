/* What the First Block Cache did in a run. SPDX-License-Identifier: Apache-2.0 */
#include "cache_report.h"

#include <math.h>

cache_summary cache_summary_make(const para_result *r) {
    cache_summary s = {0};
    int n = r->num_cache_steps, hits = r->cache_hits;
    if (n == 0) return s;
    double items = 0, all = 0, computed = 0;
    for (int i = 0; i < n; i++) {
        items += r->cache_steps[i].step == 0;
        all += r->cache_steps[i].seconds;
        if (!r->cache_steps[i].hit) computed += r->cache_steps[i].seconds;
    }
    s.flops = r->step_flops / items * n;
    s.flops_saved = (r->step_flops - r->hit_step_flops) / items * hits;
    if (hits && hits < n && all > 0) s.speed_up = computed / (n - hits) * n / all;
    return s;
}

static json_t *number_or_null(double x) {
    return isfinite(x) ? json_real(x) : json_null();
}

static json_t *steps_of(const para_result *r) {
    json_t *list = json_array();
    for (int i = 0; i < r->num_cache_steps; i++) {
        const para_cache_step *s = &r->cache_steps[i];
        json_array_append_new(list,
                              json_pack("{s:i, s:i, s:b, s:o, s:b, s:f}", "step", s->step, "picture", s->picture,
                                        "negative", s->negative, "difference", number_or_null((double)s->difference),
                                        "hit", s->hit, "seconds", s->seconds));
    }
    return list;
}

static json_t *list_of(const number_list *numbers) {
    json_t *list = json_array();
    for (int i = 0; i < numbers->count; i++) json_array_append_new(list, json_real(numbers->value[i]));
    return list;
}

static json_t *calibration_of(const para_cache_calibration *c) {
    if (c->trials == 0) return json_null();
    return json_pack("{s:o, s:f, s:i, s:f}", "worst_psnr_db", number_or_null(c->psnr), "speed_up", c->speed_up,
                     "trials", c->trials, "seconds", c->seconds);
}

json_t *cache_report(const cache_arguments *arguments, const para_result *result) {
    const para_cache_options *o = &arguments->options;
    const cache_summary s = cache_summary_make(result);
    if (result->num_cache_steps == 0) return json_null();
    return json_pack("{s:{s:f, s:f, s:i, s:i, s:i, s:i, s:i, s:b, s:o, s:o}, s:o, s:i, s:f, s:f, s:o, s:o}", "options",
                     "residual_diff_threshold", (double)o->residual_diff_threshold, "negative_residual_diff_threshold",
                     (double)o->negative_residual_diff_threshold, "warmup_steps", o->warmup_steps,
                     "max_consecutive_hits", o->max_consecutive_hits, "max_hits", o->max_hits, "downsample_factor",
                     o->downsample_factor, "taylorseer_derivatives", o->taylorseer_derivatives, "joint", o->joint,
                     "skip_layers", list_of(&arguments->skip_layers), "skip_range", list_of(&arguments->skip_range),
                     "calibration", calibration_of(&arguments->calibration), "hits", result->cache_hits, "flops",
                     s.flops, "flops_saved", s.flops_saved, "speed_up",
                     number_or_null(s.speed_up > 0 ? s.speed_up : NAN), "steps", steps_of(result));
}
