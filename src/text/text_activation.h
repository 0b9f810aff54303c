/* Activation functions by the names that transformers' configs use. SPDX-License-Identifier: Apache-2.0 */
#ifndef PARA_TEXT_TEXT_ACTIVATION_H
#define PARA_TEXT_TEXT_ACTIVATION_H

#include "backend/backend.h"
#include "io/config.h"

/* The activation called `name` in transformers' ACT2FN; PARA_ERR_CONFIG names the config file and `key`. */
para_status para_text_activation(const para_config *config, const char *key, const char *name, para_activation *out);

#endif
