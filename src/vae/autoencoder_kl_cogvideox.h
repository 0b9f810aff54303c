/* AutoencoderKLCogVideoX of diffusers: videos to latents and back. SPDX-License-Identifier: Apache-2.0 */
#ifndef PARA_VAE_AUTOENCODER_KL_COGVIDEOX_H
#define PARA_VAE_AUTOENCODER_KL_COGVIDEOX_H

#include "vae/autoencoder_kl.h"

/* Every config value that diffusers reads, with its default; latents_mean and latents_std are kept by diffusers but used by no CogVideoX pipeline. */
typedef struct para_autoencoder_kl_cogvideox_config {
    int64_t in_channels, out_channels;               /* 3, 3 */
    int64_t latent_channels;                         /* 16 */
    int levels;                                      /* entries of block_out_channels */
    int64_t block_out_channels[PARA_VAE_MAX_LEVELS]; /* 128, 256, 256, 512 */
    int64_t layers_per_block;                        /* 3 */
    int64_t norm_num_groups;                         /* 32 */
    para_activation act_fn;                          /* silu; conv_act is always silu */
    double norm_eps;                                 /* 1e-6: of the encoder's resnets; all else has 1e-6 */
    int64_t temporal_compression_ratio;              /* 4: a power of two */
    int64_t sample_height, sample_width;             /* 480, 720: tiles are half as large */
    double scaling_factor;                           /* 1.15258426: latents = z · scaling_factor */
    double shift_factor;                             /* none: 0 */
    bool force_upcast;                               /* true */
    bool use_quant_conv, use_post_quant_conv;        /* false; diffusers makes them for out_channels, so that these must then be latent_channels */
    bool invert_scale_latents;                       /* false: of pictures that are given, latents = z / scaling_factor */
} para_autoencoder_kl_cogvideox_config;

/* How large videos are cut in space with tiling; what diffusers keeps beside the config. */
typedef struct para_cogvideox_tiles {
    int64_t min_height, min_width;        /* of a tile, in pixels: sample_height / 2, sample_width / 2 */
    double overlap_height, overlap_width; /* 1 / 6, 1 / 5: of neighbours, as a part of a tile */
} para_cogvideox_tiles;

typedef struct para_autoencoder_kl_cogvideox para_autoencoder_kl_cogvideox;

/* Reads and checks vae/config.json. PARA_ERR_CONFIG naming the key, PARA_ERR_MEMORY. */
para_status para_autoencoder_kl_cogvideox_open(para_autoencoder_kl_cogvideox **out, const para_config *config);
/* Closes and sets NULL; takes NULL. */
void para_autoencoder_kl_cogvideox_close(para_autoencoder_kl_cogvideox **vae);
const para_autoencoder_kl_cogvideox_config *para_autoencoder_kl_cogvideox_settings(const para_autoencoder_kl_cogvideox *vae);
/* The tiles that are used from now on; at first diffusers' defaults. */
para_cogvideox_tiles *para_autoencoder_kl_cogvideox_tiles(para_autoencoder_kl_cogvideox *vae);
/* Pixels along an edge for one latent: 2 to the number of levels less one. */
int64_t para_autoencoder_kl_cogvideox_scale(const para_autoencoder_kl_cogvideox *vae);

/* Puts the weights of `parts` (PARA_VAE_DECODER | PARA_VAE_ENCODER) on the list, which must not outlive the vae. */
void para_autoencoder_kl_cogvideox_weights(para_autoencoder_kl_cogvideox *vae, para_weights *list, unsigned parts);

/* Frames, height and width of the video that decode makes of latents of `in` (frames, height, width), and of the latents that encode makes of a video. f
 * frames of latents become (f - 1) · temporal_compression_ratio + 1 where f is odd, f · temporal_compression_ratio where it is even. PARA_ERR_SHAPE. */
para_status para_autoencoder_kl_cogvideox_decoded_size(const para_autoencoder_kl_cogvideox *vae, const int64_t in[3], bool tiling, int64_t out[3]);
para_status para_autoencoder_kl_cogvideox_encoded_size(const para_autoencoder_kl_cogvideox *vae, const int64_t in[3], bool tiling, int64_t out[3]);

/* video [n, F, H, W, out_channels] = decoder(latents [n, f, h, w, latent_channels]); both contiguous, on the device, of one type, F32 or BF16. The
 * latents are those of the decoder, already divided by scaling_factor; the pixels are about -1 to 1, not clamped. Two frames of latents, or eight of pixels,
 * are computed at a time, as diffusers does, for the norms see no more. `tiling`: as after diffusers' enable_tiling(). The arena is as before at return.
 * `comm`: ranks that share out the tiles of all videos, or the videos where there are no tiles (NULL: this one alone). Each has all latents; only the first
 * gets the video, bit for bit as it would alone with as many threads, and those of the others need no data. Collective.
 * PARA_ERR_SHAPE and what the ops and other ranks return. */
para_status para_autoencoder_kl_cogvideox_decode(const para_autoencoder_kl_cogvideox *vae, para_device *dev, const para_comm *comm, para_tensor latents,
                                                 bool tiling, para_tensor video);
/* The same, frame by frame: on the first rank `sink` takes the frames of all videos in order as soon as they are done. So no more of a video is kept than
 * what its tiles and its convolutions in time need. Besides, what the sink returns. */
para_status para_autoencoder_kl_cogvideox_decode_frames(const para_autoencoder_kl_cogvideox *vae, para_device *dev, const para_comm *comm, para_tensor latents,
                                            bool tiling, const para_vae_sink *sink);
/* moments [n, f, h, w, 2 · latent_channels] = encoder(video [n, F, H, W, in_channels]): means, then log variances not yet clamped
 * (para_diagonal_gaussian). */
para_status para_autoencoder_kl_cogvideox_encode(const para_autoencoder_kl_cogvideox *vae, para_device *dev, const para_comm *comm, para_tensor video,
                                                 bool tiling, para_tensor moments);

#endif
