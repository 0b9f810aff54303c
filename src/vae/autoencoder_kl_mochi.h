/* AutoencoderKLMochi of diffusers: videos to latents and back. SPDX-License-Identifier: Apache-2.0
 *
 * Diffusers' "framewise" decoding is left out: its convolutions then lose their padding in space, so that diffusers itself fails in the first residual. The
 * decoder takes two frames of latents at a time all the same, with the padding of the whole video: so it computes what diffusers computes at once, to rounding. */
#ifndef PARA_VAE_AUTOENCODER_KL_MOCHI_H
#define PARA_VAE_AUTOENCODER_KL_MOCHI_H

#include "vae/autoencoder_kl.h"

enum { PARA_MOCHI_MAX_LATENTS = 64 };

/* Every config value that diffusers reads, with its default. */
typedef struct para_autoencoder_kl_mochi_config {
    int64_t in_channels, out_channels;                       /* 15: pixels and their Fourier features, 5 for each channel; 3 */
    int64_t latent_channels;                                 /* 12 */
    int levels;                                              /* 4: entries of both lists of channels */
    int64_t encoder_block_out_channels[PARA_VAE_MAX_LEVELS]; /* 64, 128, 256, 384 */
    int64_t decoder_block_out_channels[PARA_VAE_MAX_LEVELS]; /* 128, 256, 512, 768 */
    int64_t layers_per_block[PARA_VAE_MAX_LEVELS + 1];       /* 3, 3, 4, 6, 3 */
    bool add_attention_block[PARA_VAE_MAX_LEVELS + 1];       /* of the encoder: false, true, true, true, true */
    int64_t temporal_expansions[PARA_VAE_MAX_LEVELS];        /* 1, 2, 3: of the levels but one */
    int64_t spatial_expansions[PARA_VAE_MAX_LEVELS];         /* 2, 2, 2; 1 or 2 each */
    para_activation act_fn;                                  /* silu: before the last layer; in the blocks it is always silu */
    int latents;                                             /* entries of the next two: latent_channels, or 0 */
    double latents_mean[PARA_MOCHI_MAX_LATENTS], latents_std[PARA_MOCHI_MAX_LATENTS];
    double scaling_factor;                                   /* 1 */
    int64_t spatial_ratio, temporal_ratio;                   /* 8, 6: products of the expansions */
} para_autoencoder_kl_mochi_config;

/* How large videos are cut in space with tiling, in pixels; what diffusers keeps beside the config. */
typedef struct para_mochi_tiles {
    int64_t min_height, min_width;       /* 256, 256: of a tile */
    int64_t stride_height, stride_width; /* 192, 192: from one tile to the next */
} para_mochi_tiles;

typedef struct para_autoencoder_kl_mochi para_autoencoder_kl_mochi;

/* Reads and checks vae/config.json. PARA_ERR_CONFIG naming the key, PARA_ERR_MEMORY. */
para_status para_autoencoder_kl_mochi_open(para_autoencoder_kl_mochi **out, const para_config *config);
/* Closes and sets NULL; takes NULL. */
void para_autoencoder_kl_mochi_close(para_autoencoder_kl_mochi **vae);
const para_autoencoder_kl_mochi_config *para_autoencoder_kl_mochi_settings(const para_autoencoder_kl_mochi *vae);
/* The tiles that are used from now on; at first diffusers' defaults. */
para_mochi_tiles *para_autoencoder_kl_mochi_tiles(para_autoencoder_kl_mochi *vae);

/* Puts the weights of `parts` (PARA_VAE_DECODER | PARA_VAE_ENCODER) on the list, which must not outlive the vae. */
void para_autoencoder_kl_mochi_weights(para_autoencoder_kl_mochi *vae, para_weights *list, unsigned parts);

/* Frames, height and width of the video that decode makes of latents of `in` (frames, height, width), and of the latents that encode makes of a video.
 * F frames are 1 + (F - 1) / temporal_ratio frames of latents. PARA_ERR_SHAPE. */
para_status para_autoencoder_kl_mochi_decoded_size(const para_autoencoder_kl_mochi *vae, const int64_t in[3], bool tiling, int64_t out[3]);
para_status para_autoencoder_kl_mochi_encoded_size(const para_autoencoder_kl_mochi *vae, const int64_t in[3], bool tiling, int64_t out[3]);

/* video [n, F, H, W, out_channels] = decoder(latents [n, f, h, w, latent_channels]); both contiguous, on the device, of one type, F32 or BF16. The
 * latents are those of the decoder: mean, standard deviation and scaling_factor are the pipeline's. The pixels are about -1 to 1, not clamped. `tiling`: as
 * after diffusers' enable_tiling(). The arena is as before at return.
 * `comm`: ranks that share out the tiles of all videos, or the videos where there are no tiles (NULL: this one alone). Each has all latents; only the first
 * gets the video, bit for bit as it would alone with as many threads, and those of the others need no data. Collective.
 * PARA_ERR_SHAPE and what the ops and other ranks return. */
para_status para_autoencoder_kl_mochi_decode(const para_autoencoder_kl_mochi *vae, para_device *dev, const para_comm *comm, para_tensor latents, bool tiling,
                                             para_tensor video);
/* The same, frame by frame: on the first rank `sink` takes the frames of all videos in order as soon as they are done. So no more of a video is kept than
 * what its tiles and its convolutions in time need. Besides, what the sink returns. */
para_status para_autoencoder_kl_mochi_decode_frames(const para_autoencoder_kl_mochi *vae, para_device *dev, const para_comm *comm, para_tensor latents,
                                            bool tiling, const para_vae_sink *sink);
/* moments [n, f, h, w, 2 · latent_channels] = encoder(video [n, F, H, W, in_channels / 5]): means, then log variances not yet clamped
 * (para_diagonal_gaussian). */
para_status para_autoencoder_kl_mochi_encode(const para_autoencoder_kl_mochi *vae, para_device *dev, const para_comm *comm, para_tensor video, bool tiling,
                                             para_tensor moments);

#endif
