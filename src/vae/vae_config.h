/* What the configs of several VAEs have in common. SPDX-License-Identifier: Apache-2.0
 *
 * Each fails with PARA_ERR_CONFIG naming file and key. */
#ifndef PARA_VAE_VAE_CONFIG_H
#define PARA_VAE_VAE_CONFIG_H

#include "backend/backend.h"
#include "io/config.h"

enum { PARA_VAE_MAX_CHANNELS = 1 << 16, PARA_VAE_MAX_LAYERS = 64 };

/* "act_fn", silu where it is missing. */
para_status para_vae_config_activation(const para_config *config, para_activation *out);
/* The block types must be `wanted`, one for each of `levels`; a missing list has `usual` of them. */
para_status para_vae_config_blocks(const para_config *config, const char *key, const char *wanted, int usual,
                                   int levels);
/* "block_out_channels" [PARA_VAE_MAX_LEVELS] and "norm_num_groups", 32; where channels are missing, channels and levels stay. */
para_status para_vae_config_channels(const para_config *config, int64_t *channels, int *levels, int64_t *groups);
/* `key`, which must be finite and not 0. */
para_status para_vae_config_factor(const para_config *config, const char *key, double fallback, double *out);

#endif
