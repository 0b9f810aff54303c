/* FluxTransformer2DModel of diffusers: dual-stream blocks, then single-stream blocks over image and text.
 * SPDX-License-Identifier: Apache-2.0 */
#include "model/flux.h"

#include <math.h>
#include <string.h>

#include "core/alloc.h"
#include "core/error.h"
#include "model/embeddings.h"

enum { TIME_PROJ_DIM = 256, MLP_RATIO = 4, MAX_BLOCKS = 1024 };
static const float NORM_EPS = 1e-6f;
static const double ROPE_THETA = 10000.0;

typedef struct mlp_embedder {
    para_linear linear_1, linear_2;
} mlp_embedder;

/* One stream of a block: everything between the residual stream and attention. */
typedef struct stream_weights {
    para_linear modulation; /* norm1.linear [6D, D], or norm.linear [3D, D] in a single block */
    para_linear qkv[PARA_OPERANDS];
    para_linear joined_qkv;     /* [3D, D], or none */
    para_tensor norm_q, norm_k; /* [head_dim] */
    para_linear out;
    para_linear ff_in, ff_out; /* [4D, D], [D, 4D] */
} stream_weights;

typedef struct dual_block {
    stream_weights stream[PARA_SEGMENTS];
} dual_block;

typedef struct single_block {
    para_linear modulation; /* norm.linear [3D, D] */
    para_linear qkv[PARA_OPERANDS];
    para_linear joined_qkv;
    para_tensor norm_q, norm_k;
    para_linear proj_mlp; /* [4D, D] */
    para_linear proj_out; /* [D, 5D]: columns of attention, then of the MLP */
} single_block;

typedef struct flux {
    para_transformer base;
    int64_t head_dim;
    int64_t axes_dims_rope[3];
    int num_dual, num_single;
    mlp_embedder timestep_embedder, guidance_embedder, text_embedder;
    para_linear context_embedder, x_embedder, norm_out, proj_out;
    dual_block *dual;     /* [num_dual] */
    single_block *single; /* [num_single] */
} flux;

static void flux_close(para_transformer *t) {
    flux *m = (flux *)t;
    para_free(m->dual);
    para_free(m->single);
    para_free(m);
}

static void embedder_weights(para_weights *w, mlp_embedder *e, int64_t in, int64_t dim, const char *name) {
    para_weights_linear(w, &e->linear_1, dim, in, true, "time_text_embed.%s.linear_1", name);
    para_weights_linear(w, &e->linear_2, dim, dim, true, "time_text_embed.%s.linear_2", name);
}

static void dual_weights(flux *m, para_weights *w, int i) {
    static const char *const norm[] = {"norm1", "norm1_context"}, *const ff[] = {"ff", "ff_context"},
                             *const q_norm[] = {"norm_q", "norm_added_q"}, *const k_norm[] = {"norm_k", "norm_added_k"},
                             *const out[] = {"to_out.0", "to_add_out"},
                             *const qkv[][PARA_OPERANDS] = {{"to_q", "to_k", "to_v"},
                                                            {"add_q_proj", "add_k_proj", "add_v_proj"}};
    int64_t d = m->base.inner_dim;
    for (int s = 0; s < PARA_SEGMENTS; s++) {
        stream_weights *b = &m->dual[i].stream[s];
        para_weights_linear(w, &b->modulation, 6 * d, d, true, "transformer_blocks.%d.%s.linear", i, norm[s]);
        for (int o = 0; o < PARA_OPERANDS; o++)
            para_weights_linear(w, &b->qkv[o], d, d, true, "transformer_blocks.%d.attn.%s", i, qkv[s][o]);
        para_weights_join(w, &b->joined_qkv, PARA_OPERANDS);
        para_weights_vector(w, &b->norm_q, m->head_dim, "transformer_blocks.%d.attn.%s.weight", i, q_norm[s]);
        para_weights_vector(w, &b->norm_k, m->head_dim, "transformer_blocks.%d.attn.%s.weight", i, k_norm[s]);
        para_weights_linear(w, &b->out, d, d, true, "transformer_blocks.%d.attn.%s", i, out[s]);
        para_weights_linear(w, &b->ff_in, MLP_RATIO * d, d, true, "transformer_blocks.%d.%s.net.0.proj", i, ff[s]);
        para_weights_linear(w, &b->ff_out, d, MLP_RATIO * d, true, "transformer_blocks.%d.%s.net.2", i, ff[s]);
    }
}

static void single_weights(flux *m, para_weights *w, int i) {
    static const char *const qkv[] = {"to_q", "to_k", "to_v"};
    int64_t d = m->base.inner_dim;
    single_block *b = &m->single[i];
    para_weights_linear(w, &b->modulation, 3 * d, d, true, "single_transformer_blocks.%d.norm.linear", i);
    for (int o = 0; o < PARA_OPERANDS; o++)
        para_weights_linear(w, &b->qkv[o], d, d, true, "single_transformer_blocks.%d.attn.%s", i, qkv[o]);
    para_weights_join(w, &b->joined_qkv, PARA_OPERANDS);
    para_weights_vector(w, &b->norm_q, m->head_dim, "single_transformer_blocks.%d.attn.norm_q.weight", i);
    para_weights_vector(w, &b->norm_k, m->head_dim, "single_transformer_blocks.%d.attn.norm_k.weight", i);
    para_weights_linear(w, &b->proj_mlp, MLP_RATIO * d, d, true, "single_transformer_blocks.%d.proj_mlp", i);
    para_weights_linear(w, &b->proj_out, d, (1 + MLP_RATIO) * d, true, "single_transformer_blocks.%d.proj_out", i);
}

static void flux_weights(para_transformer *t, para_weights *w) {
    flux *m = (flux *)t;
    int64_t d = t->inner_dim;
    embedder_weights(w, &m->timestep_embedder, TIME_PROJ_DIM, d, "timestep_embedder");
    if (t->guidance_embeds) embedder_weights(w, &m->guidance_embedder, TIME_PROJ_DIM, d, "guidance_embedder");
    embedder_weights(w, &m->text_embedder, t->pooled_projection_dim, d, "text_embedder");
    para_weights_linear(w, &m->context_embedder, d, t->joint_attention_dim, true, "context_embedder");
    para_weights_linear(w, &m->x_embedder, d, t->in_channels, true, "x_embedder");
    for (int i = 0; i < m->num_dual; i++) dual_weights(m, w, i);
    for (int i = 0; i < m->num_single; i++) single_weights(m, w, i);
    para_weights_linear(w, &m->norm_out, 2 * d, d, true, "norm_out.linear");
    para_weights_linear(w, &m->proj_out, t->out_channels, d, true, "proj_out");
}

/* Where the modulation of a block starts in a row of conditioning->modulation: 12 D a dual block (image, then text), 3 D a
 * single one, 2 D at the end. */
static int64_t modulation_offset(const flux *m, int block) {
    int64_t d = m->base.inner_dim;
    return block <= m->num_dual ? 12 * d * block : 12 * d * m->num_dual + 3 * d * (block - m->num_dual);
}

static int flux_num_blocks(const para_transformer *t) {
    const flux *m = (const flux *)t;
    return m->num_dual + m->num_single;
}

/* y += linear_2(silu(linear_1(x))); x [steps, in] F32, y [steps, D] F32. */
static para_status add_embedding(para_device *dev, const mlp_embedder *e, para_tensor x, para_tensor y,
                                 bool accumulate) {
    size_t mark = para_arena_mark(&dev->arena);
    para_tensor mid;
    PARA_TRY(PARA_NEW(dev, &mid, PARA_F32, x.dim[0], y.dim[1]));
    PARA_TRY(
        dev->ops->linear(dev, &(para_linear_args){.x = x, .w = &e->linear_1, .y = mid, .activation = PARA_ACT_SILU}));
    PARA_TRY(dev->ops->linear(dev, &(para_linear_args){.x = mid, .w = &e->linear_2, .y = y, .accumulate = accumulate}));
    para_arena_release(&dev->arena, mark);
    return PARA_OK;
}

/* Sinusoidal embedding of host values, on the device: [n, TIME_PROJ_DIM] F32. */
static para_status time_proj(para_device *dev, const float *values, int n, para_tensor *out) {
    PARA_TRY(PARA_NEW(dev, out, PARA_F32, n, TIME_PROJ_DIM));
    float *host = para_alloc((size_t)n * TIME_PROJ_DIM, sizeof *host);
    if (!host) return PARA_ERR_MEMORY;
    para_timestep_embedding(host, values, n, TIME_PROJ_DIM);
    para_status status = dev->ops->upload(dev, *out, host);
    para_free(host);
    return status;
}

/* temb [steps, D] F32: time + guidance + pooled text. Source: CombinedTimestepGuidanceTextProjEmbeddings. */
static para_status time_text_embed(const flux *m, para_device *dev, const para_conditioning_inputs *in,
                                   para_tensor temb) {
    size_t mark = para_arena_mark(&dev->arena);
    float *values = para_alloc((size_t)in->steps, sizeof *values);
    if (!values) return PARA_ERR_MEMORY;
    para_tensor x;
    memcpy(values, in->timesteps, (size_t)in->steps * sizeof *values);
    para_status status = time_proj(dev, values, in->steps, &x);
    if (status == PARA_OK) status = add_embedding(dev, &m->timestep_embedder, x, temb, false);
    if (status == PARA_OK && m->base.guidance_embeds) {
        for (int i = 0; i < in->steps; i++) values[i] = in->guidance_scale * 1000.0f;
        status = time_proj(dev, values, in->steps, &x);
        if (status == PARA_OK) status = add_embedding(dev, &m->guidance_embedder, x, temb, true);
    }
    para_free(values);
    PARA_TRY(status);
    PARA_TRY(PARA_NEW(dev, &x, PARA_F32, in->steps, m->base.pooled_projection_dim));
    para_tensor pooled = in->pooled_projections;
    pooled.dim[0] = in->steps;
    pooled.stride[0] = 0; /* the same row at every step */
    PARA_TRY(dev->ops->copy(dev, x, pooled));
    PARA_TRY(add_embedding(dev, &m->text_embedder, x, temb, true));
    para_arena_release(&dev->arena, mark);
    return PARA_OK;
}

static para_status all_modulations(const flux *m, para_device *dev, const para_conditioning_inputs *in,
                                   para_tensor modulation) {
    size_t mark = para_arena_mark(&dev->arena);
    int64_t d = m->base.inner_dim;
    para_tensor temb;
    PARA_TRY(PARA_NEW(dev, &temb, PARA_F32, in->steps, d));
    PARA_TRY(time_text_embed(m, dev, in, temb));
    PARA_TRY(dev->ops->activate(dev, PARA_ACT_SILU, temb, temb));
    for (int i = 0; i <= m->num_dual + m->num_single; i++) {
        int64_t first = modulation_offset(m, i);
        if (i < m->num_dual) {
            for (int s = 0; s < PARA_SEGMENTS; s++) {
                para_tensor y = para_slice(modulation, 1, first + 6 * d * s, 6 * d);
                PARA_TRY(dev->ops->linear(
                    dev, &(para_linear_args){.x = temb, .w = &m->dual[i].stream[s].modulation, .y = y}));
            }
        } else {
            bool last = i == m->num_dual + m->num_single;
            const para_linear *w = last ? &m->norm_out : &m->single[i - m->num_dual].modulation;
            para_tensor y = para_slice(modulation, 1, first, (last ? 2 : 3) * d);
            PARA_TRY(dev->ops->linear(dev, &(para_linear_args){.x = temb, .w = w, .y = y}));
        }
    }
    para_arena_release(&dev->arena, mark);
    return PARA_OK;
}

/* A table of the shard's rows: those of the image grid, then text at position 0. whole: host [tokens of the image, dim]. */
static para_status upload_table(const flux *m, para_device *dev, const para_shard *shard, const float *whole,
                                float text, para_tensor *out) {
    int64_t tokens = para_shard_tokens(shard), dim = m->head_dim, image = shard->tokens[PARA_IMAGE] * dim;
    PARA_TRY(PARA_NEW(dev, out, PARA_F32, tokens, dim));
    float *host = para_alloc((size_t)(tokens * dim), sizeof *host);
    if (!host) return PARA_ERR_MEMORY;
    memcpy(host, whole + shard->first[PARA_IMAGE] * dim, (size_t)image * sizeof *host);
    for (int64_t i = image; i < tokens * dim; i++) host[i] = text;
    para_status status = dev->ops->upload(dev, *out, host);
    para_free(host);
    return status;
}

/* Rotary tables: the image grid, then text at position 0 (cos 1, sin 0). */
static para_status rope_tables(const flux *m, para_device *dev, const para_conditioning_inputs *in,
                               para_conditioning *out) {
    int64_t n = in->frames * in->height * in->width * m->head_dim;
    float *whole = para_alloc((size_t)(2 * n), sizeof *whole);
    if (!whole) return PARA_ERR_MEMORY;
    para_rope_grid(whole, whole + n, (int64_t[]){in->frames, in->height, in->width}, m->axes_dims_rope, ROPE_THETA);
    para_status status = upload_table(m, dev, &out->shard, whole, 1.0f, &out->cos);
    if (status == PARA_OK) status = upload_table(m, dev, &out->shard, whole + n, 0.0f, &out->sin);
    para_free(whole);
    return status;
}

static para_status flux_prepare(para_transformer *t, para_rank *rank, const para_conditioning_inputs *in,
                                para_conditioning *out) {
    flux *m = (flux *)t;
    para_device *dev = rank->device;
    *out = (para_conditioning){.dtype = in->dtype, .shard = in->shard};
    para_tensor text = para_rows(in->encoder_hidden_states, in->shard.first[PARA_TEXT], in->shard.tokens[PARA_TEXT]);
    int64_t length = modulation_offset(m, flux_num_blocks(t)) + 2 * t->inner_dim;
    PARA_TRY(PARA_NEW(dev, &out->modulation, PARA_F32, in->steps, length));
    PARA_TRY(all_modulations(m, dev, in, out->modulation));
    PARA_TRY(rope_tables(m, dev, in, out));
    PARA_TRY(PARA_NEW(dev, &out->text_hidden_states, in->dtype, text.dim[0], t->inner_dim));
    return dev->ops->linear(dev,
                            &(para_linear_args){.x = text, .w = &m->context_embedder, .y = out->text_hidden_states});
}

static para_status flux_embed(para_transformer *t, para_rank *rank, para_item *item, para_tensor latents) {
    flux *m = (flux *)t;
    para_device *dev = rank->device;
    PARA_TRY(dev->ops->linear(
        dev, &(para_linear_args){.x = latents, .w = &m->x_embedder, .y = para_item_hidden_states(item)}));
    return dev->ops->copy(dev, para_item_encoder_hidden_states(item), item->conditioning->text_hidden_states);
}

/* The k-th vector [D] of a block's modulation at the item's step. */
static para_tensor modulation_vector(const flux *m, const para_item *item, int64_t offset, int k) {
    int64_t d = m->base.inner_dim;
    return para_slice(item->modulation, 0, offset + k * d, d);
}

/* A block's attention, and [S, 3D] that its projections fill where attention reads Q, K and V as they lie there; or none. */
typedef struct projected {
    para_attention_job job;
    para_tensor rows;
} projected;

/* Heads of D columns of a matrix from `column` on: [1, H, S, head_dim]. */
static para_tensor heads_of(const flux *m, para_tensor rows, int64_t column) {
    para_tensor t = para_slice(rows, 1, column, m->base.inner_dim);
    return (para_tensor){.dtype = t.dtype,
                         .rank = 4,
                         .dim = {1, m->base.heads, t.dim[0], m->head_dim},
                         .stride = {t.dim[0] * t.stride[0], m->head_dim, t.stride[0], 1},
                         .data = t.data};
}

/* Attention of the rank's tokens, the result to out [S, D]. The operands get room where the modes want them; in place of one product where
 * there is no mode and the weights are joined. */
static para_status begin_attention(const flux *m, para_rank *rank, bool joined, para_tensor out, projected *p) {
    int64_t tokens = out.dim[0], d = m->base.inner_dim;
    para_tensor operand = para_tensor_make(NULL, out.dtype, 4, (int64_t[]){1, m->base.heads, tokens, m->head_dim});
    para_attention_args args = {
        .q = operand, .k = operand, .v = operand, .scale = (float)(1.0 / sqrt((double)m->head_dim))};
    args.out = heads_of(m, out, 0);
    p->rows = (para_tensor){0};
    if (joined && !para_attention_moves(rank)) {
        PARA_TRY(PARA_NEW(rank->device, &p->rows, out.dtype, tokens, PARA_OPERANDS * d));
        args.q = heads_of(m, p->rows, PARA_QUERY * d);
        args.k = heads_of(m, p->rows, PARA_KEY * d);
        args.v = heads_of(m, p->rows, PARA_VALUE * d);
    }
    return para_attention_begin(rank, &args, &p->job);
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

/* What Q, K and V of a stream are made with. */
typedef struct qkv_weights {
    const para_linear *each, *joined; /* [PARA_OPERANDS]; or none */
    para_tensor norm_q, norm_k;       /* [head_dim] */
} qkv_weights;

/* Norm and rotation of x [S, H, D], to where attention wants it. */
static para_status head_rows(para_rank *rank, const para_item *item, const qkv_weights *w, para_operand o,
                             para_tensor x, int64_t first, const para_attention_job *job) {
    const para_conditioning *c = item->conditioning;
    para_head_args head = {
        .x = x, .eps = NORM_EPS, .rope_interleaved = true, .y = operand_rows(job, o, first, x.dim[0])};
    if (o != PARA_VALUE) {
        head.weight = o == PARA_QUERY ? w->norm_q : w->norm_k;
        head.cos = para_rows(c->cos, first, x.dim[0]);
        head.sin = para_rows(c->sin, first, x.dim[0]);
    }
    return rank->device->ops->head(rank->device, &head);
}

/* One product, whose values are there then; queries and keys are turned where they lie. */
static para_status project_joined(para_rank *rank, const para_item *item, const qkv_weights *w, para_tensor x,
                                  int64_t first, projected *p) {
    para_device *dev = rank->device;
    PARA_TRY(
        dev->ops->linear(dev, &(para_linear_args){.x = x, .w = w->joined, .y = para_rows(p->rows, first, x.dim[0])}));
    for (int o = PARA_QUERY; o <= PARA_KEY; o++) {
        para_tensor rows = operand_rows(&p->job, (para_operand)o, first, x.dim[0]);
        para_tensor by_token = PARA_PERMUTE(rows, 1, 0, 2);
        PARA_TRY(head_rows(rank, item, w, (para_operand)o, by_token, first, &p->job));
    }
    return PARA_OK;
}

/* Projects x [S, D] to Q, K, V of the rows [first, first + S): V first, since it needs no norm and no rotation. */
static para_status project_qkv(const flux *m, para_rank *rank, const para_item *item, const qkv_weights *w,
                               para_tensor x, int64_t first, projected *p) {
    para_device *dev = rank->device;
    if (p->rows.data) return project_joined(rank, item, w, x, first, p);
    size_t mark = para_arena_mark(&dev->arena);
    para_tensor y;
    PARA_TRY(PARA_NEW(dev, &y, x.dtype, x.dim[0], m->base.inner_dim));
    static const para_operand order[] = {PARA_VALUE, PARA_KEY, PARA_QUERY};
    for (int i = 0; i < PARA_OPERANDS; i++) {
        para_tensor heads = PARA_RESHAPE(y, x.dim[0], m->base.heads, m->head_dim);
        PARA_TRY(dev->ops->linear(dev, &(para_linear_args){.x = x, .w = &w->each[order[i]], .y = y}));
        PARA_TRY(head_rows(rank, item, w, order[i], heads, first, &p->job));
    }
    para_arena_release(&dev->arena, mark);
    return PARA_OK;
}

static para_norm_args layer_norm(para_tensor x, para_tensor shift, para_tensor scale, para_tensor y) {
    return (para_norm_args){.kind = PARA_NORM_LAYER, .eps = NORM_EPS, .x = x, .scale = scale, .shift = shift, .y = y};
}

/* Source: FluxTransformerBlock. Modulation of a stream: shift, scale, gate of attention, then of the MLP. */
static para_status dual_forward(const flux *m, para_rank *rank, para_item *item, int i) {
    para_device *dev = rank->device;
    const para_shard *shard = &item->conditioning->shard;
    int64_t d = m->base.inner_dim, mod = modulation_offset(m, i);
    para_dtype dtype = item->conditioning->dtype;
    projected p;
    para_tensor attended, normed; /* [S, D]; normed is later the input of the MLP */
    const stream_weights *stream = m->dual[i].stream;
    bool joined = stream[PARA_IMAGE].joined_qkv.weight.data && stream[PARA_TEXT].joined_qkv.weight.data;
    PARA_TRY(PARA_NEW(dev, &attended, dtype, para_shard_tokens(shard), d));
    PARA_TRY(PARA_NEW(dev, &normed, dtype, para_shard_tokens(shard), d));
    PARA_TRY(begin_attention(m, rank, joined, attended, &p));
    for (int s = 0; s < PARA_SEGMENTS; s++) {
        const stream_weights *w = &stream[s];
        const qkv_weights qkv = {w->qkv, &w->joined_qkv, w->norm_q, w->norm_k};
        int64_t first = para_shard_row(shard, (para_segment)s), offset = mod + 6 * d * s;
        para_tensor x = para_rows(item->residual_stream, first, shard->tokens[s]),
                    y = para_rows(normed, first, shard->tokens[s]);
        para_norm_args norm =
            layer_norm(x, modulation_vector(m, item, offset, 0), modulation_vector(m, item, offset, 1), y);
        PARA_TRY(dev->ops->norm(dev, &norm));
        PARA_TRY(project_qkv(m, rank, item, &qkv, y, first, &p));
    }
    for (int o = 0; o < PARA_OPERANDS; o++) PARA_TRY(para_attention_put(rank, &p.job, (para_operand)o));
    PARA_TRY(para_attention_compute(rank, &p.job));
    PARA_TRY(para_attention_end(rank, &p.job));
    for (int s = 0; s < PARA_SEGMENTS; s++) {
        const stream_weights *w = &stream[s];
        int64_t tokens = shard->tokens[s], first = para_shard_row(shard, (para_segment)s), offset = mod + 6 * d * s;
        para_tensor x = para_rows(item->residual_stream, first, tokens), y = para_rows(normed, first, tokens), out, mid;
        size_t mark = para_arena_mark(&dev->arena);
        PARA_TRY(PARA_NEW(dev, &out, dtype, tokens, d));
        PARA_TRY(PARA_NEW(dev, &mid, dtype, tokens, MLP_RATIO * d));
        PARA_TRY(dev->ops->linear(
            dev, &(para_linear_args){.x = para_rows(attended, first, tokens), .w = &w->out, .y = out}));
        para_norm_args norm2 =
            layer_norm(x, modulation_vector(m, item, offset, 3), modulation_vector(m, item, offset, 4), y);
        para_residual_args attention = {
            .x = x, .gate = modulation_vector(m, item, offset, 2), .y = out, .norm = &norm2};
        PARA_TRY(dev->ops->residual(dev, &attention));
        PARA_TRY(dev->ops->linear(
            dev, &(para_linear_args){.x = y, .w = &w->ff_in, .y = mid, .activation = PARA_ACT_GELU_TANH}));
        PARA_TRY(dev->ops->linear(dev, &(para_linear_args){.x = mid, .w = &w->ff_out, .y = out}));
        para_residual_args mlp = {.x = x, .gate = modulation_vector(m, item, offset, 5), .y = out};
        PARA_TRY(dev->ops->residual(dev, &mlp));
        para_arena_release(&dev->arena, mark);
    }
    return PARA_OK;
}

/* Source: FluxSingleTransformerBlock. proj_out over [attention, MLP] is two products, so that the MLP's half runs while
 * attention's result is on its way. */
static para_status single_forward(const flux *m, para_rank *rank, para_item *item, int i) {
    para_device *dev = rank->device;
    const single_block *w = &m->single[i];
    int64_t d = m->base.inner_dim, mod = modulation_offset(m, m->num_dual + i), tokens = item->residual_stream.dim[0];
    para_dtype dtype = item->conditioning->dtype;
    para_tensor x = item->residual_stream, attended, normed, mid;
    projected p;
    const qkv_weights qkv = {w->qkv, &w->joined_qkv, w->norm_q, w->norm_k};
    PARA_TRY(PARA_NEW(dev, &attended, dtype, tokens, d));
    PARA_TRY(PARA_NEW(dev, &normed, dtype, tokens, d));
    PARA_TRY(PARA_NEW(dev, &mid, dtype, tokens, MLP_RATIO * d));
    PARA_TRY(begin_attention(m, rank, w->joined_qkv.weight.data, attended, &p));
    para_norm_args norm = layer_norm(x, modulation_vector(m, item, mod, 0), modulation_vector(m, item, mod, 1), normed);
    PARA_TRY(dev->ops->norm(dev, &norm));
    PARA_TRY(project_qkv(m, rank, item, &qkv, normed, 0, &p));
    for (int o = 0; o < PARA_OPERANDS; o++) PARA_TRY(para_attention_put(rank, &p.job, (para_operand)o));
    PARA_TRY(dev->ops->linear(
        dev, &(para_linear_args){.x = normed, .w = &w->proj_mlp, .y = mid, .activation = PARA_ACT_GELU_TANH}));
    PARA_TRY(para_attention_compute(rank, &p.job));
    para_linear of_mlp = {.weight = para_slice(w->proj_out.weight, 1, d, MLP_RATIO * d), .bias = w->proj_out.bias};
    para_linear of_attention = {.weight = para_slice(w->proj_out.weight, 1, 0, d)};
    PARA_TRY(dev->ops->linear(dev, &(para_linear_args){.x = mid, .w = &of_mlp, .y = normed}));
    PARA_TRY(para_attention_end(rank, &p.job));
    PARA_TRY(
        dev->ops->linear(dev, &(para_linear_args){.x = attended, .w = &of_attention, .y = normed, .accumulate = true}));
    return dev->ops->residual(dev,
                              &(para_residual_args){.x = x, .gate = modulation_vector(m, item, mod, 2), .y = normed});
}

static para_status flux_block(para_transformer *t, para_rank *rank, para_item *item, int i) {
    const flux *m = (const flux *)t;
    size_t mark = para_arena_mark(&rank->device->arena);
    PARA_TRY(i < m->num_dual ? dual_forward(m, rank, item, i) : single_forward(m, rank, item, i - m->num_dual));
    para_arena_release(&rank->device->arena, mark);
    return PARA_OK;
}

/* Source: AdaLayerNormContinuous (scale first), proj_out. */
static para_status flux_head(para_transformer *t, para_rank *rank, para_item *item, para_tensor out) {
    flux *m = (flux *)t;
    para_device *dev = rank->device;
    size_t mark = para_arena_mark(&dev->arena);
    int64_t mod = modulation_offset(m, flux_num_blocks(t));
    para_tensor x = para_item_hidden_states(item), y;
    PARA_TRY(PARA_NEW(dev, &y, x.dtype, x.dim[0], t->inner_dim));
    para_norm_args norm = layer_norm(x, modulation_vector(m, item, mod, 1), modulation_vector(m, item, mod, 0), y);
    PARA_TRY(dev->ops->norm(dev, &norm));
    PARA_TRY(dev->ops->linear(dev, &(para_linear_args){.x = y, .w = &m->proj_out, .y = out}));
    para_arena_release(&dev->arena, mark);
    return PARA_OK;
}

static const para_transformer_table flux_table = {
    .class_name = "FluxTransformer2DModel",
    .close = flux_close,
    .weights = flux_weights,
    .prepare = flux_prepare,
    .embed = flux_embed,
    .num_blocks = flux_num_blocks,
    .block = flux_block,
    .head = flux_head,
};

static para_status read_config(flux *m, const para_config *c) {
    const int64_t any = 1 << 20;
    int64_t patch, out_channels, dual, single, axes = 3;
    para_transformer *t = &m->base;
    PARA_TRY(para_config_int_in(c, "patch_size", 1, 1, 64, &patch));
    PARA_TRY(para_config_int_in(c, "in_channels", 64, 1, any, &t->in_channels));
    PARA_TRY(para_config_int_in(c, "out_channels", t->in_channels, 1, any, &out_channels));
    PARA_TRY(para_config_int_in(c, "num_layers", 19, 0, MAX_BLOCKS, &dual));
    PARA_TRY(para_config_int_in(c, "num_single_layers", 38, 0, MAX_BLOCKS, &single));
    PARA_TRY(para_config_int_in(c, "attention_head_dim", 128, 2, 4096, &m->head_dim));
    PARA_TRY(para_config_int_in(c, "num_attention_heads", 24, 1, 4096, &m->base.heads));
    PARA_TRY(para_config_int_in(c, "joint_attention_dim", 4096, 1, any, &t->joint_attention_dim));
    PARA_TRY(para_config_int_in(c, "pooled_projection_dim", 768, 1, any, &t->pooled_projection_dim));
    PARA_TRY(para_config_bool(c, "guidance_embeds", false, &t->guidance_embeds));
    memcpy(m->axes_dims_rope, (int64_t[]){16, 56, 56}, sizeof m->axes_dims_rope);
    PARA_TRY(para_config_ints(c, "axes_dims_rope", m->axes_dims_rope, 3, &(int){3}));
    int64_t sum = 0;
    for (int i = 0; i < axes; i++) {
        int64_t dim = m->axes_dims_rope[i];
        if (dim < 0 || dim % 2 || dim > 4096)
            return para_fail(PARA_ERR_CONFIG,
                             "%s: axes_dims_rope holds %lld; every axis needs an even number of dimensions", c->path,
                             (long long)dim);
        sum += dim;
    }
    if (sum != m->head_dim)
        return para_fail(PARA_ERR_CONFIG,
                         "%s: axes_dims_rope adds up to %lld but attention_head_dim is %lld; they must be equal",
                         c->path, (long long)sum, (long long)m->head_dim);
    if (patch * patch * out_channels != t->in_channels)
        return para_fail(
            PARA_ERR_CONFIG,
            "%s: patch_size^2 x out_channels is %lld but in_channels is %lld; a text-to-image model needs both equal",
            c->path, (long long)(patch * patch * out_channels), (long long)t->in_channels);
    t->out_channels = patch * patch * out_channels;
    t->inner_dim = m->base.heads * m->head_dim;
    m->num_dual = (int)dual;
    m->num_single = (int)single;
    return PARA_OK;
}

para_status para_flux_open(para_transformer **out, const para_config *config) {
    flux *m = para_alloc(1, sizeof *m);
    if (!m) return PARA_ERR_MEMORY;
    m->base.table = &flux_table;
    para_status status = read_config(m, config);
    if (status == PARA_OK) {
        m->dual = para_alloc((size_t)m->num_dual, sizeof *m->dual);
        m->single = para_alloc((size_t)m->num_single, sizeof *m->single);
        if (!m->dual || !m->single) status = PARA_ERR_MEMORY;
    }
    if (status != PARA_OK) {
        flux_close(&m->base);
        return status;
    }
    *out = &m->base;
    return PARA_OK;
}
