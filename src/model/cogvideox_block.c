/* CogVideoXBlock. SPDX-License-Identifier: Apache-2.0 */
#include "model/cogvideox_block.h"

#include "core/error.h"
#include "model/joint_attention.h"

static const float QK_NORM_EPS = 1e-6f;
enum { MLP_RATIO = 4 };

void para_affine_norm_weights(para_affine_norm *n, para_weights *w, int64_t dim, const char *name) {
    para_weights_vector(w, &n->weight, dim, "%s.weight", name);
    para_weights_vector(w, &n->bias, dim, "%s.bias", name);
}

#define BLOCK "transformer_blocks.%d."

static void layer_norm_weights(para_affine_norm *n, para_weights *w, int64_t dim, int i, const char *name) {
    para_weights_vector(w, &n->weight, dim, BLOCK "%s.weight", i, name);
    para_weights_vector(w, &n->bias, dim, BLOCK "%s.bias", i, name);
}

void para_cogvideox_block_weights(para_cogvideox_block *b, const para_cogvideox_config *c, para_weights *w, int i) {
    static const char *const qkv[] = {"to_q", "to_k", "to_v"};
    int64_t d = c->inner_dim, mlp = MLP_RATIO * d;
    /* Modulation is prepared before the blocks run. */
    para_weights_linear(w, &b->norm1.linear, 6 * d, c->time_embed_dim, true, BLOCK "norm1.linear", i);
    para_weights_stays(w, &b->norm1.linear);
    para_weights_linear(w, &b->norm2.linear, 6 * d, c->time_embed_dim, true, BLOCK "norm2.linear", i);
    para_weights_stays(w, &b->norm2.linear);
    if (c->norm_elementwise_affine) {
        layer_norm_weights(&b->norm1.norm, w, d, i, "norm1.norm");
        layer_norm_weights(&b->norm2.norm, w, d, i, "norm2.norm");
    }
    for (int o = 0; o < PARA_OPERANDS; o++)
        para_weights_linear(w, &b->qkv[o], d, d, c->attention_bias, BLOCK "attn1.%s", i, qkv[o]);
    para_weights_join(w, &b->joined_qkv, PARA_OPERANDS);
    layer_norm_weights(&b->norm_q, w, c->attention_head_dim, i, "attn1.norm_q");
    layer_norm_weights(&b->norm_k, w, c->attention_head_dim, i, "attn1.norm_k");
    para_weights_linear(w, &b->out, d, d, true, BLOCK "attn1.to_out.0", i);
    para_weights_linear(w, &b->ff_in, c->gated ? 2 * mlp : mlp, d, true, BLOCK "ff.net.0.proj", i);
    para_weights_linear(w, &b->ff_out, d, mlp, true, BLOCK "ff.net.2", i);
}

para_norm_args para_cogvideox_modulated(const para_cogvideox_config *c, const para_affine_norm *n, para_tensor shift,
                                        para_tensor scale, para_tensor x, para_tensor y) {
    return (para_norm_args){.kind = PARA_NORM_LAYER,
                            .eps = c->norm_eps,
                            .x = x,
                            .weight = n->weight,
                            .bias = n->bias,
                            .scale = scale,
                            .shift = shift,
                            .y = y};
}

/* Shift, scale or gate of a segment's tokens. */
typedef enum modulation_part { SHIFT, SCALE, GATE, MODULATION_PARTS } modulation_part;

/* A block while it runs. */
typedef struct run {
    const para_cogvideox_config *c;
    para_rank *rank;
    para_item *item;
    para_tensor modulation; /* [blocks · 12 D] */
} run;

/* [D] of the norm-th norm of all blocks, two a block. */
static para_tensor part_of(const run *r, int norm, int segment, modulation_part part) {
    int64_t d = r->c->inner_dim, column = ((int64_t)norm * PARA_SEGMENTS + segment) * MODULATION_PARTS + part;
    return para_slice(r->modulation, 0, column * d, d);
}

static para_tensor rows_of(const run *r, para_tensor all, int segment) {
    const para_shard *shard = &r->item->conditioning->shard;
    return para_rows(all, para_shard_row(shard, (para_segment)segment), shard->tokens[segment]);
}

static para_norm_args norm_of(const run *r, const para_cogvideox_norm *n, int norm, int segment) {
    return para_cogvideox_modulated(r->c, &n->norm, part_of(r, norm, segment, SHIFT), part_of(r, norm, segment, SCALE),
                                    rows_of(r, r->item->residual_stream, segment),
                                    rows_of(r, r->item->normed, segment));
}

/* x += gate · y, gates of the norm-th norm; then the norm after it, or none. */
static para_status add_gated(const run *r, int norm, para_tensor y, const para_cogvideox_norm *next) {
    para_device *dev = r->rank->device;
    for (int s = 0; s < PARA_SEGMENTS; s++) {
        para_norm_args args;
        para_residual_args residual = {
            .x = rows_of(r, r->item->residual_stream, s), .gate = part_of(r, norm, s, GATE), .y = rows_of(r, y, s)};
        if (next) {
            args = norm_of(r, next, norm + 1, s);
            residual.norm = &args;
        }
        PARA_TRY(dev->ops->residual(dev, &residual));
    }
    return PARA_OK;
}

/* item->normed through attention and its projection, to out [S, D]. */
static para_status attend(const run *r, const para_cogvideox_block *b, para_tensor out) {
    para_device *dev = r->rank->device;
    const para_conditioning *c = r->item->conditioning;
    const para_joint_rows rows = {.qkv = b->qkv,
                                  .joined = &b->joined_qkv,
                                  .norm_q = b->norm_q.weight,
                                  .norm_k = b->norm_k.weight,
                                  .layer_norm = true,
                                  .norm_q_bias = b->norm_q.bias,
                                  .norm_k_bias = b->norm_k.bias,
                                  .eps = QK_NORM_EPS,
                                  .cos = c->cos,
                                  .sin = c->sin};
    para_joint_attention a = {.heads = r->c->num_attention_heads, .head_dim = r->c->attention_head_dim};
    PARA_TRY(para_joint_attention_begin(&a, r->rank, r->item->normed.dim[0], c->dtype, b->joined_qkv.weight.data));
    PARA_TRY(para_joint_attention_project(&a, r->rank, &rows, r->item->normed));
    PARA_TRY(para_joint_attention_put(&a, r->rank));
    PARA_TRY(para_attention_compute(r->rank, &a.job));
    PARA_TRY(para_attention_end(r->rank, &a.job));
    return dev->ops->linear(dev, &(para_linear_args){.x = a.attended, .w = &b->out, .y = out});
}

/* item->normed through the MLP, to out [S, D]. */
static para_status feed_forward(const run *r, const para_cogvideox_block *b, para_tensor out) {
    para_device *dev = r->rank->device;
    int64_t mlp = MLP_RATIO * r->c->inner_dim;
    para_tensor x = r->item->normed, mid;
    PARA_TRY(PARA_NEW(dev, &mid, x.dtype, x.dim[0], b->ff_in.weight.dim[0]));
    para_activation f = r->c->gated ? PARA_ACT_NONE : r->c->activation_fn;
    PARA_TRY(dev->ops->linear(dev, &(para_linear_args){.x = x, .w = &b->ff_in, .y = mid, .activation = f}));
    if (r->c->gated) { /* the first half times the activated second */
        para_tensor first = para_slice(mid, 1, 0, mlp);
        PARA_TRY(dev->ops->gated(dev, r->c->activation_fn, para_slice(mid, 1, mlp, mlp), first, first));
        mid = first;
    }
    return dev->ops->linear(dev, &(para_linear_args){.x = mid, .w = &b->ff_out, .y = out});
}

para_status para_cogvideox_block_run(const para_cogvideox_block *blocks, int count, int i,
                                     const para_cogvideox_config *c, para_rank *rank, para_item *item,
                                     para_tensor modulation) {
    para_device *dev = rank->device;
    const para_cogvideox_block *b = &blocks[i];
    const run r = {c, rank, item, modulation};
    para_tensor out;
    PARA_TRY(PARA_NEW(dev, &out, item->conditioning->dtype, item->residual_stream.dim[0], c->inner_dim));
    for (int s = 0; s < PARA_SEGMENTS && item->normed_for != i; s++) {
        para_norm_args norm = norm_of(&r, &b->norm1, 2 * i, s);
        PARA_TRY(dev->ops->norm(dev, &norm));
    }
    size_t mark = para_arena_mark(&dev->arena);
    PARA_TRY(attend(&r, b, out));
    para_arena_release(&dev->arena, mark);
    PARA_TRY(add_gated(&r, 2 * i, out, &b->norm2));
    PARA_TRY(feed_forward(&r, b, out));
    PARA_TRY(add_gated(&r, 2 * i + 1, out, i + 1 < count ? &blocks[i + 1].norm1 : NULL));
    item->normed_for = i + 1 < count ? i + 1 : -1;
    return PARA_OK;
}
