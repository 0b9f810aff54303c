/* HunyuanVideoTokenRefiner. SPDX-License-Identifier: Apache-2.0 */
#include "model/token_refiner.h"

#include <math.h>

#include "core/alloc.h"
#include "core/error.h"
#include "text/text_ops.h"

enum { MLP_RATIO = 4 }; /* whatever that of the transformer is */
static const float NORM_EPS = 1e-6f;

/* Source: HunyuanVideoIndividualTokenRefinerBlock. */
struct para_refiner_block {
    para_tensor norm1_weight, norm1_bias, norm2_weight, norm2_bias; /* [D] */
    para_linear to_q, to_k, to_v, to_out;
    para_linear ff_in, ff_out;
    para_linear gates; /* norm_out.linear [2D, D]: gate of attention, then of the MLP */
};

/* What a step's blocks compute in. */
typedef struct workspace {
    para_tensor x, y, q, k, v; /* [S, D] */
    para_tensor mid;           /* [S, 4D] */
} workspace;

para_status para_token_refiner_open(para_token_refiner *r, int64_t in_channels, int64_t inner_dim, int64_t heads,
                                    int layers) {
    *r = (para_token_refiner){.inner_dim = inner_dim,
                              .heads = heads,
                              .layers = layers,
                              .time_text_embed = {.pooled_projection_dim = in_channels},
                              .block = para_alloc((size_t)layers, sizeof *r->block)};
    return r->block ? PARA_OK : PARA_ERR_MEMORY;
}

void para_token_refiner_close(para_token_refiner *r) {
    para_free(r->block);
    *r = (para_token_refiner){0};
}

#define BLOCK "context_embedder.token_refiner.refiner_blocks.%d."

static void block_weights(const para_token_refiner *r, para_weights *w, int i) {
    int64_t d = r->inner_dim;
    para_refiner_block *b = &r->block[i];
    para_weights_vector(w, &b->norm1_weight, d, BLOCK "norm1.weight", i);
    para_weights_vector(w, &b->norm1_bias, d, BLOCK "norm1.bias", i);
    para_weights_linear(w, &b->to_q, d, d, true, BLOCK "attn.to_q", i);
    para_weights_linear(w, &b->to_k, d, d, true, BLOCK "attn.to_k", i);
    para_weights_linear(w, &b->to_v, d, d, true, BLOCK "attn.to_v", i);
    para_weights_linear(w, &b->to_out, d, d, true, BLOCK "attn.to_out.0", i);
    para_weights_vector(w, &b->norm2_weight, d, BLOCK "norm2.weight", i);
    para_weights_vector(w, &b->norm2_bias, d, BLOCK "norm2.bias", i);
    para_weights_linear(w, &b->ff_in, MLP_RATIO * d, d, true, BLOCK "ff.net.0.proj", i);
    para_weights_linear(w, &b->ff_out, d, MLP_RATIO * d, true, BLOCK "ff.net.2", i);
    para_weights_linear(w, &b->gates, 2 * d, d, true, BLOCK "norm_out.linear", i);
}

void para_token_refiner_weights(para_token_refiner *r, para_weights *w) {
    para_time_text_embed_weights(&r->time_text_embed, w, r->inner_dim, "context_embedder.time_text_embed");
    para_weights_linear(w, &r->proj_in, r->inner_dim, r->time_text_embed.pooled_projection_dim, true,
                        "context_embedder.proj_in");
    for (int i = 0; i < r->layers; i++) block_weights(r, w, i);
}

/* gates [steps, layers · 2D] F32: those of every block at every step. */
static para_status all_gates(const para_token_refiner *r, para_device *dev, const para_conditioning_inputs *in,
                             para_tensor gates) {
    size_t mark = para_arena_mark(&dev->arena);
    para_tensor mean, temb;
    PARA_TRY(PARA_NEW(dev, &mean, PARA_F32, 1, in->encoder_hidden_states.dim[1]));
    PARA_TRY(PARA_NEW(dev, &temb, PARA_F32, in->steps, r->inner_dim));
    PARA_TRY(para_mean_of_tokens(dev, in->encoder_hidden_states, mean));
    PARA_TRY(para_time_text_embed_run(&r->time_text_embed, dev, in->timesteps, in->steps, 0, mean, temb));
    PARA_TRY(dev->ops->activate(dev, PARA_ACT_SILU, temb, temb));
    for (int i = 0; i < r->layers; i++) {
        para_tensor y = para_slice(gates, 1, 2 * r->inner_dim * i, 2 * r->inner_dim);
        PARA_TRY(dev->ops->linear(dev, &(para_linear_args){.x = temb, .w = &r->block[i].gates, .y = y}));
    }
    para_arena_release(&dev->arena, mark);
    return PARA_OK;
}

static para_norm_args layer_norm(para_tensor x, para_tensor weight, para_tensor bias, para_tensor y) {
    return (para_norm_args){.kind = PARA_NORM_LAYER, .eps = NORM_EPS, .x = x, .weight = weight, .bias = bias, .y = y};
}

/* w->x through a block; gates [2D] F32. */
static para_status run_block(const para_token_refiner *r, para_device *dev, const para_refiner_block *b,
                             para_tensor gates, const workspace *w) {
    int64_t d = r->inner_dim;
    float scale = (float)(1.0 / sqrt((double)(d / r->heads)));
    para_norm_args norm1 = layer_norm(w->x, b->norm1_weight, b->norm1_bias, w->y),
                   norm2 = layer_norm(w->x, b->norm2_weight, b->norm2_bias, w->y);
    PARA_TRY(dev->ops->norm(dev, &norm1));
    PARA_TRY(dev->ops->linear(dev, &(para_linear_args){.x = w->y, .w = &b->to_q, .y = w->q}));
    PARA_TRY(dev->ops->linear(dev, &(para_linear_args){.x = w->y, .w = &b->to_k, .y = w->k}));
    PARA_TRY(dev->ops->linear(dev, &(para_linear_args){.x = w->y, .w = &b->to_v, .y = w->v}));
    PARA_TRY(para_self_attention(dev, w->q, w->k, w->v, r->heads, scale, false, (para_tensor){0}, w->y));
    PARA_TRY(dev->ops->linear(dev, &(para_linear_args){.x = w->y, .w = &b->to_out, .y = w->q}));
    para_residual_args attention = {.x = w->x, .gate = para_slice(gates, 0, 0, d), .y = w->q, .norm = &norm2};
    PARA_TRY(dev->ops->residual(dev, &attention));
    PARA_TRY(dev->ops->linear(
        dev, &(para_linear_args){.x = w->y, .w = &b->ff_in, .y = w->mid, .activation = PARA_ACT_SILU}));
    PARA_TRY(dev->ops->linear(dev, &(para_linear_args){.x = w->mid, .w = &b->ff_out, .y = w->q}));
    return dev->ops->residual(dev, &(para_residual_args){.x = w->x, .gate = para_slice(gates, 0, d, d), .y = w->q});
}

static para_status open_workspace(const para_token_refiner *r, para_device *dev, int64_t tokens, para_dtype dtype,
                                  workspace *w) {
    para_tensor *const rows[] = {&w->x, &w->y, &w->q, &w->k, &w->v};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        PARA_TRY(PARA_NEW(dev, rows[i], dtype, tokens, r->inner_dim));
    return PARA_NEW(dev, &w->mid, dtype, tokens, MLP_RATIO * r->inner_dim);
}

para_status para_token_refiner_run(const para_token_refiner *r, para_rank *rank, const para_conditioning_inputs *in,
                                   para_tensor out) {
    para_device *dev = rank->device;
    size_t mark = para_arena_mark(&dev->arena);
    para_tensor text = in->encoder_hidden_states, gates, projected; /* projected [S, D]: the same at every step */
    int64_t tokens = text.dim[0], d = r->inner_dim;
    workspace w;
    PARA_TRY(PARA_NEW(dev, &gates, PARA_F32, in->steps, r->layers * 2 * d));
    PARA_TRY(PARA_NEW(dev, &projected, out.dtype, tokens, d));
    PARA_TRY(open_workspace(r, dev, tokens, out.dtype, &w));
    PARA_TRY(all_gates(r, dev, in, gates));
    PARA_TRY(dev->ops->linear(dev, &(para_linear_args){.x = text, .w = &r->proj_in, .y = projected}));
    for (int step = 0; step < in->steps; step++) {
        PARA_TRY(para_rank_check(rank));
        PARA_TRY(dev->ops->copy(dev, w.x, projected));
        for (int i = 0; i < r->layers; i++) {
            para_tensor row = PARA_RESHAPE(para_rows(gates, step, 1), gates.dim[1]);
            PARA_TRY(run_block(r, dev, &r->block[i], para_slice(row, 0, 2 * d * i, 2 * d), &w));
        }
        PARA_TRY(dev->ops->copy(dev, PARA_RESHAPE(para_rows(out, step, 1), out.dim[1], d),
                                para_rows(w.x, in->shard.first[PARA_TEXT], in->shard.tokens[PARA_TEXT])));
    }
    para_arena_release(&dev->arena, mark);
    return PARA_OK;
}
