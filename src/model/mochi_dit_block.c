/* Block of a Mochi transformer. SPDX-License-Identifier: Apache-2.0 */
#include "model/mochi_dit_block.h"

#include "core/error.h"
#include "model/joint_attention.h"

static const float NORM_EPS = 1e-6f, HEAD_NORM_EPS = 1e-5f;

/* Vectors of a stream's modulation. */
enum { SCALE_ATTENTION, GATE_ATTENTION, SCALE_MLP, GATE_MLP, VECTORS };

/* (4 · width · 2) // 3, as MochiTransformerBlock has it. */
static int64_t mlp_dim(int64_t width) {
    return 4 * width * 2 / 3;
}

#define BLOCK "transformer_blocks.%d."

void para_mochi_dit_block_weights(para_mochi_dit_block *b, const para_mochi_dims *m, para_weights *w, int i) {
    static const char *const norm[] = {"norm1", "norm1_context"}, *const ff[] = {"ff", "ff_context"},
                             *const q_norm[] = {"norm_q", "norm_added_q"}, *const k_norm[] = {"norm_k", "norm_added_k"},
                             *const out[] = {"to_out.0", "to_add_out"},
                             *const qkv[][PARA_OPERANDS] = {{"to_q", "to_k", "to_v"},
                                                            {"add_q_proj", "add_k_proj", "add_v_proj"}};
    int64_t d = m->width[PARA_IMAGE];
    for (int s = 0; s < PARA_SEGMENTS; s++) {
        para_mochi_stream *x = &b->stream[s];
        int64_t width = m->width[s], mlp = mlp_dim(width);
        bool ends = s == PARA_TEXT && b->context_pre_only;
        if (ends) para_weights_linear(w, &x->modulation, width, d, true, BLOCK "%s.linear_1", i, norm[s]);
        else para_weights_linear(w, &x->modulation, VECTORS * width, d, true, BLOCK "%s.linear", i, norm[s]);
        para_weights_stays(w, &x->modulation); /* it is used before the blocks run */
        for (int o = 0; o < PARA_OPERANDS; o++)
            para_weights_linear(w, &x->qkv[o], d, width, false, BLOCK "attn1.%s", i, qkv[s][o]);
        para_weights_join(w, &x->joined_qkv, PARA_OPERANDS);
        para_weights_vector(w, &x->norm_q, m->head_dim, BLOCK "attn1.%s.weight", i, q_norm[s]);
        para_weights_vector(w, &x->norm_k, m->head_dim, BLOCK "attn1.%s.weight", i, k_norm[s]);
        if (ends) continue;
        para_weights_linear(w, &x->out, width, d, true, BLOCK "attn1.%s", i, out[s]);
        para_weights_linear(w, &x->ff_in, 2 * mlp, width, false, BLOCK "%s.net.0.proj", i, ff[s]);
        para_weights_linear(w, &x->ff_out, width, mlp, false, BLOCK "%s.net.2", i, ff[s]);
    }
}

/* ---- modulation */

static int64_t stream_length(const para_mochi_dims *m, int stream, bool context_pre_only) {
    return (stream == PARA_TEXT && context_pre_only ? 1 : VECTORS) * m->width[stream];
}

int64_t para_mochi_modulation_length(const para_mochi_dims *m, bool context_pre_only) {
    return stream_length(m, PARA_IMAGE, context_pre_only) + stream_length(m, PARA_TEXT, context_pre_only);
}

/* Where a stream's k-th vector lies in a modulation, or in a row of it. */
static int64_t vector_at(const para_mochi_dims *m, int stream, int k) {
    return (stream == PARA_TEXT ? VECTORS * m->width[PARA_IMAGE] : 0) + k * m->width[stream];
}

static para_tensor vector_of(const para_mochi_dims *m, para_tensor modulation, int stream, int k) {
    return para_slice(modulation, 0, vector_at(m, stream, k), m->width[stream]);
}

para_status para_mochi_dit_block_modulate(const para_mochi_dit_block *b, const para_mochi_dims *m, para_device *dev,
                                          para_tensor temb, para_tensor out) {
    for (int s = 0; s < PARA_SEGMENTS; s++) {
        int64_t length = stream_length(m, s, b->context_pre_only);
        para_tensor y = para_slice(out, 1, vector_at(m, s, 0), length);
        PARA_TRY(dev->ops->linear(dev, &(para_linear_args){.x = temb, .w = &b->stream[s].modulation, .y = y}));
        for (int k = GATE_ATTENTION; (k + 1) * m->width[s] <= length; k += 2) {
            para_tensor gate = para_slice(out, 1, vector_at(m, s, k), m->width[s]);
            PARA_TRY(dev->ops->activate(dev, PARA_ACT_TANH, gate, gate));
        }
    }
    return PARA_OK;
}

/* ---- a step */

static para_tensor stream_of(const para_item *item, int s) {
    return s == PARA_TEXT ? item->text_stream : item->residual_stream;
}

static para_tensor normed_of(const para_item *item, int s) {
    return s == PARA_TEXT ? item->text_normed : item->normed;
}

/* rms(x) · (1 + scale). */
static para_norm_args scaled_norm(para_tensor x, para_tensor scale, para_tensor y) {
    return (para_norm_args){.kind = PARA_NORM_RMS, .eps = NORM_EPS, .x = x, .scale = scale, .y = y};
}

/* x += rms(y) · gate, and the norm after it to normed, if next_scale is there. All [n, width]. */
static para_status add_gated(para_device *dev, para_tensor x, para_tensor gate, para_tensor y, para_tensor normed,
                             para_tensor next_scale) {
    para_norm_args next = scaled_norm(x, next_scale, normed);
    return dev->ops->residual(dev, &(para_residual_args){.x = x,
                                                         .gate = gate,
                                                         .y = y,
                                                         .rms_norm = true,
                                                         .eps = NORM_EPS,
                                                         .norm = next_scale.data ? &next : NULL});
}

/* What comes after attention, of one stream; attended [n, D]. */
static para_status finish_stream(const para_mochi_dit_block *b, const para_mochi_dims *m, para_device *dev,
                                 const para_item *item, const para_mochi_turn *turn, int s, para_tensor attended) {
    const para_mochi_stream *w = &b->stream[s];
    para_tensor x = stream_of(item, s), normed = normed_of(item, s), mod = turn->modulation, out, mid;
    int64_t n = x.dim[0], width = m->width[s], mlp = mlp_dim(width);
    para_tensor next = turn->next.data ? vector_of(m, turn->next, s, SCALE_ATTENTION) : (para_tensor){0};
    size_t mark = para_arena_mark(&dev->arena);
    PARA_TRY(PARA_NEW(dev, &out, x.dtype, n, width));
    PARA_TRY(PARA_NEW(dev, &mid, x.dtype, n, 2 * mlp));
    PARA_TRY(dev->ops->linear(dev, &(para_linear_args){.x = attended, .w = &w->out, .y = out}));
    PARA_TRY(add_gated(dev, x, vector_of(m, mod, s, GATE_ATTENTION), out, normed, vector_of(m, mod, s, SCALE_MLP)));
    PARA_TRY(dev->ops->linear(dev, &(para_linear_args){.x = normed, .w = &w->ff_in, .y = mid}));
    para_tensor value = para_slice(mid, 1, 0, mlp), gate = para_slice(mid, 1, mlp, mlp);
    PARA_TRY(dev->ops->gated(dev, PARA_ACT_SILU, gate, value, value));
    PARA_TRY(dev->ops->linear(dev, &(para_linear_args){.x = value, .w = &w->ff_out, .y = out}));
    PARA_TRY(add_gated(dev, x, vector_of(m, mod, s, GATE_MLP), out, normed, next));
    para_arena_release(&dev->arena, mark);
    return PARA_OK;
}

/* Norm before attention, and Q, K and V of one stream. */
static para_status begin_stream(const para_mochi_dit_block *b, const para_mochi_dims *m, para_rank *rank,
                                const para_item *item, const para_mochi_turn *turn, int s,
                                para_joint_attention *attention) {
    const para_mochi_stream *w = &b->stream[s];
    const para_conditioning *c = item->conditioning;
    para_tensor normed = normed_of(item, s);
    para_norm_args norm = scaled_norm(stream_of(item, s), vector_of(m, turn->modulation, s, SCALE_ATTENTION), normed);
    if (item->normed_for != turn->index) PARA_TRY(rank->device->ops->norm(rank->device, &norm));
    para_joint_rows rows = {.first = para_shard_row(&c->shard, (para_segment)s),
                            .qkv = w->qkv,
                            .joined = &w->joined_qkv,
                            .norm_q = w->norm_q,
                            .norm_k = w->norm_k,
                            .eps = HEAD_NORM_EPS};
    if (s == PARA_IMAGE) { /* text has no positions */
        rows.positions = c->rope_positions;
        rows.frequencies = turn->pos_frequencies;
    }
    return para_joint_attention_project(attention, rank, &rows, normed);
}

para_status para_mochi_dit_block_run(const para_mochi_dit_block *b, const para_mochi_dims *m, para_rank *rank,
                                     para_item *item, const para_mochi_turn *turn) {
    const para_shard *shard = &item->conditioning->shard;
    para_joint_attention attention = {.heads = m->heads, .head_dim = m->head_dim};
    bool joined = b->stream[PARA_IMAGE].joined_qkv.weight.data && b->stream[PARA_TEXT].joined_qkv.weight.data;
    PARA_TRY(para_joint_attention_begin(&attention, rank, para_shard_tokens(shard), item->conditioning->dtype, joined));
    for (int s = 0; s < PARA_SEGMENTS; s++) {
        PARA_TRY(begin_stream(b, m, rank, item, turn, s, &attention));
        PARA_TRY(para_attention_put_segment(rank, &attention.job, (para_segment)s)); /* moves under the next stream's products */
    }
    PARA_TRY(para_attention_compute(rank, &attention.job));
    for (int s = PARA_SEGMENTS - 1; s >= 0; s--) { /* the text's few rows come back first: the video's do so under its MLP */
        PARA_TRY(para_attention_end_segment(rank, &attention.job, (para_segment)s));
        if (s == PARA_TEXT && b->context_pre_only) continue;
        para_tensor attended = para_rows(attention.attended, para_shard_row(shard, (para_segment)s), shard->tokens[s]);
        PARA_TRY(finish_stream(b, m, rank->device, item, turn, s, attended));
    }
    return PARA_OK;
}
