/* HunyuanVideoTokenRefiner: text for a HunyuanVideo transformer, at every timestep anew. SPDX-License-Identifier: Apache-2.0 */
#ifndef PARA_MODEL_TOKEN_REFINER_H
#define PARA_MODEL_TOKEN_REFINER_H

#include "model/time_text_embed.h"
#include "step/transformer.h"

typedef struct para_refiner_block para_refiner_block;

typedef struct para_token_refiner {
    int64_t inner_dim, heads;
    int layers;
    para_time_text_embed time_text_embed; /* of the mean of the text */
    para_linear proj_in;
    para_refiner_block *block; /* [layers] */
} para_token_refiner;

/* Room for the blocks. in_channels is that of the text. */
para_status para_token_refiner_open(para_token_refiner *r, int64_t in_channels, int64_t inner_dim, int64_t heads, int layers);
void para_token_refiner_close(para_token_refiner *r); /* takes a zeroed one, too */
/* Declares the weights "context_embedder.…". */
void para_token_refiner_weights(para_token_refiner *r, para_weights *w);

/* out [steps, S_txt of the shard, inner_dim]: the rank's tokens of the text as refined for each timestep. Every rank refines the whole text, since its
 * tokens attend to each other. in->encoder_hidden_states [S_txt, in_channels] holds at least one token, and valid ones only: diffusers' padding, which its
 * mask keeps from mean and attention, changes nothing of them. */
para_status para_token_refiner_run(const para_token_refiner *r, para_rank *rank, const para_conditioning_inputs *in, para_tensor out);

#endif
