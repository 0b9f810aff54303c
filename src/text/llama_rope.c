/* Rotary position embedding of Llama's configs. SPDX-License-Identifier: Apache-2.0 */
#include "text/llama_rope.h"

#include <jansson.h>
#include <math.h>
#include <string.h>

#include "core/error.h"

/* The values of rope_type "llama3". */
static para_status read_scaling(para_llama_rope *rope, const para_config *config, const para_config *own) {
    int64_t context;
    PARA_TRY(para_config_int(config, "max_position_embeddings", 2048, &context));
    PARA_TRY(para_config_number(own, "factor", 0, &rope->factor));
    PARA_TRY(para_config_number(own, "low_freq_factor", 0, &rope->low_freq_factor));
    PARA_TRY(para_config_number(own, "high_freq_factor", 0, &rope->high_freq_factor));
    PARA_TRY(para_config_int_in(own, "original_max_position_embeddings", context, 1, INT64_C(1) << 40,
                                &rope->original_max_position_embeddings));
    if (!(rope->factor >= 1) || !(rope->low_freq_factor > 0) || !(rope->high_freq_factor > rope->low_freq_factor))
        return para_fail(PARA_ERR_CONFIG,
                         "%s: rope_type \"llama3\" needs a factor of 1 or more and high_freq_factor above "
                         "low_freq_factor above 0",
                         config->path);
    rope->scaled = true;
    return PARA_OK;
}

static bool is_filled(const json_t *object) {
    return json_is_object(object) && json_object_size(object) > 0;
}

para_status para_llama_rope_read(para_llama_rope *rope, const para_config *config) {
    *rope = (para_llama_rope){0};
    json_t *scaling = json_object_get(config->root, "rope_scaling");
    json_t *parameters = is_filled(scaling) ? scaling : json_object_get(config->root, "rope_parameters");
    const para_config own = {is_filled(parameters) ? parameters : NULL, config->path}; /* no member has its value */
    const char *type;
    double partial;
    PARA_TRY(para_config_number(config, "rope_theta", 10000.0, &rope->theta));
    PARA_TRY(para_config_number(&own, "rope_theta", rope->theta, &rope->theta));
    PARA_TRY(para_config_number(config, "partial_rotary_factor", 1.0, &partial));
    PARA_TRY(para_config_number(&own, "partial_rotary_factor", partial, &partial));
    PARA_TRY(para_config_string(&own, "type", "default", &type)); /* the older name */
    PARA_TRY(para_config_string(&own, "rope_type", type, &type));
    if (!(rope->theta > 0)) return para_fail(PARA_ERR_CONFIG, "%s: rope_theta must be above 0", config->path);
    if (partial != 1.0)
        return para_fail(PARA_ERR_CONFIG, "%s: partial_rotary_factor %g is not supported; Llama turns whole heads",
                         config->path, partial);
    if (strcmp(type, "llama3") == 0) return read_scaling(rope, config, &own);
    if (strcmp(type, "default") == 0) return PARA_OK;
    return para_fail(PARA_ERR_CONFIG, "%s: rope_type \"%s\" is not supported; known are default and llama3",
                     config->path, type);
}

/* In float, as torch computes it: at large positions its rounding shows. */
static float scaled(const para_llama_rope *rope, float frequency) {
    if (!rope->scaled) return frequency;
    float factor = (float)rope->factor, low = (float)rope->low_freq_factor, high = (float)rope->high_freq_factor;
    double context = (double)rope->original_max_position_embeddings;
    float wave = (float)(2 * M_PI) / frequency;
    if (wave > (float)(context / rope->low_freq_factor)) return frequency / factor;
    if (wave < (float)(context / rope->high_freq_factor)) return frequency;
    float smooth = ((float)context / wave - low) / (high - low);
    return (1 - smooth) * frequency / factor + smooth * frequency;
}

void para_llama_rope_tables(const para_llama_rope *rope, int64_t n, int64_t head_dim, float *cos, float *sin) {
    int64_t half = head_dim / 2;
    for (int64_t i = 0; i < half; i++) {
        float frequency = scaled(rope, 1.0f / powf((float)rope->theta, (float)(2 * i) / (float)head_dim));
        for (int64_t position = 0; position < n; position++) {
            float angle = (float)position * frequency;
            float *c = cos + position * head_dim + i, *s = sin + position * head_dim + i;
            c[0] = c[half] = cosf(angle);
            s[0] = s[half] = sinf(angle);
        }
    }
}
