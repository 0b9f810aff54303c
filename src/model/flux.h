/* FluxTransformer2DModel. SPDX-License-Identifier: Apache-2.0 */
#ifndef PARA_MODEL_FLUX_H
#define PARA_MODEL_FLUX_H

#include "step/transformer.h"

/* Reads and checks the config of a FluxTransformer2DModel (dev and schnell alike). The caller closes it with table->close. */
para_status para_flux_open(para_transformer **out, const para_config *config);

#endif
