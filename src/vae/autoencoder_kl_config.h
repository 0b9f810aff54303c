/* What vae/config.json says. SPDX-License-Identifier: Apache-2.0 */
#ifndef PARA_VAE_AUTOENCODER_KL_CONFIG_H
#define PARA_VAE_AUTOENCODER_KL_CONFIG_H

#include "vae/autoencoder_kl.h"

/* Reads and checks every value. PARA_ERR_CONFIG naming file and key. */
para_status para_autoencoder_kl_config_read(para_autoencoder_kl_config *out, const para_config *config);

#endif
