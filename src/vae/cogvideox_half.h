/* Encoder or decoder of AutoencoderKLCogVideoX: a video some frames at a time. SPDX-License-Identifier: Apache-2.0 */
#ifndef PARA_VAE_COGVIDEOX_HALF_H
#define PARA_VAE_COGVIDEOX_HALF_H

#include "vae/autoencoder_kl_cogvideox.h"
#include "vae/vae_blocks.h"

enum { PARA_COGVIDEOX_MID = 2 /* resnets in the middle */ };

typedef struct para_cogvideox_half {
    bool decoder;
    int64_t in, out;          /* channels of the whole half */
    int64_t first, mid, last; /* channels after conv_in, in the middle, before conv_out */
    int64_t batch;            /* frames at a time, but for the first ones, which come with those that are left over */
    int groups;
    float eps; /* of the resnets */
    para_activation activation;
    bool has_quant;
    para_linear quant; /* post_quant_conv before the decoder, quant_conv after the encoder */
    para_linear conv_in, conv_out;
    para_vae_norm norm_out;
    para_vae_resnet mid_block[PARA_COGVIDEOX_MID];
    int levels;
    para_vae_level level[PARA_VAE_MAX_LEVELS];
    para_vae_resnet *resnets; /* of all levels */
    int convs;                /* in time */
} para_cogvideox_half;

/* PARA_ERR_MEMORY. */
para_status para_cogvideox_half_open(para_cogvideox_half *h, const para_autoencoder_kl_cogvideox_config *c,
                                     bool decoder);
/* Takes a zeroed one, too. */
void para_cogvideox_half_close(para_cogvideox_half *h);
void para_cogvideox_half_weights(para_cogvideox_half *h, para_weights *list);
/* Frames, height and width of what it makes of a whole video. */
void para_cogvideox_half_size(const para_cogvideox_half *h, int64_t size[3]);
/* para_vae_batch's run and run_in_pieces; `half` is a para_cogvideox_half. */
para_status para_cogvideox_half_run(const void *half, para_device *dev, para_tensor x, para_tensor y);
para_status para_cogvideox_half_run_in_pieces(const void *half, para_device *dev, para_tensor x,
                                              const para_vae_sink *pieces);

#endif
