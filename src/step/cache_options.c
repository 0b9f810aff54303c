/* What cache options are refused. SPDX-License-Identifier: Apache-2.0 */
#include <math.h>

#include "core/error.h"
#include "step/first_block_cache.h"

static para_status bad(const char *field, const char *option, double value, const char *rule) {
    return para_fail(PARA_ERR_ARGUMENT, "%s (%s) is %g; give %s", field, option, value, rule);
}

static para_status check_thresholds(const para_cache_options *o) {
    if (!(o->residual_diff_threshold >= 0))
        return bad("residual_diff_threshold", "--cache", (double)o->residual_diff_threshold,
                   "a number of 0 (no cache) or more; 0.03 to 0.2 suit most models");
    float negative = o->negative_residual_diff_threshold;
    if (!(negative >= 0 || negative == -1))
        return bad("negative_residual_diff_threshold", "--cache-negative", (double)negative,
                   "0 or more, or -1 for the same");
    if (o->joint && negative >= 0)
        return para_fail(
            PARA_ERR_ARGUMENT,
            "joint (--cache-joint) lets the halves of CFG decide together, so that the negative one has no "
            "threshold (--cache-negative) of its own; leave one of them out");
    return PARA_OK;
}

static para_status check_counts(const para_cache_options *o) {
    if (o->warmup_steps < 0) return bad("warmup_steps", "--cache-warmup", o->warmup_steps, "0 or more");
    if (o->max_consecutive_hits < -1)
        return bad("max_consecutive_hits", "--cache-max-consecutive", o->max_consecutive_hits,
                   "0 or more, or -1 for any number");
    if (o->max_hits < -1) return bad("max_hits", "--cache-max-hits", o->max_hits, "0 or more, or -1 for any number");
    if (o->downsample_factor < 1)
        return bad("downsample_factor", "--cache-downsample", o->downsample_factor, "1 or more");
    if (o->taylorseer_derivatives < 0 || o->taylorseer_derivatives > PARA_MAX_DERIVATIVES)
        return bad("taylorseer_derivatives", "--cache-taylorseer", o->taylorseer_derivatives, "0 to 8");
    bool off = o->residual_diff_threshold == 0 && o->negative_residual_diff_threshold <= 0;
    if (off && (o->warmup_steps > 0 || o->max_consecutive_hits >= 0 || o->max_hits >= 0 || o->downsample_factor > 1 ||
                o->taylorseer_derivatives > 0 || o->joint || o->negative_residual_diff_threshold == 0))
        return para_fail(
            PARA_ERR_ARGUMENT,
            "residual_diff_threshold (--cache) is 0, which turns the cache off, but other settings of the cache "
            "are given; give a threshold such as 0.08, or leave them out");
    if (o->residual_diff_threshold > 0 && (o->max_hits == 0 || o->max_consecutive_hits == 0))
        return para_fail(PARA_ERR_ARGUMENT,
                         "no step may be a hit with max_hits (--cache-max-hits) or max_consecutive_hits "
                         "(--cache-max-consecutive) 0; leave it out, or turn the cache off with threshold (--cache) 0");
    return PARA_OK;
}

static para_status check_skip(const para_cache_options *o) {
    if (o->num_skip_layers < 0 || (o->num_skip_layers > 0 && !o->skip_layers))
        return para_fail(PARA_ERR_ARGUMENT, "num_skip_layers is %d, but skip_layers has no such list",
                         o->num_skip_layers);
    if (o->num_skip_layers > 0 && !(o->skip_start >= 0 && o->skip_start < o->skip_end && o->skip_end <= 1))
        return para_fail(
            PARA_ERR_ARGUMENT,
            "skip_start and skip_end (--cache-skip-range) are %g and %g; give parts of all steps, 0 to 1, the "
            "first below the second",
            (double)o->skip_start, (double)o->skip_end);
    return PARA_OK;
}

para_status para_cache_options_check(const para_cache_options *o) {
    PARA_TRY(para_check_size(o->size, sizeof *o, "para_apply_first_block_cache: options", "PARA_CACHE_OPTIONS_INIT"));
    PARA_TRY(check_thresholds(o));
    PARA_TRY(check_counts(o));
    return check_skip(o);
}

para_status para_cache_check_model(const para_cache_options *o, const para_transformer *t) {
    int blocks = t->table->num_blocks(t);
    if (blocks < 2)
        return para_fail(PARA_ERR_ARGUMENT, "the %s has %d block: there is nothing to cache behind the first one",
                         t->table->class_name, blocks);
    for (int i = 0; i < o->num_skip_layers; i++) {
        if (o->skip_layers[i] < 1 || o->skip_layers[i] >= blocks)
            return para_fail(
                PARA_ERR_ARGUMENT,
                "skip_layers (--cache-skip-layers) names block %d; those of the %s that can be left out are 1 to "
                "%d",
                o->skip_layers[i], t->table->class_name, blocks - 1);
    }
    return PARA_OK;
}

para_status para_cache_check_steps(const para_cache_options *o, int steps) {
    if (o->warmup_steps >= steps && o->residual_diff_threshold > 0)
        return para_fail(
            PARA_ERR_ARGUMENT,
            "warmup_steps (--cache-warmup) %d leaves none of the %d steps (--steps) to cache; give a smaller one",
            o->warmup_steps, steps);
    return PARA_OK;
}
