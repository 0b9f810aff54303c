/* AutoencoderKL of diffusers: pictures to latents and back. SPDX-License-Identifier: Apache-2.0 */
#ifndef PARA_VAE_AUTOENCODER_KL_H
#define PARA_VAE_AUTOENCODER_KL_H

#include <paraattn/comm.h>

#include "backend/weights.h"
#include "io/config.h"
#include "vae/vae_tiling.h"

enum { PARA_VAE_MAX_LEVELS = 8 };

/* Every config value that diffusers reads, with its default. */
typedef struct para_autoencoder_kl_config {
    int64_t in_channels, out_channels;                                 /* 3, 3 */
    int64_t latent_channels;                                           /* 4 */
    int levels;                                                        /* entries of block_out_channels */
    int64_t block_out_channels[PARA_VAE_MAX_LEVELS];                   /* 64 */
    int64_t layers_per_block;                                          /* 1 */
    int64_t norm_num_groups;                                           /* 32 */
    para_activation act_fn;                                            /* silu; conv_act is always silu */
    bool use_quant_conv, use_post_quant_conv, mid_block_add_attention; /* true */
    int64_t sample_size;                                               /* 32: edge of a tile in pixels */
    double scaling_factor; /* 0.18215: latents = (z - shift_factor) · scaling_factor */
    double shift_factor;   /* none: 0 */
    bool force_upcast;     /* true: some pipelines run this VAE in float32 even where the rest is float16; FLUX
                          does not */
} para_autoencoder_kl_config;

typedef struct para_autoencoder_kl para_autoencoder_kl;

/* Parts that can be used alone, so that only what is needed is loaded. */
enum { PARA_VAE_DECODER = 1, PARA_VAE_ENCODER = 2 };

/* Reads and checks vae/config.json. PARA_ERR_CONFIG naming the key, PARA_ERR_MEMORY. */
para_status para_autoencoder_kl_open(para_autoencoder_kl **out, const para_config *config);
/* Closes and sets NULL; takes NULL. */
void para_autoencoder_kl_close(para_autoencoder_kl **vae);
const para_autoencoder_kl_config *para_autoencoder_kl_settings(const para_autoencoder_kl *vae);

/* Puts the weights of `parts` (PARA_VAE_DECODER | PARA_VAE_ENCODER) on the list, which must not outlive the
 * vae. `checkpoint` (NULL allowed) tells whether the attention has its names from before diffusers 0.14
 * (query, key, value, proj_attn). */
void para_autoencoder_kl_weights(para_autoencoder_kl *vae, para_weights *list, const para_checkpoint *checkpoint,
                                 unsigned parts);

/* Pixels along an edge for one latent: 2 to the number of levels less one. */
int64_t para_autoencoder_kl_scale(const para_autoencoder_kl *vae);
/* Size of the picture that decode makes of h × w latents, and of the latents that encode makes of h × w
 * pixels. They differ from h · scale and h / scale only with tiling and a sample_size that the scale or 4
 * does not divide. PARA_ERR_SHAPE. */
para_status para_autoencoder_kl_decoded_size(const para_autoencoder_kl *vae, int64_t h, int64_t w, bool tiling,
                                             int64_t *out_h, int64_t *out_w);
para_status para_autoencoder_kl_encoded_size(const para_autoencoder_kl *vae, int64_t h, int64_t w, bool tiling,
                                             int64_t *out_h, int64_t *out_w);

/* images [n, H, W, out_channels] = decoder(latents [n, h, w, latent_channels]); both contiguous, on the device, of one type, F32 or BF16. The
 * latents are those of the decoder, already divided by scaling_factor; the pixels are about -1 to 1, not clamped. `tiling`: as after diffusers'
 * enable_tiling(), for pictures larger than sample_size. The arena is as before at return.
 * `comm`: ranks that share out the tiles of all pictures, or the pictures where there are no tiles (NULL: this one alone). Each has all latents; only
 * the first gets the images, bit for bit as it would alone with as many threads, and those of the others need no data. Collective.
 * PARA_ERR_SHAPE and what the ops and other ranks return. */
para_status para_autoencoder_kl_decode(const para_autoencoder_kl *vae, para_device *dev, const para_comm *comm, para_tensor latents, bool tiling,
                                       para_tensor images);
/* The same, picture by picture: on the first rank `sink` takes each, as a video of one frame, as soon as it is done. Besides, what the sink returns. */
para_status para_autoencoder_kl_decode_frames(const para_autoencoder_kl *vae, para_device *dev, const para_comm *comm, para_tensor latents, bool tiling,
                                              const para_vae_sink *sink);
/* moments [n, h, w, 2 · latent_channels] = encoder(images [n, H, W, in_channels]): means, then log variances
 * not yet clamped. */
para_status para_autoencoder_kl_encode(const para_autoencoder_kl *vae, para_device *dev, const para_comm *comm, para_tensor images, bool tiling,
                                       para_tensor moments);

/* DiagonalGaussianDistribution on the host: moments [pixels, 2C] to mean [pixels, C] and logvar [pixels, C],
 * clamped to -30..20. */
void para_diagonal_gaussian(const float *moments, int64_t pixels, int64_t latent_channels, float *mean, float *logvar);

#endif
