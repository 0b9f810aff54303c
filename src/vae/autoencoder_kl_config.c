/* What vae/config.json says, checked. SPDX-License-Identifier: Apache-2.0 */
#include "vae/autoencoder_kl_config.h"

#include <inttypes.h>
#include <jansson.h>
#include <math.h>
#include <strings.h>

#include "core/error.h"

enum { MAX_CHANNELS = 1 << 16, MAX_LAYERS = 64, MAX_SAMPLE_SIZE = 1 << 16 };

static para_status read_activation(para_activation *out, const para_config *config) {
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

/* The block types must be `wanted`, one for each level. */
static para_status check_blocks(const para_config *config, const char *key, const char *wanted, int levels) {
    const json_t *list = json_object_get(config->root, key);
    if (!list || json_is_null(list)) {
        if (levels == 1) return PARA_OK; /* diffusers' default has one */
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

static para_status read_channels(para_autoencoder_kl_config *c, const para_config *config) {
    c->levels = 1;
    c->block_out_channels[0] = 64;
    PARA_TRY(para_config_ints(config, "block_out_channels", c->block_out_channels, PARA_VAE_MAX_LEVELS, &c->levels));
    if (c->levels < 1)
        return para_fail(PARA_ERR_CONFIG, "'%s': \"block_out_channels\" is empty; it needs an entry for each level",
                         config->path);
    PARA_TRY(para_config_int_in(config, "norm_num_groups", 32, 1, MAX_CHANNELS, &c->norm_num_groups));
    for (int i = 0; i < c->levels; i++) {
        int64_t n = c->block_out_channels[i];
        if (n < 1 || n > MAX_CHANNELS || n % c->norm_num_groups)
            return para_fail(PARA_ERR_CONFIG,
                             "'%s': %" PRId64
                             " in \"block_out_channels\" is not a multiple of \"norm_num_groups\" (%" PRId64
                             ") from 1 to %d",
                             config->path, n, c->norm_num_groups, MAX_CHANNELS);
    }
    return PARA_OK;
}

static para_status read_factors(para_autoencoder_kl_config *c, const para_config *config) {
    PARA_TRY(para_config_number(config, "scaling_factor", 0.18215, &c->scaling_factor));
    PARA_TRY(para_config_number(config, "shift_factor", 0, &c->shift_factor));
    if (!isfinite(c->scaling_factor) || c->scaling_factor == 0 || !isfinite(c->shift_factor))
        return para_fail(PARA_ERR_CONFIG, "'%s': \"scaling_factor\" must be finite and not 0, \"shift_factor\" finite",
                         config->path);
    return PARA_OK;
}

para_status para_autoencoder_kl_config_read(para_autoencoder_kl_config *out, const para_config *config) {
    para_autoencoder_kl_config c = {0};
    PARA_TRY(para_config_int_in(config, "in_channels", 3, 1, MAX_CHANNELS, &c.in_channels));
    PARA_TRY(para_config_int_in(config, "out_channels", 3, 1, MAX_CHANNELS, &c.out_channels));
    PARA_TRY(para_config_int_in(config, "latent_channels", 4, 1, MAX_CHANNELS, &c.latent_channels));
    PARA_TRY(para_config_int_in(config, "layers_per_block", 1, 1, MAX_LAYERS, &c.layers_per_block));
    PARA_TRY(para_config_int_in(config, "sample_size", 32, 1, MAX_SAMPLE_SIZE, &c.sample_size));
    PARA_TRY(read_channels(&c, config));
    PARA_TRY(check_blocks(config, "down_block_types", "DownEncoderBlock2D", c.levels));
    PARA_TRY(check_blocks(config, "up_block_types", "UpDecoderBlock2D", c.levels));
    PARA_TRY(read_activation(&c.act_fn, config));
    PARA_TRY(read_factors(&c, config));
    PARA_TRY(para_config_bool(config, "use_quant_conv", true, &c.use_quant_conv));
    PARA_TRY(para_config_bool(config, "use_post_quant_conv", true, &c.use_post_quant_conv));
    PARA_TRY(para_config_bool(config, "mid_block_add_attention", true, &c.mid_block_add_attention));
    PARA_TRY(para_config_bool(config, "force_upcast", true, &c.force_upcast));
    *out = c;
    return PARA_OK;
}
