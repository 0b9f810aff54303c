/* CogVideoXTransformer3DModel. SPDX-License-Identifier: Apache-2.0 */
#ifndef PARA_MODEL_COGVIDEOX_H
#define PARA_MODEL_COGVIDEOX_H

#include "model/cogvideox_config.h"
#include "step/transformer.h"

/* Reads and checks the config of a CogVideoXTransformer3DModel that makes videos from text: 2b (sincos positions), 5b (rotary), 1.5 (temporal patches).
 * The caller closes it with table->close. A token of the latents is a patch of them (model/patches.h). All text tokens take part, padding too. */
para_status para_cogvideox_open(para_transformer **out, const para_config *config);

const para_cogvideox_config *para_cogvideox_config_of(const para_transformer *t);

/* Frames, and rows and columns, of a patch. */
void para_cogvideox_patch(const para_transformer *t, int64_t *patch_size_t, int64_t *patch_size);

/* Whether such a model takes a grid of so many frames, rows and columns of tokens and so many text tokens; prepare asks, too. PARA_ERR_ARGUMENT with the sentence. */
para_status para_cogvideox_check_size(const para_cogvideox_config *c, const int64_t grid[3], int64_t text_tokens);

#endif
