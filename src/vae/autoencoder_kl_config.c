/* What vae/config.json says, checked. SPDX-License-Identifier: Apache-2.0 */
#include "vae/autoencoder_kl_config.h"

#include <math.h>

#include "core/error.h"
#include "vae/vae_config.h"

enum { MAX_SAMPLE_SIZE = 1 << 16 };

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
    PARA_TRY(para_config_int_in(config, "in_channels", 3, 1, PARA_VAE_MAX_CHANNELS, &c.in_channels));
    PARA_TRY(para_config_int_in(config, "out_channels", 3, 1, PARA_VAE_MAX_CHANNELS, &c.out_channels));
    PARA_TRY(para_config_int_in(config, "latent_channels", 4, 1, PARA_VAE_MAX_CHANNELS, &c.latent_channels));
    PARA_TRY(para_config_int_in(config, "layers_per_block", 1, 1, PARA_VAE_MAX_LAYERS, &c.layers_per_block));
    PARA_TRY(para_config_int_in(config, "sample_size", 32, 1, MAX_SAMPLE_SIZE, &c.sample_size));
    c.levels = 1;
    c.block_out_channels[0] = 64;
    PARA_TRY(para_vae_config_channels(config, c.block_out_channels, &c.levels, &c.norm_num_groups));
    PARA_TRY(para_vae_config_blocks(config, "down_block_types", "DownEncoderBlock2D", 1, c.levels));
    PARA_TRY(para_vae_config_blocks(config, "up_block_types", "UpDecoderBlock2D", 1, c.levels));
    PARA_TRY(para_vae_config_activation(config, &c.act_fn));
    PARA_TRY(read_factors(&c, config));
    PARA_TRY(para_config_bool(config, "use_quant_conv", true, &c.use_quant_conv));
    PARA_TRY(para_config_bool(config, "use_post_quant_conv", true, &c.use_post_quant_conv));
    PARA_TRY(para_config_bool(config, "mid_block_add_attention", true, &c.mid_block_add_attention));
    PARA_TRY(para_config_bool(config, "force_upcast", true, &c.force_upcast));
    *out = c;
    return PARA_OK;
}
