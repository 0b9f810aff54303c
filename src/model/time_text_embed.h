/* What a diffusion transformer is told beside the text: timestep, guidance and pooled text, as one vector. SPDX-License-Identifier: Apache-2.0 */
#ifndef PARA_MODEL_TIME_TEXT_EMBED_H
#define PARA_MODEL_TIME_TEXT_EMBED_H

#include "backend/weights.h"
#include "model/embeddings.h"

/* linear_2(f(linear_1(x))). Source: TimestepEmbedding, PixArtAlphaTextProjection. */
typedef struct para_mlp_embedder {
    para_linear linear_1, linear_2;
} para_mlp_embedder;

/* Declares "<name>.linear_1.weight" and so on: [dim, in], [dim, dim]. */
void para_mlp_embedder_weights(para_weights *w, para_mlp_embedder *e, int64_t in, int64_t dim, const char *name);
/* y = or += linear_2(f(linear_1(x))): x [n, in] F32, y [n, dim] F32. */
para_status para_mlp_embedder_run(para_device *dev, const para_mlp_embedder *e, para_activation f, para_tensor x, para_tensor y, bool accumulate);
/* Sinusoidal embedding of n host values on the device, out [n, dim] F32 of the arena. */
para_status para_time_proj(para_device *dev, const float *values, int n, para_sinusoids form, para_tensor *out);

/* Source: CombinedTimestepGuidanceTextProjEmbeddings, CombinedTimestepTextProjEmbeddings, HunyuanVideoConditionEmbedding. */
typedef struct para_time_text_embed {
    para_mlp_embedder timestep_embedder, guidance_embedder, text_embedder;
    int64_t pooled_projection_dim;
    bool guidance_embeds;
} para_time_text_embed;

/* Declares the weights "<name>.timestep_embedder.linear_1.weight" and so on, of vectors [dim]; the last two members are set. */
void para_time_text_embed_weights(para_time_text_embed *e, para_weights *w, int64_t dim, const char *name);

/* temb [steps, dim] F32 of host timesteps [steps] (0..1000), the guidance scale (embedded times 1000) and pooled [1, pooled_projection_dim]. */
para_status para_time_text_embed_run(const para_time_text_embed *e, para_device *dev, const float *timesteps, int steps, float guidance_scale,
                                     para_tensor pooled, para_tensor temb);

#endif
