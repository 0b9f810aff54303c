/* Joint attention of a block: Q, K and V of a rank's tokens, written to where attention wants them. SPDX-License-Identifier: Apache-2.0 */
#ifndef PARA_MODEL_JOINT_ATTENTION_H
#define PARA_MODEL_JOINT_ATTENTION_H

#include "step/transformer.h"

/* Of the heads of an operand; none: they have no norm. */
typedef struct para_head_norm {
    para_tensor weight, bias; /* [head_dim] F32; the bias may be none */
} para_head_norm;

/* What Q, K and V of some tokens are made with. */
typedef struct para_qkv {
    const para_linear *each;               /* [PARA_OPERANDS] */
    const para_linear *joined;             /* the three as one (para_weights_join), or none */
    para_head_norm norm[PARA_OPERANDS];    /* before the rotation */
    bool layer_norm;                       /* its kind; else RMS norm */
    float eps;
} para_qkv;

/* A block's attention. */
typedef struct para_joint_attention {
    int64_t heads, head_dim;
    para_attention_job job;
    para_tensor rows;     /* [S, 3D] that its projections fill where attention reads Q, K and V as they lie there; or none */
    para_tensor attended; /* [S, D]: its result */
} para_joint_attention;

/* Attention of the rank's tokens. Operands and result get room where the modes want them; in place of one product where there is no mode
 * and the weights of all tokens are `joined`. */
para_status para_joint_attention_begin(para_rank *rank, const para_item *item, int64_t heads, int64_t head_dim, bool joined, para_joint_attention *out);
/* Projects x [S, D] to Q, K and V of the rows [first, first + S) of the residual stream; turned by the conditioning's tables, where it has them. */
para_status para_joint_attention_project(para_rank *rank, const para_item *item, const para_qkv *w, para_tensor x, int64_t first, para_joint_attention *a);
/* All rows are there. compute and end (paraattn/attention.h) of the job are the caller's. */
para_status para_joint_attention_put(para_rank *rank, para_joint_attention *a);

#endif
