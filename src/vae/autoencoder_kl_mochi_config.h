/* What Mochi's vae/config.json says. SPDX-License-Identifier: Apache-2.0 */
#ifndef PARA_VAE_AUTOENCODER_KL_MOCHI_CONFIG_H
#define PARA_VAE_AUTOENCODER_KL_MOCHI_CONFIG_H

#include "vae/autoencoder_kl_mochi.h"

/* Of every group norm and every head of attention; diffusers has them as numbers. */
enum { PARA_MOCHI_GROUPS = 32, PARA_MOCHI_HEAD = 32, PARA_MOCHI_FEATURES = 5 /* for each channel of pixels */ };

/* Reads and checks every value. PARA_ERR_CONFIG naming file and key. */
para_status para_autoencoder_kl_mochi_config_read(para_autoencoder_kl_mochi_config *out, const para_config *config);

#endif
