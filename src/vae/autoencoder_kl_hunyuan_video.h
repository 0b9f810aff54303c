/* AutoencoderKLHunyuanVideo of diffusers: videos to latents and back. SPDX-License-Identifier: Apache-2.0 */
#ifndef PARA_VAE_AUTOENCODER_KL_HUNYUAN_VIDEO_H
#define PARA_VAE_AUTOENCODER_KL_HUNYUAN_VIDEO_H

#include "vae/autoencoder_kl.h"

/* Every config value that diffusers reads, with its default. */
typedef struct para_autoencoder_kl_hunyuan_video_config {
    int64_t in_channels, out_channels;               /* 3, 3 */
    int64_t latent_channels;                         /* 16 */
    int levels;                                      /* entries of block_out_channels */
    int64_t block_out_channels[PARA_VAE_MAX_LEVELS]; /* 128, 256, 512, 512 */
    int64_t layers_per_block;                        /* 2 */
    int64_t norm_num_groups;                         /* 32 */
    para_activation act_fn;                          /* silu; conv_act is always silu */
    double scaling_factor;                           /* 0.476986: latents = z · scaling_factor */
    int64_t spatial_compression_ratio;               /* 8: pixels along an edge for one latent */
    int64_t temporal_compression_ratio;              /* 4: F frames are 1 + (F - 1) / 4 frames of latents */
    bool mid_block_add_attention;                    /* true */
} para_autoencoder_kl_hunyuan_video_config;

/* How large videos are cut, in pixels and frames; what diffusers keeps beside the config. A video of more frames than min_num_frames is always cut in
 * time (use_framewise_decoding, use_framewise_encoding), one that is higher or wider than the least tile only with tiling. */
typedef struct para_video_tiles {
    int64_t min_height, min_width, min_num_frames;          /* 256, 256, 16: of a tile, which has one frame more */
    int64_t stride_height, stride_width, stride_num_frames; /* 192, 192, 12: from one tile to the next */
} para_video_tiles;

typedef struct para_autoencoder_kl_hunyuan_video para_autoencoder_kl_hunyuan_video;

/* Reads and checks vae/config.json. PARA_ERR_CONFIG naming the key, PARA_ERR_MEMORY. */
para_status para_autoencoder_kl_hunyuan_video_open(para_autoencoder_kl_hunyuan_video **out, const para_config *config);
/* Closes and sets NULL; takes NULL. */
void para_autoencoder_kl_hunyuan_video_close(para_autoencoder_kl_hunyuan_video **vae);
const para_autoencoder_kl_hunyuan_video_config *para_autoencoder_kl_hunyuan_video_settings(const para_autoencoder_kl_hunyuan_video *vae);
/* The tiles that are used from now on; at first diffusers' defaults. */
para_video_tiles *para_autoencoder_kl_hunyuan_video_tiles(para_autoencoder_kl_hunyuan_video *vae);

/* Puts the weights of `parts` (PARA_VAE_DECODER | PARA_VAE_ENCODER) on the list, which must not outlive the vae. `checkpoint` (NULL allowed) tells
 * whether the attention has its names from before diffusers 0.14 (query, key, value, proj_attn). */
void para_autoencoder_kl_hunyuan_video_weights(para_autoencoder_kl_hunyuan_video *vae, para_weights *list, const para_checkpoint *checkpoint,
                                               unsigned parts);

/* Frames, height and width of the video that decode makes of latents of `in` (frames, height, width), and of the latents that encode makes of a video.
 * PARA_ERR_SHAPE. */
para_status para_autoencoder_kl_hunyuan_video_decoded_size(const para_autoencoder_kl_hunyuan_video *vae, const int64_t in[3], bool tiling, int64_t out[3]);
para_status para_autoencoder_kl_hunyuan_video_encoded_size(const para_autoencoder_kl_hunyuan_video *vae, const int64_t in[3], bool tiling, int64_t out[3]);

/* video [n, F, H, W, out_channels] = decoder(latents [n, f, h, w, latent_channels]); both contiguous, on the device, of one type, F32 or BF16. The
 * latents are those of the decoder, already divided by scaling_factor; the pixels are about -1 to 1, not clamped. `tiling`: as after diffusers'
 * enable_tiling(). The arena is as before at return.
 * `comm`: ranks that share out the tiles of all videos, in space and time (NULL: this one alone). Each has all latents; only the first gets the video,
 * bit for bit as it would alone with as many threads, and those of the others need no data. Collective.
 * PARA_ERR_SHAPE and what the ops and other ranks return. */
para_status para_autoencoder_kl_hunyuan_video_decode(const para_autoencoder_kl_hunyuan_video *vae, para_device *dev, const para_comm *comm,
                                                     para_tensor latents, bool tiling, para_tensor video);
/* The same, frame by frame: on the first rank `sink` takes the frames of all videos in order as soon as they are done. So no more of a video is kept than
 * what its tiles and its convolutions in time need. Besides, what the sink returns. */
para_status para_autoencoder_kl_hunyuan_video_decode_frames(const para_autoencoder_kl_hunyuan_video *vae, para_device *dev, const para_comm *comm, para_tensor latents,
                                            bool tiling, const para_vae_sink *sink);
/* moments [n, f, h, w, 2 · latent_channels] = encoder(video [n, F, H, W, in_channels]): means, then log variances not yet clamped
 * (para_diagonal_gaussian). */
para_status para_autoencoder_kl_hunyuan_video_encode(const para_autoencoder_kl_hunyuan_video *vae, para_device *dev, const para_comm *comm,
                                                     para_tensor video, bool tiling, para_tensor moments);

#endif
