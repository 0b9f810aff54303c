/* Q, K and V of a rank's tokens, and attention over them. SPDX-License-Identifier: Apache-2.0 */
#include "model/joint_attention.h"

#include <math.h>

#include "core/error.h"

/* Heads of D columns of a matrix from `column` on: [1, H, S, head_dim]. */
static para_tensor heads_of(const para_joint_attention *a, para_tensor rows, int64_t column) {
    para_tensor t = para_slice(rows, 1, column, a->heads * a->head_dim);
    return (para_tensor){.dtype = t.dtype,
                         .rank = 4,
                         .dim = {1, a->heads, t.dim[0], a->head_dim},
                         .stride = {t.dim[0] * t.stride[0], a->head_dim, t.stride[0], 1},
                         .data = t.data};
}

para_status para_joint_attention_begin(para_rank *rank, const para_item *item, int64_t heads, int64_t head_dim,
                                       bool joined, para_joint_attention *out) {
    int64_t tokens = item->residual_stream.dim[0], d = heads * head_dim;
    para_dtype dtype = item->residual_stream.dtype;
    para_tensor operand = para_tensor_make(NULL, dtype, 4, (int64_t[]){1, heads, tokens, head_dim});
    para_attention_args args = {
        .q = operand, .k = operand, .v = operand, .out = operand, .scale = (float)(1.0 / sqrt((double)head_dim))};
    *out = (para_joint_attention){.heads = heads, .head_dim = head_dim};
    if (joined && !para_attention_moves(rank)) {
        PARA_TRY(PARA_NEW(rank->device, &out->rows, dtype, tokens, PARA_OPERANDS * d));
        args.q = heads_of(out, out->rows, PARA_QUERY * d);
        args.k = heads_of(out, out->rows, PARA_KEY * d);
        args.v = heads_of(out, out->rows, PARA_VALUE * d);
    }
    PARA_TRY(para_attention_begin(rank, &args, &out->job));
    const para_tensor *result = &out->job.args.out; /* [1, H, S, head_dim], a token's heads side by side */
    out->attended = (para_tensor){
        .dtype = dtype, .rank = 2, .dim = {tokens, d}, .stride = {result->stride[2], 1}, .data = result->data};
    return PARA_OK;
}

/* Where an operand of the rows [first, first + tokens) has to be written: [H, S, D]. */
static para_tensor operand_rows(const para_attention_job *job, para_operand o, int64_t first, int64_t tokens) {
    const para_attention_args *a = &job->args;
    para_tensor t = o == PARA_QUERY ? a->q : o == PARA_KEY ? a->k : a->v; /* [1, H, S, D] */
    para_tensor heads = {.dtype = t.dtype,
                         .rank = 3,
                         .dim = {t.dim[1], t.dim[2], t.dim[3]},
                         .stride = {t.stride[1], t.stride[2], t.stride[3]},
                         .data = t.data};
    return para_slice(heads, 1, first, tokens);
}

/* Norm and rotation of x [S, H, D], to where attention wants it. */
static para_status head_rows(para_rank *rank, const para_item *item, const para_qkv *w, para_operand o, para_tensor x,
                             int64_t first, const para_attention_job *job) {
    const para_conditioning *c = item->conditioning;
    para_head_args head = {.x = x,
                           .layer_norm = w->layer_norm,
                           .weight = w->norm[o].weight,
                           .bias = w->norm[o].bias,
                           .eps = w->eps,
                           .rope_interleaved = true,
                           .y = operand_rows(job, o, first, x.dim[0])};
    if (o != PARA_VALUE && c->cos.data) {
        head.cos = para_rows(c->cos, first, x.dim[0]);
        head.sin = para_rows(c->sin, first, x.dim[0]);
    }
    return rank->device->ops->head(rank->device, &head);
}

/* Values first: without norm and rotation they are the first to be on their way. */
static const para_operand operand_order[] = {PARA_VALUE, PARA_KEY, PARA_QUERY};

/* One product. Where attention reads its rows, values are there then, and queries and keys are turned in place. */
static para_status project_joined(para_rank *rank, const para_item *item, const para_qkv *w, para_tensor x,
                                  int64_t first, para_joint_attention *a) {
    para_device *dev = rank->device;
    int64_t d = a->heads * a->head_dim;
    bool in_place = a->rows.data != NULL;
    para_tensor y = in_place ? para_rows(a->rows, first, x.dim[0]) : (para_tensor){0};
    if (!in_place) PARA_TRY(PARA_NEW(dev, &y, x.dtype, x.dim[0], PARA_OPERANDS * d));
    PARA_TRY(dev->ops->linear(dev, &(para_linear_args){.x = x, .w = w->joined, .y = y}));
    for (int i = 0; i < PARA_OPERANDS; i++) {
        para_operand o = operand_order[i];
        para_tensor heads = heads_of(a, y, o * d), /* [1, H, S, head_dim] */
            by_token = {.dtype = heads.dtype,
                        .rank = 3,
                        .dim = {heads.dim[2], heads.dim[1], heads.dim[3]},
                        .stride = {heads.stride[2], heads.stride[1], 1},
                        .data = heads.data};
        if (in_place && o == PARA_VALUE) continue;
        PARA_TRY(head_rows(rank, item, w, o, by_token, first, &a->job));
    }
    return PARA_OK;
}

static para_status project_each(para_rank *rank, const para_item *item, const para_qkv *w, para_tensor x, int64_t first,
                                para_joint_attention *a) {
    para_device *dev = rank->device;
    para_tensor y;
    PARA_TRY(PARA_NEW(dev, &y, x.dtype, x.dim[0], a->heads * a->head_dim));
    for (int i = 0; i < PARA_OPERANDS; i++) {
        para_operand o = operand_order[i];
        para_tensor heads = PARA_RESHAPE(y, x.dim[0], a->heads, a->head_dim);
        PARA_TRY(dev->ops->linear(dev, &(para_linear_args){.x = x, .w = &w->each[o], .y = y}));
        PARA_TRY(head_rows(rank, item, w, o, heads, first, &a->job));
    }
    return PARA_OK;
}

para_status para_joint_attention_project(para_rank *rank, const para_item *item, const para_qkv *w, para_tensor x,
                                         int64_t first, para_joint_attention *a) {
    para_arena *arena = &rank->device->arena;
    size_t mark = para_arena_mark(arena);
    if (w->joined && w->joined->weight.data) PARA_TRY(project_joined(rank, item, w, x, first, a));
    else PARA_TRY(project_each(rank, item, w, x, first, a));
    para_arena_release(arena, mark);
    return PARA_OK;
}

para_status para_joint_attention_put(para_rank *rank, para_joint_attention *a) {
    for (int i = 0; i < PARA_OPERANDS; i++) PARA_TRY(para_attention_put(rank, &a->job, operand_order[i]));
    return PARA_OK;
}
