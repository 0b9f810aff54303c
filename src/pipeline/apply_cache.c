/* Declaring that a pipeline caches steps. SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "core/alloc.h"
#include "core/error.h"
#include "core/hash.h"
#include "pipeline/pipeline_state.h"

/* Against the transformer's config: no weight is read. */
static para_status check_model(para_pipeline *pipe, const para_cache_options *o) {
    para_device *dry;
    para_instance instance;
    PARA_TRY(para_dry_open(&dry));
    para_status status = para_instance_open(&instance, &pipe->component[pipe->family->transformer], dry, &pipe->options,
                                            (para_placing){0});
    if (status == PARA_OK) {
        status = para_cache_check_model(o, instance.model);
        para_instance_close(&instance);
    }
    para_device_close(&dry);
    return status;
}

static para_status copy_layers(para_cache_options *o) {
    if (o->num_skip_layers == 0) {
        o->skip_layers = NULL;
        return PARA_OK;
    }
    int *own = para_alloc((size_t)o->num_skip_layers, sizeof *own);
    if (!own) return PARA_ERR_MEMORY;
    memcpy(own, o->skip_layers, (size_t)o->num_skip_layers * sizeof *own);
    o->skip_layers = own;
    return PARA_OK;
}

uint64_t para_cache_digest(const para_cache_options *o) {
    uint64_t digest = PARA_HASH_START;
    const float numbers[] = {o->residual_diff_threshold, o->negative_residual_diff_threshold, o->skip_start,
                             o->skip_end};
    const int counts[] = {o->warmup_steps,      o->max_consecutive_hits,   o->max_hits,
                          o->downsample_factor, o->taylorseer_derivatives, o->joint};
    digest = para_hash(digest, numbers, sizeof numbers);
    digest = para_hash(digest, counts, sizeof counts);
    digest = para_hash(digest, o->skip_layers, (size_t)o->num_skip_layers * sizeof *o->skip_layers);
    return digest;
}

para_status para_apply_first_block_cache(para_pipeline *pipe, const para_cache_options *options) {
    para_cache_options o = PARA_CACHE_OPTIONS_INIT;
    if (options) o = *options;
    if (!pipe) return para_fail(PARA_ERR_ARGUMENT, "para_apply_first_block_cache: the pipeline is NULL");
    PARA_TRY(para_cache_options_check(&o));
    PARA_TRY(check_model(pipe, &o));
    PARA_TRY(copy_layers(&o));
    para_free((void *)pipe->cache.skip_layers);
    pipe->cache = o;
    if (o.residual_diff_threshold >= 1 || o.negative_residual_diff_threshold >= 1)
        para_pipeline_log(pipe, PARA_LOG_WARNING,
                          "a residual_diff_threshold (--cache) of 1 or more takes nearly every step for a hit: expect "
                          "pictures far from the uncached ones; 0.03 to 0.2 suit most models");
    return PARA_OK;
}
