/* The options of the First Block Cache. SPDX-License-Identifier: Apache-2.0 */
#include "cache_arguments.h"

#include <math.h>
#include <stdlib.h>

#include "complain.h"

int cache_arguments_finish(cache_arguments *c, const char *name, bool draws) {
    const char *bad = NULL;
    if (c->threshold.automatic && !draws)
        bad = "--cache auto finds a threshold by drawing pictures, which only generate does; give one, such as --cache "
              "0.1";
    else if (!c->threshold.automatic && c->psnr.count)
        bad = "--cache-psnr is what --cache auto aims at; give that, too, or leave it out";
    else if (c->psnr.count > 1) bad = "--cache-psnr: give one number of dB";
    c->options.residual_diff_threshold = c->threshold.value;
    if (!bad) return EXIT_DONE;
    complain(name, "%s", bad);
    return EXIT_USAGE;
}

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

/* The options with the lists; *layers: free. */
static para_status options_of(const cache_arguments *c, para_cache_options *out, int **layers) {
    para_cache_options o = c->options;
    *layers = calloc((size_t)c->skip_layers.count + 1, sizeof **layers);
    if (!*layers) return PARA_ERR_MEMORY;
    for (int i = 0; i < c->skip_layers.count; i++) {
        double layer = c->skip_layers.value[i];
        (*layers)[i] = layer == trunc(layer) && fabs(layer) < 1e6 ? (int)layer : -1; /* which the library refuses */
    }
    o.skip_layers = *layers;
    o.num_skip_layers = c->skip_layers.count;
    if (c->skip_range.count) {
        o.skip_start = (float)c->skip_range.value[0];
        o.skip_end = c->skip_range.count == 2 ? (float)c->skip_range.value[1] : NAN;
    }
    *out = o;
    return PARA_OK;
}

para_status cache_arguments_set(const cache_arguments *c, para_pipeline *pipe) {
    para_cache_options o;
    int *layers;
    para_status status = options_of(c, &o, &layers);
    if (status == PARA_OK) status = para_apply_first_block_cache(pipe, &o);
    free(layers);
    return status;
}

para_status cache_arguments_calibrate(cache_arguments *c, para_pipeline *pipe, const para_request *request) {
    para_cache_calibration_options how = PARA_CACHE_CALIBRATION_OPTIONS_INIT;
    para_cache_options o;
    int *layers;
    if (!c->threshold.automatic) return PARA_OK;
    if (c->psnr.count) how.psnr = c->psnr.value[0];
    how.cache = &o;
    para_status status = options_of(c, &o, &layers);
    if (status == PARA_OK) status = para_calibrate_first_block_cache(pipe, request, &how, &c->calibration);
    free(layers);
    c->options.residual_diff_threshold = c->calibration.residual_diff_threshold;
    return status;
}

para_status cache_arguments_apply(const cache_arguments *c, para_pipeline *pipe) {
    return cache_arguments_given(c) && !c->threshold.automatic ? cache_arguments_set(c, pipe) : PARA_OK;
}

void cache_arguments_free(cache_arguments *c) {
    free(c->skip_layers.value);
    free(c->skip_range.value);
    free(c->psnr.value);
}
