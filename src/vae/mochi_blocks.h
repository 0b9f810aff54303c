/* The blocks of AutoencoderKLMochi: resnets with a norm for each frame, attention over the frames of each pixel, resampling by strides or by a linear layer.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef PARA_VAE_MOCHI_BLOCKS_H
#define PARA_VAE_MOCHI_BLOCKS_H

#include "vae/vae_blocks.h"

typedef struct para_mochi_attention {
    para_vae_norm norm;
    para_linear to_q, to_k, to_v, to_out;
} para_mochi_attention;

typedef enum para_mochi_kind { PARA_MOCHI_MID, PARA_MOCHI_DOWN, PARA_MOCHI_UP } para_mochi_kind;

/* MochiMidBlock3D, MochiDownBlock3D, MochiUpBlock3D. */
typedef struct para_mochi_block {
    para_mochi_kind kind;
    int64_t in, out;           /* channels; the resnets have those of `out` but for UP */
    int64_t in_time, in_space; /* by what it resamples */
    int layers;
    para_vae_resnet *resnets; /* [layers], the owner's */
    bool add_attention;
    para_mochi_attention *attentions; /* [layers], likewise */
    para_linear resample;             /* conv_in of DOWN, proj of UP */
} para_mochi_block;

void para_mochi_norm_weights(para_vae_norm *n, para_weights *list, int64_t channels, const char *prefix,
                             const char *name);
void para_mochi_block_weights(para_mochi_block *b, para_weights *list, const char *prefix);
/* Frames, height and width after it. */
void para_mochi_block_size(const para_mochi_block *b, int64_t size[3]);
/* Elements that the map needs while it runs on so many frames, height and width. */
int64_t para_mochi_block_elements(const para_mochi_block *b, const int64_t size[3]);
/* unit: [PARA_MOCHI_HEAD] F32, each 1 / sqrt(PARA_MOCHI_HEAD): with it a root mean square is a length. */
para_status para_mochi_block_run(const para_mochi_block *b, para_vae_map *m, para_tensor unit);

#endif
