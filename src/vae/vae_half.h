/* Encoder or decoder of AutoencoderKL and AutoencoderKLHunyuanVideo: conv_in, then mid and levels (decoder) or levels and mid (encoder), then norm, act,
 * conv_out. SPDX-License-Identifier: Apache-2.0 */
#ifndef PARA_VAE_VAE_HALF_H
#define PARA_VAE_VAE_HALF_H

#include "vae/autoencoder_kl.h"
#include "vae/vae_blocks.h"

/* What both halves of a VAE are made from. */
typedef struct para_vae_shape {
    bool video; /* its convolutions have three dimensions */
    int64_t in_channels, out_channels, latent_channels;
    int levels;
    int64_t block_out_channels[PARA_VAE_MAX_LEVELS];
    bool in_space[PARA_VAE_MAX_LEVELS],
        in_time[PARA_VAE_MAX_LEVELS]; /* what level i of the encoder, or of the decoder, resamples */
    int64_t layers_per_block, norm_num_groups;
    para_activation act_fn;
    bool quant_conv, post_quant_conv, mid_block_add_attention;
} para_vae_shape;

typedef struct para_vae_half {
    bool decoder, video;
    int64_t in, out;          /* channels of the whole half */
    int64_t first, mid, last; /* channels after conv_in, in the mid block, before conv_out */
    int groups;
    para_activation activation;
    bool has_quant;
    para_linear quant; /* post_quant_conv before the decoder, quant_conv after the encoder */
    para_linear conv_in, conv_out;
    para_vae_mid mid_block;
    int levels;
    para_vae_level level[PARA_VAE_MAX_LEVELS];
    para_vae_resnet *resnets; /* of all levels */
    para_vae_norm conv_norm_out;
} para_vae_half;

/* PARA_ERR_MEMORY. */
para_status para_vae_half_open(para_vae_half *h, const para_vae_shape *shape, bool decoder);
/* Takes a zeroed one, too. */
void para_vae_half_close(para_vae_half *h);
/* Puts its weights on the list, which must not outlive it. `checkpoint` (NULL allowed) tells whether the attention has its old names. */
void para_vae_half_weights(para_vae_half *h, para_weights *list, const para_checkpoint *checkpoint);
/* Frames, height and width of what it makes of a whole picture or video. */
void para_vae_half_size(const para_vae_half *h, int64_t size[3]);
/* para_vae_batch's run; `half` is a para_vae_half. */
para_status para_vae_half_run(const void *half, para_device *dev, para_tensor x, para_tensor y);

#endif
