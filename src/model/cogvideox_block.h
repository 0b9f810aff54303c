/* CogVideoXBlock: video and text tokens share the weights, but for their modulation. SPDX-License-Identifier: Apache-2.0 */
#ifndef PARA_MODEL_COGVIDEOX_BLOCK_H
#define PARA_MODEL_COGVIDEOX_BLOCK_H

#include "model/cogvideox_config.h"
#include "step/transformer.h"

/* LayerNorm over D; without weights where norm_elementwise_affine is false. */
typedef struct para_affine_norm {
    para_tensor weight, bias; /* [D] F32, or none */
} para_affine_norm;

/* CogVideoXLayerNormZero: before attention, and before the MLP. */
typedef struct para_cogvideox_norm {
    para_linear linear; /* [6D, time_embed_dim]: shift, scale and gate of video, then of text */
    para_affine_norm norm;
} para_cogvideox_norm;

typedef struct para_cogvideox_block {
    para_cogvideox_norm norm1, norm2;
    para_affine_norm norm_q, norm_k; /* [head_dim] */
    para_linear qkv[PARA_OPERANDS], joined_qkv, out;
    para_linear ff_in, ff_out; /* [4D, D], twice as many rows where gated; [D, 4D] */
} para_cogvideox_block;

/* Declares "<name>.weight" and "<name>.bias", [dim]. */
void para_affine_norm_weights(para_affine_norm *n, para_weights *w, int64_t dim, const char *name);
void para_cogvideox_block_weights(para_cogvideox_block *b, const para_cogvideox_config *c, para_weights *w, int i);

/* Its modulation is [12 D] F32: what norm1.linear, then norm2.linear give. */
enum { PARA_COGVIDEOX_MODULATION = 12 };

/* The norm of a segment's tokens: x → y. */
para_norm_args para_cogvideox_modulated(const para_cogvideox_config *c, const para_affine_norm *n, para_tensor shift, para_tensor scale, para_tensor x,
                                        para_tensor y);

/* The i-th of so many blocks over the item. Ends with the norm that the next one begins with. modulation [count · 12 D]: of all blocks. */
para_status para_cogvideox_block_run(const para_cogvideox_block *blocks, int count, int i, const para_cogvideox_config *c, para_rank *rank, para_item *item,
                                     para_tensor modulation);

#endif
