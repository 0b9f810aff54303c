/* Multimodal diffusion transformers of dual-stream, then single-stream blocks: what FLUX and HunyuanVideo have in common, which is all but how tokens
 * and text come in. SPDX-License-Identifier: Apache-2.0 */
#ifndef PARA_MODEL_MMDIT_H
#define PARA_MODEL_MMDIT_H

#include "model/mmdit_blocks.h"
#include "model/time_text_embed.h"

/* A transformer of this kind starts with it. */
typedef struct para_mmdit {
    para_transformer base;
    para_mmdit_dims dims;
    int64_t rope_axes[3]; /* dimensions of a head that turn by frame, row and column */
    double rope_theta;
    int num_dual, num_single;
    para_time_text_embed time_text_embed;
    para_dual_block *dual;     /* [num_dual] */
    para_single_block *single; /* [num_single] */
    para_linear norm_out, proj_out;
} para_mmdit;

/* What its config has where a key is absent; and how it calls the axes. */
typedef struct para_mmdit_defaults {
    int64_t num_layers, num_single_layers;
    bool guidance_embeds;
    const char *rope_axes_key;
} para_mmdit_defaults;

enum { PARA_MMDIT_MOST_BLOCKS = 1024, PARA_MMDIT_MOST = 1 << 20 /* channels and the like */ };

/* Reads the keys that these models share, makes room for the blocks and fills `base`, but for its table, channels and joint_attention_dim. The caller
 * sets rope_theta and dims.mlp_dim. */
para_status para_mmdit_read(para_mmdit *m, const para_config *config, const para_mmdit_defaults *defaults);

/* Declares all weights but those of the model's own embedders. */
void para_mmdit_weights(para_mmdit *m, para_weights *w);
/* All of *out but the text: modulation of every step, rotary tables of the grid and, at position 0, of the text. */
para_status para_mmdit_prepare(const para_mmdit *m, para_rank *rank, const para_conditioning_inputs *in, para_conditioning *out);

/* For the model's table; close frees it. */
void para_mmdit_close(para_transformer *t);
int para_mmdit_num_blocks(const para_transformer *t);
para_status para_mmdit_block(para_transformer *t, para_rank *rank, para_item *item, int i);
para_status para_mmdit_head(para_transformer *t, para_rank *rank, para_item *item, para_tensor out);

#endif
