/* Config values of several VAEs, checked. SPDX-License-Identifier: Apache-2.0 */
#include "vae/vae_config.h"

#include <inttypes.h>
#include <jansson.h>
#include <math.h>
#include <strings.h>

#include "core/error.h"
#include "vae/autoencoder_kl.h"

para_status para_vae_config_activation(const para_config *config, para_activation *out) {
    static const struct {
        const char *name;
        para_activation f;
    } known[] = {
        {"silu", PARA_ACT_SILU}, {"swish", PARA_ACT_SILU}, {"gelu", PARA_ACT_GELU_ERF}, {"relu", PARA_ACT_RELU}};
    const char *name;
    PARA_TRY(para_config_string(config, "act_fn", "silu", &name));
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        if (strcasecmp(name, known[i].name) != 0) continue;
        *out = known[i].f;
        return PARA_OK;
    }
    return para_fail(PARA_ERR_CONFIG, "'%s': \"act_fn\" is '%s'; supported are silu, swish, gelu and relu",
                     config->path, name);
}

para_status para_vae_config_blocks(const para_config *config, const char *key, const char *wanted, int usual,
                                   int levels) {
    const json_t *list = json_object_get(config->root, key);
    if (!list || json_is_null(list)) {
        if (levels == usual) return PARA_OK;
        return para_fail(PARA_ERR_CONFIG,
                         "'%s': \"%s\" is missing; it must name %d blocks, as \"block_out_channels\" has %d entries",
                         config->path, key, levels, levels);
    }
    if (!json_is_array(list) || json_array_size(list) != (size_t)levels)
        return para_fail(PARA_ERR_CONFIG,
                         "'%s': \"%s\" must be a list of %d names, as \"block_out_channels\" has %d entries",
                         config->path, key, levels, levels);
    for (int i = 0; i < levels; i++) {
        const char *name = json_string_value(json_array_get(list, (size_t)i));
        if (!name || strcasecmp(name, wanted) != 0)
            return para_fail(PARA_ERR_CONFIG, "'%s': entry %d of \"%s\" is '%s'; only %s is supported", config->path, i,
                             key, name ? name : "not a string", wanted);
    }
    return PARA_OK;
}

para_status para_vae_config_channels(const para_config *config, int64_t *channels, int *levels, int64_t *groups) {
    PARA_TRY(para_config_ints(config, "block_out_channels", channels, PARA_VAE_MAX_LEVELS, levels));
    if (*levels < 1)
        return para_fail(PARA_ERR_CONFIG, "'%s': \"block_out_channels\" is empty; it needs an entry for each level",
                         config->path);
    PARA_TRY(para_config_int_in(config, "norm_num_groups", 32, 1, PARA_VAE_MAX_CHANNELS, groups));
    for (int i = 0; i < *levels; i++) {
        int64_t n = channels[i];
        if (n < 1 || n > PARA_VAE_MAX_CHANNELS || n % *groups)
            return para_fail(PARA_ERR_CONFIG,
                             "'%s': %" PRId64
                             " in \"block_out_channels\" is not a multiple of \"norm_num_groups\" (%" PRId64
                             ") from 1 to %d",
                             config->path, n, *groups, PARA_VAE_MAX_CHANNELS);
    }
    return PARA_OK;
}

para_status para_vae_config_factor(const para_config *config, const char *key, double fallback, double *out) {
    PARA_TRY(para_config_number(config, key, fallback, out));
    if (!isfinite(*out) || *out == 0)
        return para_fail(PARA_ERR_CONFIG, "'%s': \"%s\" must be finite and not 0", config->path, key);
    return PARA_OK;
}
