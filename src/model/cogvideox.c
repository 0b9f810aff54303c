/* CogVideoXTransformer3DModel of diffusers: patches of a video and text, with positions of either kind, through blocks that both share.
 * SPDX-License-Identifier: Apache-2.0 */
#include "model/cogvideox.h"

#include "core/alloc.h"
#include "core/error.h"
#include "model/cogvideox_block.h"
#include "model/cogvideox_positions.h"
#include "model/time_text_embed.h"

typedef struct cogvideox {
    para_transformer base;
    para_cogvideox_config c;
    para_tensor proj;      /* patch_embed.proj.weight [D, C, p, p], or [D, C · p_t · p · p] */
    para_tensor proj_bias; /* [D], or none */
    para_linear text_proj;
    para_tensor pos_embedding; /* [1, max_text_seq_length + tokens, D], or none */
    para_mlp_embedder time_embedding;
    para_cogvideox_block *block; /* [num_layers] */
    para_affine_norm norm_final, norm_out_norm;
    para_linear norm_out, proj_out;
} cogvideox;

static void cogvideox_close(para_transformer *t) {
    para_free(((cogvideox *)t)->block);
    para_free(t);
}

/* Tokens of the video that pos_embedding is of. */
static void trained_grid(const para_cogvideox_config *c, int64_t grid[3]) {
    grid[0] = (c->sample_frames - 1) / c->temporal_compression_ratio + 1;
    grid[1] = c->sample_height / c->patch_size;
    grid[2] = c->sample_width / c->patch_size;
}

static void patch_embed_weights(cogvideox *m, para_weights *w) {
    const para_cogvideox_config *c = &m->c;
    int64_t d = c->inner_dim, p = c->patch_size, grid[3];
    if (c->patch_size_t)
        para_weights_tensor(w, &m->proj, 2, (int64_t[]){d, m->base.in_channels}, "patch_embed.proj.weight");
    else para_weights_tensor(w, &m->proj, 4, (int64_t[]){d, c->in_channels, p, p}, "patch_embed.proj.weight");
    if (c->patch_size_t || c->patch_bias) para_weights_vector(w, &m->proj_bias, d, "patch_embed.proj.bias");
    para_weights_linear(w, &m->text_proj, d, c->text_embed_dim, true, "patch_embed.text_proj");
    if (!c->use_learned_positional_embeddings) return;
    trained_grid(c, grid);
    para_weights_tensor(w, &m->pos_embedding, 3,
                        (int64_t[]){1, c->max_text_seq_length + grid[0] * grid[1] * grid[2], d},
                        "patch_embed.pos_embedding");
}

static void cogvideox_weights(para_transformer *t, para_weights *w) {
    cogvideox *m = (cogvideox *)t;
    const para_cogvideox_config *c = &m->c;
    int64_t d = c->inner_dim;
    patch_embed_weights(m, w);
    para_mlp_embedder_weights(w, &m->time_embedding, d, c->time_embed_dim, "time_embedding");
    for (int i = 0; i < c->num_layers; i++) {
        para_weights_block(w, i);
        para_cogvideox_block_weights(&m->block[i], c, w, i);
    }
    para_weights_block(w, PARA_NO_BLOCK);
    if (c->norm_elementwise_affine) {
        para_affine_norm_weights(&m->norm_final, w, d, "norm_final");
        para_affine_norm_weights(&m->norm_out_norm, w, d, "norm_out.norm");
    }
    para_weights_linear(w, &m->norm_out, 2 * d, c->time_embed_dim, true, "norm_out.linear");
    para_weights_linear(w, &m->proj_out, t->out_channels, d, true, "proj_out");
}

static int cogvideox_num_blocks(const para_transformer *t) {
    return (int)((const cogvideox *)t)->c.num_layers;
}

/* ---- what does not depend on the latents */

/* temb [steps, time_embed_dim] F32, activated as the norms want it. Source: Timesteps, TimestepEmbedding. */
static para_status time_embedding(const cogvideox *m, para_device *dev, const para_conditioning_inputs *in,
                                  para_tensor temb) {
    const para_cogvideox_config *c = &m->c;
    const para_sinusoids form = {.dim = c->inner_dim, .sin_first = !c->flip_sin_to_cos, .freq_shift = c->freq_shift};
    size_t mark = para_arena_mark(&dev->arena);
    para_tensor x;
    PARA_TRY(para_time_proj(dev, in->timesteps, in->steps, form, &x));
    PARA_TRY(para_mlp_embedder_run(dev, &m->time_embedding, c->timestep_activation_fn, x, temb, false));
    PARA_TRY(dev->ops->activate(dev, PARA_ACT_SILU, temb, temb));
    para_arena_release(&dev->arena, mark);
    return PARA_OK;
}

/* modulation [steps, num_layers · 12 D + 2 D] F32: of every block, then shift and scale of norm_out. */
static para_status all_modulations(const cogvideox *m, para_device *dev, const para_conditioning_inputs *in,
                                   para_tensor modulation) {
    size_t mark = para_arena_mark(&dev->arena);
    int64_t d = m->c.inner_dim, column = 0;
    para_tensor temb;
    PARA_TRY(PARA_NEW(dev, &temb, PARA_F32, in->steps, m->c.time_embed_dim));
    PARA_TRY(time_embedding(m, dev, in, temb));
    for (int i = 0; i <= 2 * m->c.num_layers; i++) {
        const para_cogvideox_block *b = &m->block[i / 2];
        const para_linear *w = i == 2 * m->c.num_layers ? &m->norm_out : i % 2 ? &b->norm2.linear : &b->norm1.linear;
        int64_t width = i == 2 * m->c.num_layers ? 2 * d : 6 * d;
        para_tensor y = para_slice(modulation, 1, column, width);
        PARA_TRY(dev->ops->linear(dev, &(para_linear_args){.x = temb, .w = w, .y = y}));
        column += width;
    }
    para_arena_release(&dev->arena, mark);
    return PARA_OK;
}

static para_token_range range_of(const para_conditioning_inputs *in) {
    return (para_token_range){.grid = {in->frames, in->height, in->width},
                              .first = in->shard.first[PARA_IMAGE],
                              .count = in->shard.tokens[PARA_IMAGE]};
}

/* Rotary tables of the shard's rows: of the grid; text is not turned (cos 1, sin 0). */
static para_status rotary_tables(const cogvideox *m, para_device *dev, const para_conditioning_inputs *in,
                                 para_conditioning *out) {
    int64_t rows = para_shard_tokens(&in->shard), d = m->c.attention_head_dim, n = rows * d;
    para_token_range range = range_of(in);
    PARA_TRY(PARA_NEW(dev, &out->cos, PARA_F32, rows, d));
    PARA_TRY(PARA_NEW(dev, &out->sin, PARA_F32, rows, d));
    float *cosines = para_alloc((size_t)(2 * n), sizeof *cosines), *sines = cosines + n;
    if (!cosines) return PARA_ERR_MEMORY;
    para_status status = para_cogvideox_rotary(&m->c, &range, cosines, sines);
    for (int64_t i = range.count * d; i < n; i++) {
        cosines[i] = 1;
        sines[i] = 0;
    }
    if (status == PARA_OK) status = dev->ops->upload(dev, out->cos, cosines);
    if (status == PARA_OK) status = dev->ops->upload(dev, out->sin, sines);
    para_free(cosines);
    return status;
}

static para_status upload_sincos(const cogvideox *m, para_device *dev, const para_conditioning_inputs *in,
                                 para_tensor positions) {
    size_t mark = para_arena_mark(&dev->arena);
    para_token_range range = range_of(in);
    para_tensor whole;
    PARA_TRY(para_new(dev, &whole, PARA_F32, 2, positions.dim));
    float *host = para_alloc((size_t)para_tensor_count(&whole), sizeof *host);
    if (!host) return PARA_ERR_MEMORY;
    para_status status = para_cogvideox_sincos(&m->c, &range, host);
    if (status == PARA_OK) status = dev->ops->upload(dev, whole, host);
    para_free(host);
    PARA_TRY(status);
    PARA_TRY(dev->ops->copy(dev, positions, whole));
    para_arena_release(&dev->arena, mark);
    return PARA_OK;
}

/* Learned positions are used for as many frames as they were made for, those of the text with them; else sincos ones stand in for them, as in diffusers. */
static para_status add_positions(const cogvideox *m, para_device *dev, const para_conditioning_inputs *in,
                                 para_conditioning *out) {
    const para_shard *shard = &in->shard;
    para_tensor text = out->text_hidden_states, all = m->pos_embedding;
    int64_t grid[3];
    trained_grid(&m->c, grid);
    PARA_TRY(PARA_NEW(dev, &out->positions, in->dtype, shard->tokens[PARA_IMAGE], m->c.inner_dim));
    bool trained = (in->frames - 1) * m->c.temporal_compression_ratio + 1 == m->c.sample_frames;
    if (!all.data || !trained) return upload_sincos(m, dev, in, out->positions);
    all = PARA_RESHAPE(all, all.dim[1], all.dim[2]);
    PARA_TRY(
        dev->ops->copy(dev, out->positions,
                       para_rows(all, m->c.max_text_seq_length + shard->first[PARA_IMAGE], shard->tokens[PARA_IMAGE])));
    return dev->ops->combine(dev, text, 2,
                             (para_tensor[]){text, para_rows(all, shard->first[PARA_TEXT], shard->tokens[PARA_TEXT])},
                             (float[]){1, 1});
}

static para_status cogvideox_prepare(para_transformer *t, para_rank *rank, const para_conditioning_inputs *in,
                                     para_conditioning *out) {
    const cogvideox *m = (const cogvideox *)t;
    para_device *dev = rank->device;
    int64_t d = m->c.inner_dim;
    PARA_TRY(
        para_cogvideox_check_size(&m->c, (int64_t[]){in->frames, in->height, in->width}, in->shard.total[PARA_TEXT]));
    para_tensor text = para_rows(in->encoder_hidden_states, in->shard.first[PARA_TEXT], in->shard.tokens[PARA_TEXT]);
    *out = (para_conditioning){.dtype = in->dtype, .shard = in->shard};
    PARA_TRY(
        PARA_NEW(dev, &out->modulation, PARA_F32, in->steps, d * (m->c.num_layers * PARA_COGVIDEOX_MODULATION + 2)));
    PARA_TRY(all_modulations(m, dev, in, out->modulation));
    PARA_TRY(PARA_NEW(dev, &out->text_hidden_states, in->dtype, text.dim[0], d));
    PARA_TRY(dev->ops->linear(dev, &(para_linear_args){.x = text, .w = &m->text_proj, .y = out->text_hidden_states}));
    if (para_cogvideox_adds_positions(&m->c)) PARA_TRY(add_positions(m, dev, in, out));
    return m->c.use_rotary_positional_embeddings ? rotary_tables(m, dev, in, out) : PARA_OK;
}

/* ---- a step */

static para_status cogvideox_embed(para_transformer *t, para_rank *rank, para_item *item, para_tensor latents) {
    const cogvideox *m = (const cogvideox *)t;
    const para_conditioning *c = item->conditioning;
    para_device *dev = rank->device;
    para_linear proj = {.weight = PARA_RESHAPE(m->proj, t->inner_dim, t->in_channels), .bias = m->proj_bias};
    para_tensor x = para_item_hidden_states(item);
    bool positions = c->positions.data != NULL;
    if (positions) PARA_TRY(dev->ops->copy(dev, x, c->positions));
    PARA_TRY(dev->ops->linear(dev, &(para_linear_args){.x = latents, .w = &proj, .y = x, .accumulate = positions}));
    return dev->ops->copy(dev, para_item_encoder_hidden_states(item), c->text_hidden_states);
}

static para_status cogvideox_block_of(para_transformer *t, para_rank *rank, para_item *item, int i) {
    const cogvideox *m = (const cogvideox *)t;
    size_t mark = para_arena_mark(&rank->device->arena);
    PARA_TRY(para_cogvideox_block_run(m->block, (int)m->c.num_layers, i, &m->c, rank, item, item->modulation));
    para_arena_release(&rank->device->arena, mark);
    return PARA_OK;
}

/* norm_final, norm_out (AdaLayerNorm: shift first), proj_out. */
static para_status cogvideox_head(para_transformer *t, para_rank *rank, para_item *item, para_tensor out) {
    const cogvideox *m = (const cogvideox *)t;
    para_device *dev = rank->device;
    size_t mark = para_arena_mark(&dev->arena);
    int64_t d = m->c.inner_dim, first = m->c.num_layers * PARA_COGVIDEOX_MODULATION * d;
    para_tensor x = para_item_hidden_states(item), y, z, none = {0};
    PARA_TRY(PARA_NEW(dev, &y, x.dtype, x.dim[0], d));
    PARA_TRY(PARA_NEW(dev, &z, x.dtype, x.dim[0], d));
    para_norm_args final = para_cogvideox_modulated(&m->c, &m->norm_final, none, none, x, y),
                   norm_out =
                       para_cogvideox_modulated(&m->c, &m->norm_out_norm, para_slice(item->modulation, 0, first, d),
                                                para_slice(item->modulation, 0, first + d, d), y, z);
    PARA_TRY(dev->ops->norm(dev, &final));
    PARA_TRY(dev->ops->norm(dev, &norm_out));
    PARA_TRY(dev->ops->linear(dev, &(para_linear_args){.x = z, .w = &m->proj_out, .y = out}));
    para_arena_release(&dev->arena, mark);
    return PARA_OK;
}

static const para_transformer_table cogvideox_table = {
    .class_name = "CogVideoXTransformer3DModel",
    .close = cogvideox_close,
    .weights = cogvideox_weights,
    .prepare = cogvideox_prepare,
    .embed = cogvideox_embed,
    .num_blocks = cogvideox_num_blocks,
    .block = cogvideox_block_of,
    .head = cogvideox_head,
};

para_status para_cogvideox_open(para_transformer **out, const para_config *config) {
    cogvideox *m = para_alloc(1, sizeof *m);
    if (!m) return PARA_ERR_MEMORY;
    para_transformer *t = &m->base;
    para_status status = para_cogvideox_config_read(&m->c, config);
    if (status == PARA_OK) {
        /* One more than there are, so that a model without any has an array, too. */
        m->block = para_alloc((size_t)m->c.num_layers + 1, sizeof *m->block);
        if (!m->block) status = PARA_ERR_MEMORY;
    }
    if (status != PARA_OK) {
        cogvideox_close(t);
        return status;
    }
    const para_cogvideox_config *c = &m->c;
    t->table = &cogvideox_table;
    t->in_channels = t->out_channels = c->in_channels * para_cogvideox_patch_frames(c) * c->patch_size * c->patch_size;
    t->inner_dim = c->inner_dim;
    t->heads = c->num_attention_heads;
    t->joint_attention_dim = c->text_embed_dim;
    t->norms_ahead = true;
    *out = t;
    return PARA_OK;
}

const para_cogvideox_config *para_cogvideox_config_of(const para_transformer *t) {
    return &((const cogvideox *)t)->c;
}

void para_cogvideox_patch(const para_transformer *t, int64_t *patch_size_t, int64_t *patch_size) {
    const para_cogvideox_config *c = para_cogvideox_config_of(t);
    *patch_size_t = para_cogvideox_patch_frames(c);
    *patch_size = c->patch_size;
}

para_status para_cogvideox_check_size(const para_cogvideox_config *c, const int64_t grid[3], int64_t text_tokens) {
    int64_t rows = c->sample_height / c->patch_size, columns = c->sample_width / c->patch_size;
    if (para_cogvideox_adds_positions(c) && text_tokens != c->max_text_seq_length)
        return para_fail(PARA_ERR_ARGUMENT,
                         "this CogVideoX transformer takes exactly %lld text tokens (max_text_seq_length in its "
                         "config.json), not %lld",
                         (long long)c->max_text_seq_length, (long long)text_tokens);
    if (c->use_learned_positional_embeddings && (grid[1] != rows || grid[2] != columns))
        return para_fail(PARA_ERR_ARGUMENT,
                         "this CogVideoX transformer has learned positions of %lld x %lld tokens; a video of %lld x "
                         "%lld tokens has other sizes",
                         (long long)rows, (long long)columns, (long long)grid[1], (long long)grid[2]);
    if (c->patch_size_t && c->use_rotary_positional_embeddings && (grid[1] > rows || grid[2] > columns))
        return para_fail(PARA_ERR_ARGUMENT,
                         "this CogVideoX transformer has positions for %lld x %lld tokens; a video of %lld x %lld "
                         "tokens is larger",
                         (long long)rows, (long long)columns, (long long)grid[1], (long long)grid[2]);
    return PARA_OK;
}
