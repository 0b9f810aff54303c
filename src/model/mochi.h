/* MochiTransformer3DModel. SPDX-License-Identifier: Apache-2.0 */
#ifndef PARA_MODEL_MOCHI_H
#define PARA_MODEL_MOCHI_H

#include "step/transformer.h"

/* Reads and checks the config of a MochiTransformer3DModel. The caller closes it with table->close. A token of the latents is a square patch of one frame
 * (model/patches.h). Text is given without padding, no token at all included: what diffusers' mask keeps from attention is not there. */
para_status para_mochi_open(para_transformer **out, const para_config *config);

/* Rows, and columns, of a patch. */
int64_t para_mochi_patch(const para_transformer *t);

#endif
