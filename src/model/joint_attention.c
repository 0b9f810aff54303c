/* Attention over image and text tokens together. SPDX-License-Identifier: Apache-2.0 */
#include "model/joint_attention.h"

#include <math.h>

#include "core/error.h"

/* Values first: without norm and rotation they are the first to be on their way. */
static const para_operand operand_order[] = {PARA_VALUE, PARA_KEY, PARA_QUERY};

static int64_t inner_dim(const para_joint_attention *a) {
    return a->heads * a->head_dim;
}

/* Heads of D columns of a matrix from `column` on: [1, H, S, head_dim]. */
static para_tensor heads_of(const para_joint_attention *a, para_tensor rows, int64_t column) {
    para_tensor t = para_slice(rows, 1, column, inner_dim(a));
    return (para_tensor){.dtype = t.dtype,
                         .rank = 4,
                         .dim = {1, a->heads, t.dim[0], a->head_dim},
                         .stride = {t.dim[0] * t.stride[0], a->head_dim, t.stride[0], 1},
                         .data = t.data};
}

para_status para_joint_attention_begin(para_joint_attention *a, para_rank *rank, int64_t tokens, para_dtype dtype,
                                       bool joined) {
    int64_t d = inner_dim(a);
    para_tensor operand = para_tensor_make(NULL, dtype, 4, (int64_t[]){1, a->heads, tokens, a->head_dim});
    para_attention_args args = {
        .q = operand, .k = operand, .v = operand, .out = operand, .scale = (float)(1.0 / sqrt((double)a->head_dim))};
    a->rows = (para_tensor){0};
    if (joined && !para_attention_moves(rank)) {
        PARA_TRY(PARA_NEW(rank->device, &a->rows, dtype, tokens, PARA_OPERANDS * d));
        args.q = heads_of(a, a->rows, PARA_QUERY * d);
        args.k = heads_of(a, a->rows, PARA_KEY * d);
        args.v = heads_of(a, a->rows, PARA_VALUE * d);
    }
    if (a->attended.data) args.out = heads_of(a, a->attended, 0);
    PARA_TRY(para_attention_begin_spread(rank, &args, a->beside, &a->job));
    const para_tensor *out = &a->job.args.out; /* [1, H, S, head_dim], a token's heads side by side */
    a->attended =
        (para_tensor){.dtype = dtype, .rank = 2, .dim = {tokens, d}, .stride = {out->stride[2], 1}, .data = out->data};
    return PARA_OK;
}

/* Norm and rotation of x [n, H, D], to where attention wants it: `to`, which is filled. */
static para_status head_rows(para_joint_attention *a, para_rank *rank, const para_joint_rows *rows, para_operand o,
                             para_tensor x, para_places *to, para_head_args *out) {
    PARA_TRY(para_attention_places(rank, &a->job, o, rows->first, x.dim[0], to));
    *out = (para_head_args){.x = x, .eps = rows->eps, .rope_interleaved = true, .parts = to->parts, .part = to->part};
    if (o == PARA_VALUE) return PARA_OK;
    out->layer_norm = rows->layer_norm;
    out->weight = o == PARA_QUERY ? rows->norm_q : rows->norm_k;
    out->bias = o == PARA_QUERY ? rows->norm_q_bias : rows->norm_k_bias;
    out->cos = rows->cos;
    out->sin = rows->sin;
    out->positions = rows->positions;
    out->frequencies = rows->frequencies;
    return PARA_OK;
}

/* One product, and all that is done with its heads at once. Where attention reads its rows, values are there then, and queries and keys are turned in
 * place. */
static para_status project_joined(para_joint_attention *a, para_rank *rank, const para_joint_rows *rows,
                                  para_tensor x) {
    para_device *dev = rank->device;
    int64_t d = inner_dim(a);
    bool in_place = a->rows.data != NULL;
    para_places to[PARA_OPERANDS];
    para_head_args head[PARA_OPERANDS];
    int n = 0;
    para_tensor y = in_place ? para_rows(a->rows, rows->first, x.dim[0]) : (para_tensor){0};
    if (!in_place) PARA_TRY(PARA_NEW(dev, &y, x.dtype, x.dim[0], PARA_OPERANDS * d));
    PARA_TRY(dev->ops->linear(dev, &(para_linear_args){.x = x, .w = rows->joined, .y = y}));
    for (int i = 0; i < PARA_OPERANDS; i++) {
        para_operand o = operand_order[i];
        para_tensor heads = heads_of(a, y, o * d), /* [1, H, S, head_dim] */
            by_token = {.dtype = heads.dtype,
                        .rank = 3,
                        .dim = {heads.dim[2], heads.dim[1], heads.dim[3]},
                        .stride = {heads.stride[2], heads.stride[1], 1},
                        .data = heads.data};
        if (in_place && o == PARA_VALUE) continue;
        PARA_TRY(head_rows(a, rank, rows, o, by_token, &to[n], &head[n]));
        n++;
    }
    return dev->ops->heads(dev, n, head);
}

/* A product for each, all in the same room, so that an operand's heads go to their place before the next product. */
static para_status project_each(para_joint_attention *a, para_rank *rank, const para_joint_rows *rows,
                                para_tensor x) {
    para_device *dev = rank->device;
    para_tensor y;
    PARA_TRY(PARA_NEW(dev, &y, x.dtype, x.dim[0], inner_dim(a)));
    for (int i = 0; i < PARA_OPERANDS; i++) {
        para_operand o = operand_order[i];
        para_tensor heads = PARA_RESHAPE(y, x.dim[0], a->heads, a->head_dim);
        para_places to;
        para_head_args head;
        PARA_TRY(dev->ops->linear(dev, &(para_linear_args){.x = x, .w = &rows->qkv[o], .y = y}));
        PARA_TRY(head_rows(a, rank, rows, o, heads, &to, &head));
        PARA_TRY(dev->ops->heads(dev, 1, &head));
    }
    return PARA_OK;
}

para_status para_joint_attention_project(para_joint_attention *a, para_rank *rank, const para_joint_rows *rows,
                                         para_tensor x) {
    para_arena *arena = &rank->device->arena;
    size_t mark = para_arena_mark(arena);
    if (rows->joined->weight.data) PARA_TRY(project_joined(a, rank, rows, x));
    else PARA_TRY(project_each(a, rank, rows, x));
    para_arena_release(arena, mark);
    return PARA_OK;
}

para_status para_joint_attention_put(para_joint_attention *a, para_rank *rank) {
    return para_attention_put_all(rank, &a->job);
}
