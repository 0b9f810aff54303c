/* Config of a CogVideoXTransformer3DModel. SPDX-License-Identifier: Apache-2.0 */
#ifndef PARA_MODEL_COGVIDEOX_CONFIG_H
#define PARA_MODEL_COGVIDEOX_CONFIG_H

#include "backend/backend.h"
#include "io/config.h"

/* Every value that diffusers reads and that changes what it computes, with its default. */
typedef struct para_cogvideox_config {
    int64_t num_attention_heads, attention_head_dim; /* 30, 64 */
    int64_t inner_dim;                               /* their product: D */
    int64_t in_channels;                             /* 16, of the latents and of the prediction */
    bool flip_sin_to_cos;                            /* true */
    int64_t freq_shift;                              /* 0 */
    int64_t time_embed_dim, text_embed_dim;          /* 512, 4096 */
    int64_t num_layers;                              /* 30 */
    bool attention_bias, patch_bias;                 /* true, true */
    int64_t sample_width, sample_height;             /* 90, 60: latents of the size that it was trained on */
    int64_t sample_frames;                           /* 49: frames of pixels */
    int64_t patch_size;                              /* 2 */
    int64_t patch_size_t;                            /* 0: none, which makes it CogVideoX 1.0; else 1.5 */
    int64_t temporal_compression_ratio;              /* 4 */
    int64_t max_text_seq_length;                     /* 226 */
    para_activation activation_fn;                   /* GELU_TANH */
    bool gated;                             /* activation_fn has a second half that it multiplies with (false) */
    para_activation timestep_activation_fn; /* SILU */
    bool norm_elementwise_affine;           /* true */
    float norm_eps;                         /* 1e-5 */
    double spatial_interpolation_scale, temporal_interpolation_scale; /* 1.875, 1.0 */
    bool use_rotary_positional_embeddings;  /* false: sincos positions are added to the tokens */
    bool use_learned_positional_embeddings; /* false; beside rotary ones */
} para_cogvideox_config;

/* Reads and checks it. What only models of other kinds have (images as input) and what diffusers itself cannot run: PARA_ERR_CONFIG. */
para_status para_cogvideox_config_read(para_cogvideox_config *out, const para_config *config);

/* Frames of latents in a token. */
static inline int64_t para_cogvideox_patch_frames(const para_cogvideox_config *c) {
    return c->patch_size_t ? c->patch_size_t : 1;
}
/* Whether positions are added to the tokens. */
static inline bool para_cogvideox_adds_positions(const para_cogvideox_config *c) {
    return !c->use_rotary_positional_embeddings || c->use_learned_positional_embeddings;
}

#endif
