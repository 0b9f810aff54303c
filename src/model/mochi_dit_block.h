/* Block of a Mochi transformer: video and text, each with a width and weights of its own, meet in attention. SPDX-License-Identifier: Apache-2.0 */
#ifndef PARA_MODEL_MOCHI_DIT_BLOCK_H
#define PARA_MODEL_MOCHI_DIT_BLOCK_H

#include "step/transformer.h"

typedef struct para_mochi_dims {
    int64_t heads, head_dim;
    int64_t width[PARA_SEGMENTS]; /* of the streams: D = heads · head_dim, and text_dim */
} para_mochi_dims;

/* One stream of a block. */
typedef struct para_mochi_stream {
    para_linear modulation; /* norm1.linear [4 width, D]; of the last block's text norm1_context.linear_1 [width, D] */
    para_linear qkv[PARA_OPERANDS];
    para_linear joined_qkv;     /* [3D, width], or none */
    para_tensor norm_q, norm_k; /* [head_dim] */
    para_linear out;            /* [width, D]; this and what follows: not of the last block's text */
    para_linear ff_in, ff_out;  /* [2F, width]: values, then what gates them; [width, F] */
} para_mochi_stream;

/* Source: MochiTransformerBlock. */
typedef struct para_mochi_dit_block {
    bool context_pre_only; /* the last one, after which nobody needs the text */
    para_mochi_stream stream[PARA_SEGMENTS];
} para_mochi_dit_block;

/* Declares the weights of the i-th block; context_pre_only is set. */
void para_mochi_dit_block_weights(para_mochi_dit_block *b, const para_mochi_dims *m, para_weights *w, int i);

/* Values of a block's modulation: of each stream scale and gate of attention, then of the MLP; of the last block's text the scale alone. */
int64_t para_mochi_modulation_length(const para_mochi_dims *m, bool context_pre_only);
/* out [steps, that length] F32 from silu(temb) [steps, D] F32: what the layers give, gates through tanh. */
para_status para_mochi_dit_block_modulate(const para_mochi_dit_block *b, const para_mochi_dims *m, para_device *dev, para_tensor temb, para_tensor out);

/* A block's place among the others; modulations [length] F32. */
typedef struct para_mochi_turn {
    int index;
    para_tensor modulation;
    para_tensor next; /* of the block after it; none: there is none */
    para_tensor pos_frequencies; /* [3, H, head_dim / 2] F32, by which the video's heads turn */
} para_mochi_turn;

/* The item's streams through a block. Its last ops are the norms that the next one begins with. */
para_status para_mochi_dit_block_run(const para_mochi_dit_block *b, const para_mochi_dims *m, para_rank *rank, para_item *item, const para_mochi_turn *turn);

#endif
