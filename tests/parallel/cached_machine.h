/* A world with tiny-flux, for tests of the cache over ranks. SPDX-License-Identifier: Apache-2.0 */
#ifndef PARA_TESTS_PARALLEL_CACHED_MACHINE_H
#define PARA_TESTS_PARALLEL_CACHED_MACHINE_H

#include "rank_checks.h"

#define MODEL PARA_SOURCE_DIR "/models/tiny-flux"

#define OK(expr)                                                                                                       \
    do {                                                                                                               \
        if ((expr) != PARA_OK) fail_msg("%s: %s", #expr, para_last_error());                                           \
    } while (0)

typedef struct machine {
    para_world *world;
    para_pipeline *pipe;
} machine;

/* cache: NULL for none */
static inline machine open_machine(int ranks, const para_cache_options *cache) {
    machine m = {.world = open_world(ranks, 60)};
    OK(para_pipeline_open(&m.pipe, m.world, MODEL, NULL));
    if (cache) OK(para_apply_first_block_cache(m.pipe, cache));
    return m;
}

static inline void close_machine(machine *m) {
    para_pipeline_close(&m->pipe);
    para_world_close(&m->world);
}

static inline para_cache_options cache_of(float threshold) {
    para_cache_options c = PARA_CACHE_OPTIONS_INIT;
    c.residual_diff_threshold = threshold;
    return c;
}

/* Of 128 x 128 pixels. */
static inline para_request small_request(int steps, bool cfg) {
    para_request r = PARA_REQUEST_INIT;
    r.prompt = "three small crabs on a turquoise background";
    r.negative_prompt = cfg ? "a pink background, large" : NULL;
    r.true_cfg_scale = cfg ? 1.5f : 1.0f;
    r.height = r.width = 128;
    r.num_inference_steps = steps;
    r.max_sequence_length = 24;
    return r;
}

#endif
