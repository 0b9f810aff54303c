/* Blocks of a multimodal diffusion transformer: dual-stream ones, where image (or video) and text tokens have weights of their own and meet in
 * attention, and single-stream ones. SPDX-License-Identifier: Apache-2.0 */
#ifndef PARA_MODEL_MMDIT_BLOCKS_H
#define PARA_MODEL_MMDIT_BLOCKS_H

#include "step/transformer.h"

typedef struct para_mmdit_dims {
    int64_t inner_dim; /* D = heads · head_dim */
    int64_t heads, head_dim;
    int64_t mlp_dim;
} para_mmdit_dims;

/* One stream of a block: everything between the residual stream and attention. */
typedef struct para_mmdit_stream {
    para_linear modulation; /* norm1.linear [6D, D] */
    para_linear qkv[PARA_OPERANDS];
    para_linear joined_qkv;     /* [3D, D], or none */
    para_tensor norm_q, norm_k; /* [head_dim] */
    para_linear out;
    para_linear ff_in, ff_out; /* [mlp_dim, D], [D, mlp_dim] */
} para_mmdit_stream;

/* Source: FluxTransformerBlock, HunyuanVideoTransformerBlock. */
typedef struct para_dual_block {
    para_mmdit_stream stream[PARA_SEGMENTS];
} para_dual_block;

/* Source: FluxSingleTransformerBlock, HunyuanVideoSingleTransformerBlock. */
typedef struct para_single_block {
    para_linear modulation; /* norm.linear [3D, D] */
    para_linear qkv[PARA_OPERANDS];
    para_linear joined_qkv;
    para_tensor norm_q, norm_k;
    para_linear proj_mlp; /* [mlp_dim, D] */
    para_linear proj_out; /* [D, D + mlp_dim]: columns of attention, then of the MLP */
} para_single_block;

/* Declare the weights of the i-th block of its kind. */
void para_dual_block_weights(para_dual_block *b, const para_mmdit_dims *m, para_weights *w, int i);
void para_single_block_weights(para_single_block *b, const para_mmdit_dims *m, para_weights *w, int i);

/* A block's place among the others. Modulations are F32: [12 D], of each stream shift, scale and gate of attention, then of the MLP; or, of a single
 * block, [3 D], shift, scale and gate. */
typedef struct para_block_turn {
    int index;
    para_tensor modulation;
    para_tensor next[PARA_SEGMENTS]; /* of the block after it, beginning with the stream's shift and scale; none: there is none */
} para_block_turn;

/* The item's residual stream through a block. The norm that the next block begins with is part of this one's last op, so that the stream is read once. */
para_status para_dual_block_run(const para_dual_block *b, const para_mmdit_dims *m, para_rank *rank, para_item *item, const para_block_turn *turn);
para_status para_single_block_run(const para_single_block *b, const para_mmdit_dims *m, para_rank *rank, para_item *item, const para_block_turn *turn);

/* LayerNorm without weights, then · (1 + scale) + shift [D] F32. */
para_norm_args para_modulated_norm(para_tensor x, para_tensor shift, para_tensor scale, para_tensor y);

#endif
