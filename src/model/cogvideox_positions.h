/* Where a CogVideoX token is: rotary tables and sincos embeddings, computed on the host. SPDX-License-Identifier: Apache-2.0 */
#ifndef PARA_MODEL_COGVIDEOX_POSITIONS_H
#define PARA_MODEL_COGVIDEOX_POSITIONS_H

#include "model/cogvideox_config.h"

/* Tokens [first, first + count) of a grid of frames, rows and columns, in this order. */
typedef struct para_token_range {
    int64_t grid[3];
    int64_t first, count;
} para_token_range;

/* cos, sin host [count, attention_head_dim], each value twice. CogVideoX 1.0 stretches the grid to the one that it was trained on (linspace); 1.5 counts
 * rows and columns. PARA_ERR_MEMORY. Sources: CogVideoXPipeline._prepare_rotary_positional_embeddings, get_3d_rotary_pos_embed. */
para_status para_cogvideox_rotary(const para_cogvideox_config *c, const para_token_range *tokens, float *cos, float *sin);

/* out host [count, inner_dim]. PARA_ERR_MEMORY. Sources: CogVideoXPatchEmbed, get_3d_sincos_pos_embed. */
para_status para_cogvideox_sincos(const para_cogvideox_config *c, const para_token_range *tokens, float *out);

#endif
