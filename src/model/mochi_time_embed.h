/* MochiCombinedTimestepCaptionEmbedding: timestep and pooled text as one vector, text at the width of its stream. SPDX-License-Identifier: Apache-2.0 */
#ifndef PARA_MODEL_MOCHI_TIME_EMBED_H
#define PARA_MODEL_MOCHI_TIME_EMBED_H

#include "model/time_text_embed.h"

typedef struct para_mochi_time_embed {
    int64_t time_embed_dim; /* of the sinusoids; even */
    int64_t text_embed_dim; /* of the text as it comes in: a multiple of PARA_MOCHI_POOL_HEADS */
    para_mlp_embedder timestep_embedder;
    para_linear to_kv, to_q, to_out; /* of the pooler */
    para_linear caption_proj;
} para_mochi_time_embed;

enum { PARA_MOCHI_POOL_HEADS = 8 };

/* Declares the weights "time_embed.…"; the first two members are set. */
void para_mochi_time_embed_weights(para_mochi_time_embed *e, para_weights *w, int64_t inner_dim, int64_t text_dim);

/* temb [steps, inner_dim] F32 of host timesteps [steps] and text [S, text_embed_dim], valid tokens only, none included. */
para_status para_mochi_time_embed_run(const para_mochi_time_embed *e, para_device *dev, const float *timesteps, int steps, para_tensor text,
                                      para_tensor temb);

#endif
