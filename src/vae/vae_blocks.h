/* The blocks of diffusers' convolutional VAEs of pictures and videos: resnets, mid block attention, levels. SPDX-License-Identifier: Apache-2.0
 *
 * A picture is a video of one frame; what differs is that its convolutions have two dimensions, and pad with zeros rather than with the nearest pixel.
 * Every block changes one feature map in place; what it needs besides comes from the arena and goes back at
 * once. So the peak is one map and the temporaries of the largest block. */
#ifndef PARA_VAE_BLOCKS_H
#define PARA_VAE_BLOCKS_H

#include "backend/weights.h"

/* Of a video that is computed some frames at a time (a batch): what its convolutions in time have seen before, and what its norms are conditioned by. */
typedef struct para_vae_carry {
    bool replicate;        /* these convolutions pad with the nearest pixel in space, else with zeros */
    para_tensor condition; /* [f, h, w, C] of this batch, or none */
    para_tensor *
        last; /* of the i-th convolution in time: the kt - 1 last frames [1, kt - 1, h, w, I] that it has seen; NULL: there is one batch only */
    int next; /* which convolution comes next */
    bool first, final; /* batch */
} para_vae_carry;

/* The feature map of one picture or video, and what its blocks share. */
typedef struct para_vae_map {
    para_device *dev;
    para_dtype dtype;           /* F32 or BF16 */
    int groups;                 /* of every group norm */
    float eps;                  /* likewise */
    bool norm_frames;           /* each frame has its own statistics */
    para_activation activation; /* of the resnets */
    para_vae_carry *carry;      /* or NULL */
    void *data;                 /* room for the largest map of the pass */
    int64_t f, h, w, c;         /* its size now */
} para_vae_map;

typedef struct para_vae_norm {
    para_tensor weight, bias;   /* [C] F32 */
    para_linear conv_y, conv_b; /* CogVideoXSpatialNorm3D: what makes scale and shift of the condition; else none */
} para_vae_norm;

/* ResnetBlock2D without time embedding, HunyuanVideoResnetBlockCausal3D, MochiResnetBlock3D, CogVideoXResnetBlock3D. */
typedef struct para_vae_resnet {
    int64_t in, out; /* channels */
    para_vae_norm norm1, norm2;
    para_linear conv1, conv2;
    para_linear conv_shortcut; /* where in != out */
} para_vae_resnet;

/* Attention over all pixels, of a video those of this frame and the ones before, with one head of C channels. */
typedef struct para_vae_attention {
    int64_t channels;
    para_vae_norm group_norm;
    para_linear to_q, to_k, to_v, to_out;
} para_vae_attention;

/* UNetMidBlock2D, HunyuanVideoMidBlock3D with one layer. */
typedef struct para_vae_mid {
    para_vae_resnet resnets[2];
    bool add_attention;
    para_vae_attention attention;
} para_vae_mid;

typedef enum para_vae_resample { PARA_VAE_SAME, PARA_VAE_UP, PARA_VAE_DOWN } para_vae_resample;

/* DownEncoderBlock2D or UpDecoderBlock2D; HunyuanVideoDownBlock3D or HunyuanVideoUpBlock3D. */
typedef struct para_vae_level {
    int64_t in, out;
    int num_resnets;
    para_vae_resnet *resnets; /* [num_resnets], the owner's */
    para_vae_resample resample;
    bool in_space, in_time; /* what the resampling changes; of a picture the space */
    para_linear conv;       /* of the up- or downsampler */
} para_vae_level;

/* Declare the weights of a block whose names begin with `prefix`. video: its convolutions have three dimensions and lie one name deeper. old_names: query,
 * key, value, proj_attn in the attention. */
void para_vae_norm_weights(para_vae_norm *n, para_weights *list, int64_t channels, const char *prefix,
                           const char *name);
void para_vae_conv_weights(para_linear *w, para_weights *list, bool video, int64_t out, int64_t in, int64_t kernel,
                           const char *prefix, const char *name);
void para_vae_mid_weights(para_vae_mid *m, para_weights *list, bool video, int64_t channels, bool old_names,
                          const char *prefix);
void para_vae_level_weights(para_vae_level *l, para_weights *list, bool video, const char *prefix);

/* The map as a tensor [f, h, w, c]. */
para_tensor para_vae_map_tensor(const para_vae_map *m);
/* Frames, height and width after a level. */
void para_vae_level_size(const para_vae_level *l, bool video, int64_t size[3]);
/* Elements that the map needs while a level runs on so many frames, height and width. */
int64_t para_vae_level_elements(const para_vae_level *l, bool video, const int64_t size[3]);

/* Convolution with stride 1 that keeps f, h and w (kernel 1 or 3), in two or three dimensions. x [f, h, w, I], y [f, h, w, O]. */
para_status para_vae_conv(para_device *dev, const para_linear *w, para_tensor x, para_tensor y);
/* The same, after what the map carries. */
para_status para_vae_map_conv(const para_vae_map *m, const para_linear *w, para_tensor x, para_tensor y);
/* Group norm and activation of x into y, which may be x. [f, h, w, C] */
para_status para_vae_group_norm(const para_vae_map *m, const para_vae_norm *n, para_activation f, para_tensor x,
                                para_tensor y);
para_status para_vae_resnet_run(const para_vae_resnet *r, para_vae_map *m);
para_status para_vae_mid_run(const para_vae_mid *b, para_vae_map *m);
para_status para_vae_level_run(const para_vae_level *l, para_vae_map *m);

#endif
