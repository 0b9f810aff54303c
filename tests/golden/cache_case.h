/* Runs of a First Block Cache as ParaAttention took them: request, options, what was decided. SPDX-License-Identifier: Apache-2.0 */
#ifndef PARA_TESTS_CACHE_CASE_H
#define PARA_TESTS_CACHE_CASE_H

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "test_device.h"
#include <cmocka.h>
#include <jansson.h>
#include <paraattn/paraattn.h>

enum { MOST_LAYERS = 16 };

#define OK(expr)                                                                                                       \
    do {                                                                                                               \
        if ((expr) != PARA_OK) fail_msg("%s: %s", #expr, para_last_error());                                           \
    } while (0)

static inline double number(const json_t *o, const char *key, double otherwise) {
    const json_t *v = json_object_get(o, key);
    return json_is_number(v) ? json_number_value(v) : otherwise;
}

static inline para_request request_of(const json_t *o) {
    para_request r = PARA_REQUEST_INIT;
    r.prompt = json_string_value(json_object_get(o, "prompt"));
    r.negative_prompt = json_string_value(json_object_get(o, "negative_prompt"));
    r.true_cfg_scale = (float)number(o, "true_cfg_scale", 1);
    r.height = (int)number(o, "height", 0);
    r.width = (int)number(o, "width", 0);
    r.num_frames = (int)number(o, "num_frames", 0);
    r.num_inference_steps = (int)number(o, "num_inference_steps", 0);
    r.guidance_scale = (float)number(o, "guidance_scale", -1);
    r.max_sequence_length = (int)number(o, "max_sequence_length", 0);
    r.seed = (uint64_t)number(o, "seed", 0);
    return r;
}

/* ParaAttention's options as ours; layers: room for the list. */
static inline para_cache_options options_of(const json_t *o, int layers[MOST_LAYERS]) {
    para_cache_options c = PARA_CACHE_OPTIONS_INIT;
    const json_t *list = json_object_get(o, "slg_layers");
    c.residual_diff_threshold = (float)number(o, "residual_diff_threshold", 0);
    c.negative_residual_diff_threshold = (float)number(o, "alter_residual_diff_threshold", -1);
    c.warmup_steps = (int)number(o, "warmup_steps", 0);
    c.downsample_factor = (int)number(o, "downsample_factor", 1);
    c.taylorseer_derivatives = (int)number(json_object_get(o, "taylorseer_kwargs"), "n_derivatives", 0);
    c.num_skip_layers = (int)json_array_size(list);
    for (int i = 0; i < c.num_skip_layers; i++) layers[i] = (int)json_integer_value(json_array_get(list, (size_t)i));
    c.skip_layers = layers;
    c.skip_start = (float)number(o, "slg_start", 0);
    c.skip_end = (float)number(o, "slg_end", 0.1);
    return c;
}

/* Whether all went as with ParaAttention; the largest relative error of a d. */
static inline bool same_steps(const json_t *run, const para_result *got, double *worst) {
    const json_t *d = json_object_get(run, "d"), *hit = json_object_get(run, "hit");
    bool same = (size_t)got->num_cache_steps == json_array_size(d);
    *worst = 0;
    for (int i = 0; same && i < got->num_cache_steps; i++) {
        const para_cache_step *s = &got->cache_steps[i];
        const json_t *want = json_array_get(d, (size_t)i);
        same = s->hit == (json_integer_value(json_array_get(hit, (size_t)i)) != 0) &&
               isnan(s->difference) == json_is_null(want);
        if (!json_is_null(want)) *worst = fmax(*worst, fabs(s->difference / json_number_value(want) - 1));
    }
    return same;
}

#endif
