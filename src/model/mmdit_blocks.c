/* Dual-stream and single-stream blocks over image (or video) and text. SPDX-License-Identifier: Apache-2.0 */
#include "model/mmdit_blocks.h"

#include "core/error.h"
#include "model/joint_attention.h"

static const float NORM_EPS = 1e-6f;

void para_dual_block_weights(para_dual_block *b, const para_mmdit_dims *m, para_weights *w, int i) {
    static const char *const norm[] = {"norm1", "norm1_context"}, *const ff[] = {"ff", "ff_context"},
                             *const q_norm[] = {"norm_q", "norm_added_q"}, *const k_norm[] = {"norm_k", "norm_added_k"},
                             *const out[] = {"to_out.0", "to_add_out"},
                             *const qkv[][PARA_OPERANDS] = {{"to_q", "to_k", "to_v"},
                                                            {"add_q_proj", "add_k_proj", "add_v_proj"}};
    int64_t d = m->inner_dim;
    for (int s = 0; s < PARA_SEGMENTS; s++) {
        para_mmdit_stream *x = &b->stream[s];
        para_weights_linear(w, &x->modulation, 6 * d, d, true, "transformer_blocks.%d.%s.linear", i, norm[s]);
        for (int o = 0; o < PARA_OPERANDS; o++)
            para_weights_linear(w, &x->qkv[o], d, d, true, "transformer_blocks.%d.attn.%s", i, qkv[s][o]);
        para_weights_join(w, &x->joined_qkv, PARA_OPERANDS);
        para_weights_vector(w, &x->norm_q, m->head_dim, "transformer_blocks.%d.attn.%s.weight", i, q_norm[s]);
        para_weights_vector(w, &x->norm_k, m->head_dim, "transformer_blocks.%d.attn.%s.weight", i, k_norm[s]);
        para_weights_linear(w, &x->out, d, d, true, "transformer_blocks.%d.attn.%s", i, out[s]);
        para_weights_linear(w, &x->ff_in, m->mlp_dim, d, true, "transformer_blocks.%d.%s.net.0.proj", i, ff[s]);
        para_weights_linear(w, &x->ff_out, d, m->mlp_dim, true, "transformer_blocks.%d.%s.net.2", i, ff[s]);
    }
}

void para_single_block_weights(para_single_block *b, const para_mmdit_dims *m, para_weights *w, int i) {
    static const char *const qkv[] = {"to_q", "to_k", "to_v"};
    int64_t d = m->inner_dim;
    para_weights_linear(w, &b->modulation, 3 * d, d, true, "single_transformer_blocks.%d.norm.linear", i);
    for (int o = 0; o < PARA_OPERANDS; o++)
        para_weights_linear(w, &b->qkv[o], d, d, true, "single_transformer_blocks.%d.attn.%s", i, qkv[o]);
    para_weights_join(w, &b->joined_qkv, PARA_OPERANDS);
    para_weights_vector(w, &b->norm_q, m->head_dim, "single_transformer_blocks.%d.attn.norm_q.weight", i);
    para_weights_vector(w, &b->norm_k, m->head_dim, "single_transformer_blocks.%d.attn.norm_k.weight", i);
    para_weights_linear(w, &b->proj_mlp, m->mlp_dim, d, true, "single_transformer_blocks.%d.proj_mlp", i);
    para_weights_linear(w, &b->proj_out, d, d + m->mlp_dim, true, "single_transformer_blocks.%d.proj_out", i);
}

para_norm_args para_modulated_norm(para_tensor x, para_tensor shift, para_tensor scale, para_tensor y) {
    return (para_norm_args){.kind = PARA_NORM_LAYER, .eps = NORM_EPS, .x = x, .scale = scale, .shift = shift, .y = y};
}

/* What of a dual block's modulation is a stream's: [6 D]. */
static para_tensor modulation_of(const para_mmdit_dims *m, para_tensor modulation, int stream) {
    return para_slice(modulation, 0, 6 * m->inner_dim * stream, 6 * m->inner_dim);
}

/* The k-th vector [D] of a modulation. */
static para_tensor modulation_vector(const para_mmdit_dims *m, para_tensor modulation, int k) {
    return para_slice(modulation, 0, k * m->inner_dim, m->inner_dim);
}

/* x += gate · y, of a segment's rows (or all); and the norm that the next block begins with. */
static para_status end_block(const para_mmdit_dims *m, para_rank *rank, const para_item *item, int64_t first,
                             para_tensor gate, para_tensor y, para_tensor next) {
    para_device *dev = rank->device;
    para_tensor x = para_rows(item->residual_stream, first, y.dim[0]);
    para_residual_args residual = {.x = x, .gate = gate, .y = y};
    if (!next.data) return dev->ops->residual(dev, &residual);
    para_norm_args norm = para_modulated_norm(x, modulation_vector(m, next, 0), modulation_vector(m, next, 1),
                                              para_rows(item->normed, first, y.dim[0]));
    residual.norm = &norm;
    return dev->ops->residual(dev, &residual);
}

/* What Q, K and V of the rows [first, first + n) are made with. */
static para_joint_rows joint_rows(const para_item *item, const para_linear *qkv, const para_linear *joined,
                                  para_tensor norm_q, para_tensor norm_k, int64_t first, int64_t n) {
    const para_conditioning *c = item->conditioning;
    return (para_joint_rows){.first = first,
                             .qkv = qkv,
                             .joined = joined,
                             .norm_q = norm_q,
                             .norm_k = norm_k,
                             .eps = NORM_EPS,
                             .cos = para_rows(c->cos, first, n),
                             .sin = para_rows(c->sin, first, n)};
}

para_status para_dual_block_run(const para_dual_block *b, const para_mmdit_dims *m, para_rank *rank, para_item *item,
                                const para_block_turn *turn) {
    para_device *dev = rank->device;
    const para_shard *shard = &item->conditioning->shard;
    int64_t d = m->inner_dim;
    para_dtype dtype = item->conditioning->dtype;
    para_tensor normed = item->normed; /* [S, D]; later the input of the MLP */
    para_joint_attention attention = {.heads = m->heads, .head_dim = m->head_dim};
    bool joined = b->stream[PARA_IMAGE].joined_qkv.weight.data && b->stream[PARA_TEXT].joined_qkv.weight.data;
    PARA_TRY(para_joint_attention_begin(&attention, rank, para_shard_tokens(shard), dtype, joined));
    for (int s = 0; s < PARA_SEGMENTS; s++) {
        const para_mmdit_stream *w = &b->stream[s];
        int64_t first = para_shard_row(shard, (para_segment)s);
        para_joint_rows rows = joint_rows(item, w->qkv, &w->joined_qkv, w->norm_q, w->norm_k, first, shard->tokens[s]);
        para_tensor x = para_rows(item->residual_stream, first, shard->tokens[s]),
                    y = para_rows(normed, first, shard->tokens[s]), mod = modulation_of(m, turn->modulation, s);
        para_norm_args norm = para_modulated_norm(x, modulation_vector(m, mod, 0), modulation_vector(m, mod, 1), y);
        if (item->normed_for != turn->index) PARA_TRY(dev->ops->norm(dev, &norm));
        PARA_TRY(para_joint_attention_project(&attention, rank, &rows, y));
        PARA_TRY(para_attention_put_segment(rank, &attention.job, (para_segment)s)); /* moves under the next stream's products */
    }
    PARA_TRY(para_attention_compute(rank, &attention.job));
    for (int s = PARA_SEGMENTS - 1; s >= 0; s--) { /* the text's few rows come back first: the image's do so under its MLP */
        const para_mmdit_stream *w = &b->stream[s];
        PARA_TRY(para_attention_end_segment(rank, &attention.job, (para_segment)s));
        int64_t tokens = shard->tokens[s], first = para_shard_row(shard, (para_segment)s);
        para_tensor x = para_rows(item->residual_stream, first, tokens), y = para_rows(normed, first, tokens), out, mid,
                    mod = modulation_of(m, turn->modulation, s);
        size_t mark = para_arena_mark(&dev->arena);
        PARA_TRY(PARA_NEW(dev, &out, dtype, tokens, d));
        PARA_TRY(PARA_NEW(dev, &mid, dtype, tokens, m->mlp_dim));
        PARA_TRY(dev->ops->linear(
            dev, &(para_linear_args){.x = para_rows(attention.attended, first, tokens), .w = &w->out, .y = out}));
        para_norm_args norm2 = para_modulated_norm(x, modulation_vector(m, mod, 3), modulation_vector(m, mod, 4), y);
        para_residual_args middle = {.x = x, .gate = modulation_vector(m, mod, 2), .y = out, .norm = &norm2};
        PARA_TRY(dev->ops->residual(dev, &middle));
        PARA_TRY(dev->ops->linear(
            dev, &(para_linear_args){.x = y, .w = &w->ff_in, .y = mid, .activation = PARA_ACT_GELU_TANH}));
        PARA_TRY(dev->ops->linear(dev, &(para_linear_args){.x = mid, .w = &w->ff_out, .y = out}));
        PARA_TRY(end_block(m, rank, item, first, modulation_vector(m, mod, 5), out, turn->next[s]));
        para_arena_release(&dev->arena, mark);
    }
    return PARA_OK;
}

/* proj_out over [attention, MLP]: two products where attention's result comes from other ranks, so that the MLP's runs while that is on its way. */
static para_status project_out(const para_single_block *b, para_rank *rank, para_joint_attention *attention, para_tensor both, para_tensor mid, para_tensor out) {
    para_device *dev = rank->device;
    int64_t d = out.dim[1];
    para_linear of_mlp = {.weight = para_slice(b->proj_out.weight, 1, d, mid.dim[1]), .bias = b->proj_out.bias};
    para_linear of_attention = {.weight = para_slice(b->proj_out.weight, 1, 0, d)};
    if (!para_attention_moves(rank)) {
        PARA_TRY(para_attention_end(rank, &attention->job));
        return dev->ops->linear(dev, &(para_linear_args){.x = both, .w = &b->proj_out, .y = out});
    }
    PARA_TRY(dev->ops->linear(dev, &(para_linear_args){.x = mid, .w = &of_mlp, .y = out}));
    PARA_TRY(para_attention_end(rank, &attention->job));
    return dev->ops->linear(dev, &(para_linear_args){.x = attention->attended, .w = &of_attention, .y = out, .accumulate = true});
}

para_status para_single_block_run(const para_single_block *b, const para_mmdit_dims *m, para_rank *rank,
                                  para_item *item, const para_block_turn *turn) {
    para_device *dev = rank->device;
    int64_t d = m->inner_dim, tokens = item->residual_stream.dim[0], beside = para_attention_moves(rank) ? 0 : d;
    para_dtype dtype = item->conditioning->dtype;
    para_tensor x = item->residual_stream, normed = item->normed, out, both /* [S, D or none, and MLP] */, mid, modulation = turn->modulation;
    para_joint_attention attention = {.heads = m->heads, .head_dim = m->head_dim, .beside = true};
    para_joint_rows rows = joint_rows(item, b->qkv, &b->joined_qkv, b->norm_q, b->norm_k, 0, tokens);
    PARA_TRY(PARA_NEW(dev, &out, dtype, tokens, d));
    PARA_TRY(PARA_NEW(dev, &both, dtype, tokens, beside + m->mlp_dim));
    mid = para_slice(both, 1, beside, m->mlp_dim);
    if (beside) attention.attended = para_slice(both, 1, 0, d);
    PARA_TRY(para_joint_attention_begin(&attention, rank, tokens, dtype, b->joined_qkv.weight.data));
    para_norm_args norm =
        para_modulated_norm(x, modulation_vector(m, modulation, 0), modulation_vector(m, modulation, 1), normed);
    if (item->normed_for != turn->index) PARA_TRY(dev->ops->norm(dev, &norm));
    PARA_TRY(para_joint_attention_project(&attention, rank, &rows, normed));
    PARA_TRY(para_joint_attention_put(&attention, rank));
    PARA_TRY(dev->ops->linear(
        dev, &(para_linear_args){.x = normed, .w = &b->proj_mlp, .y = mid, .activation = PARA_ACT_GELU_TANH}));
    PARA_TRY(para_attention_compute(rank, &attention.job));
    PARA_TRY(project_out(b, rank, &attention, both, mid, out));
    return end_block(m, rank, item, 0, modulation_vector(m, modulation, 2), out, turn->next[PARA_IMAGE]);
}
