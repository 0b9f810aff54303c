/* The options of the First Block Cache. SPDX-License-Identifier: Apache-2.0 */
#include "cache_arguments.h"

#include <math.h>
#include <stdlib.h>

bool cache_arguments_given(const cache_arguments *c) {
    const cache_arguments none = CACHE_ARGUMENTS_INIT;
    const para_cache_options *o = &c->options, *n = &none.options;
    return o->residual_diff_threshold != n->residual_diff_threshold ||
           o->negative_residual_diff_threshold != n->negative_residual_diff_threshold ||
           o->warmup_steps != n->warmup_steps || o->max_consecutive_hits != n->max_consecutive_hits ||
           o->max_hits != n->max_hits || o->downsample_factor != n->downsample_factor ||
           o->taylorseer_derivatives != n->taylorseer_derivatives || o->joint || c->skip_layers.count ||
           c->skip_range.count;
}

para_status cache_arguments_set(const cache_arguments *c, para_pipeline *pipe) {
    para_cache_options o = c->options;
    int *layers = calloc((size_t)c->skip_layers.count + 1, sizeof *layers);
    if (!layers) return PARA_ERR_MEMORY;
    for (int i = 0; i < c->skip_layers.count; i++) {
        double layer = c->skip_layers.value[i];
        layers[i] = layer == trunc(layer) && fabs(layer) < 1e6 ? (int)layer : -1; /* which the library refuses */
    }
    o.skip_layers = layers;
    o.num_skip_layers = c->skip_layers.count;
    if (c->skip_range.count) {
        o.skip_start = (float)c->skip_range.value[0];
        o.skip_end = c->skip_range.count == 2 ? (float)c->skip_range.value[1] : NAN;
    }
    para_status status = para_apply_first_block_cache(pipe, &o);
    free(layers);
    return status;
}

para_status cache_arguments_apply(const cache_arguments *c, para_pipeline *pipe) {
    return cache_arguments_given(c) ? cache_arguments_set(c, pipe) : PARA_OK;
}

void cache_arguments_free(cache_arguments *c) {
    free(c->skip_layers.value);
    free(c->skip_range.value);
}
