/* Attention over image (or video) and text tokens together, from the rows of each to what every row attended.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef PARA_MODEL_JOINT_ATTENTION_H
#define PARA_MODEL_JOINT_ATTENTION_H

#include "step/transformer.h"

/* A block's. heads, head_dim, D = heads · head_dim, and beside are the caller's. */
typedef struct para_joint_attention {
    int64_t heads, head_dim;
    bool beside; /* the block computes something else between put and attention: see para_attention_begin_spread */
    para_attention_job job;
    para_tensor rows;     /* [S, 3D] that the projections fill where attention reads Q, K and V as they lie there; or none */
    para_tensor attended; /* [S, D]: its result, when the job has ended. With data before begin: where that shall be; only where nothing is exchanged */
} para_joint_attention;

/* What Q, K and V of rows that belong together are made with. */
typedef struct para_joint_rows {
    int64_t first;              /* the first of them among all */
    const para_linear *qkv;     /* [PARA_OPERANDS], each [D, width of the rows] */
    const para_linear *joined;  /* the three as one [3D, width], or of no weight */
    para_tensor norm_q, norm_k; /* [head_dim] F32 */
    bool layer_norm;            /* these norms are LayerNorm; else RMS norm */
    para_tensor norm_q_bias, norm_k_bias; /* [head_dim] F32; or none */
    float eps;
    para_tensor cos, sin;       /* as of the op head, of these rows; or none */
    para_tensor positions, frequencies; /* in their place, as of the op head; or none */
} para_joint_rows;

/* Attention of the rank's tokens. Operands and result get room where the modes want them; in place of one product where there is no mode
 * and the weights of all rows are joined. */
para_status para_joint_attention_begin(para_joint_attention *a, para_rank *rank, int64_t tokens, para_dtype dtype, bool joined);
/* Projects x [n, width] to Q, K, V of these rows. */
para_status para_joint_attention_project(para_joint_attention *a, para_rank *rank, const para_joint_rows *rows, para_tensor x);
/* All rows are projected: their exchange starts. What follows is para_attention_compute and para_attention_end of the job. */
para_status para_joint_attention_put(para_joint_attention *a, para_rank *rank);

#endif
