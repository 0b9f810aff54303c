/* MochiTransformer3DModel of diffusers: patches of a video and a narrower text, which meet in the attention of every block.
 * SPDX-License-Identifier: Apache-2.0 */
#include "model/mochi.h"

#include <string.h>

#include "core/alloc.h"
#include "core/error.h"
#include "model/mmdit_blocks.h"
#include "model/mochi_dit_block.h"
#include "model/mochi_rope.h"
#include "model/mochi_time_embed.h"

typedef struct mochi {
    para_transformer base;
    para_mochi_dims dims;
    para_mochi_time_embed time_embed;
    int64_t latent_channels, patch_size;
    para_linear patch_embed;     /* [D, C, p, p] */
    para_tensor pos_frequencies; /* [3, H, head_dim / 2] F32 */
    int num_layers;
    para_mochi_dit_block *block;    /* [num_layers] */
    para_linear norm_out, proj_out; /* [2D, D]; [p · p · C, D] */
} mochi;

static void mochi_close(para_transformer *t) {
    para_free(((mochi *)t)->block);
    para_free(t);
}

static void mochi_weights(para_transformer *t, para_weights *w) {
    mochi *m = (mochi *)t;
    int64_t d = t->inner_dim, p = m->patch_size, frequencies[] = {3, m->dims.heads, m->dims.head_dim / 2};
    para_weights_conv2d(w, &m->patch_embed, d, m->latent_channels, p, p, "patch_embed.proj");
    para_mochi_time_embed_weights(&m->time_embed, w, d, t->text_dim);
    para_weights_values(w, &m->pos_frequencies, 3, frequencies, "pos_frequencies");
    for (int i = 0; i < m->num_layers; i++) {
        para_weights_block(w, i);
        para_mochi_dit_block_weights(&m->block[i], &m->dims, w, i);
    }
    para_weights_block(w, PARA_NO_BLOCK);
    para_weights_linear(w, &m->norm_out, 2 * d, d, true, "norm_out.linear");
    para_weights_linear(w, &m->proj_out, t->out_channels, d, true, "proj_out");
}

static int mochi_num_blocks(const para_transformer *t) {
    return ((const mochi *)t)->num_layers;
}

/* ---- what does not depend on the latents */

/* Where the modulation of block i lies in a row of them, or in a tensor of rows, along `axis`; after the blocks 2 D of the head. */
static para_tensor modulation_of(const mochi *m, para_tensor all, int axis, int i) {
    int64_t length = i < m->num_layers ? para_mochi_modulation_length(&m->dims, m->block[i].context_pre_only)
                                       : 2 * m->base.inner_dim;
    int64_t at = i < m->num_layers ? i * para_mochi_modulation_length(&m->dims, false) : all.dim[axis] - length;
    return para_slice(all, axis, at, length);
}

static para_status all_modulations(const mochi *m, para_device *dev, const para_conditioning_inputs *in,
                                   para_tensor *out) {
    int64_t d = m->base.inner_dim, length = 2 * d;
    for (int i = 0; i < m->num_layers; i++)
        length += para_mochi_modulation_length(&m->dims, m->block[i].context_pre_only);
    PARA_TRY(PARA_NEW(dev, out, PARA_F32, in->steps, length));
    size_t mark = para_arena_mark(&dev->arena);
    para_tensor temb;
    PARA_TRY(PARA_NEW(dev, &temb, PARA_F32, in->steps, d));
    PARA_TRY(para_mochi_time_embed_run(&m->time_embed, dev, in->timesteps, in->steps, in->encoder_hidden_states, temb));
    PARA_TRY(dev->ops->activate(dev, PARA_ACT_SILU, temb, temb));
    for (int i = 0; i < m->num_layers; i++)
        PARA_TRY(para_mochi_dit_block_modulate(&m->block[i], &m->dims, dev, temb, modulation_of(m, *out, 1, i)));
    PARA_TRY(dev->ops->linear(
        dev, &(para_linear_args){.x = temb, .w = &m->norm_out, .y = modulation_of(m, *out, 1, m->num_layers)}));
    para_arena_release(&dev->arena, mark);
    return PARA_OK;
}

static para_status mochi_prepare(para_transformer *t, para_rank *rank, const para_conditioning_inputs *in,
                                 para_conditioning *out) {
    const mochi *m = (const mochi *)t;
    para_device *dev = rank->device;
    const para_shard *shard = &in->shard;
    para_tensor text = para_rows(in->encoder_hidden_states, shard->first[PARA_TEXT], shard->tokens[PARA_TEXT]);
    *out = (para_conditioning){.dtype = in->dtype, .shard = *shard};
    PARA_TRY(all_modulations(m, dev, in, &out->modulation));
    PARA_TRY(para_mochi_positions(dev, (int64_t[]){in->frames, in->height, in->width}, shard->first[PARA_IMAGE],
                                  shard->tokens[PARA_IMAGE], &out->rope_positions));
    PARA_TRY(PARA_NEW(dev, &out->text_hidden_states, in->dtype, text.dim[0], t->text_dim));
    return dev->ops->linear(
        dev, &(para_linear_args){.x = text, .w = &m->time_embed.caption_proj, .y = out->text_hidden_states});
}

/* ---- a step */

static para_status mochi_embed(para_transformer *t, para_rank *rank, para_item *item, para_tensor latents) {
    const mochi *m = (const mochi *)t;
    para_device *dev = rank->device;
    const para_linear patches = {PARA_RESHAPE(m->patch_embed.weight, t->inner_dim, t->in_channels),
                                 m->patch_embed.bias};
    PARA_TRY(
        dev->ops->linear(dev, &(para_linear_args){.x = latents, .w = &patches, .y = para_item_hidden_states(item)}));
    return dev->ops->copy(dev, para_item_encoder_hidden_states(item), item->conditioning->text_hidden_states);
}

static para_status mochi_block(para_transformer *t, para_rank *rank, para_item *item, int i) {
    const mochi *m = (const mochi *)t;
    size_t mark = para_arena_mark(&rank->device->arena);
    para_mochi_turn turn = {
        .index = i, .modulation = modulation_of(m, item->modulation, 0, i), .pos_frequencies = m->pos_frequencies};
    bool last = i + 1 == m->num_layers;
    if (!last) turn.next = modulation_of(m, item->modulation, 0, i + 1);
    PARA_TRY(para_mochi_dit_block_run(&m->block[i], &m->dims, rank, item, &turn));
    item->normed_for = last ? -1 : i + 1;
    para_arena_release(&rank->device->arena, mark);
    return PARA_OK;
}

/* A token of the prediction as proj_out gives it, [p · p, C], in the order of the latents': [C, p · p]. */
static para_status turn_patches(const mochi *m, para_device *dev, para_tensor y, para_tensor out) {
    int64_t n = y.dim[0], c = m->latent_channels, area = m->patch_size * m->patch_size;
    para_tensor from = PARA_RESHAPE(y, n, area, c);
    para_tensor to = {
        .dtype = out.dtype, .rank = 3, .dim = {n, c, area}, .stride = {out.stride[0], area, 1}, .data = out.data};
    return dev->ops->copy(dev, to, PARA_PERMUTE(from, 0, 2, 1));
}

/* Source: AdaLayerNormContinuous (scale first), proj_out. */
static para_status mochi_head(para_transformer *t, para_rank *rank, para_item *item, para_tensor out) {
    const mochi *m = (const mochi *)t;
    para_device *dev = rank->device;
    size_t mark = para_arena_mark(&dev->arena);
    int64_t d = t->inner_dim;
    para_tensor x = para_item_hidden_states(item), normed, y,
                modulation = modulation_of(m, item->modulation, 0, m->num_layers);
    PARA_TRY(PARA_NEW(dev, &normed, x.dtype, x.dim[0], d));
    PARA_TRY(PARA_NEW(dev, &y, out.dtype, x.dim[0], t->out_channels));
    para_norm_args norm =
        para_modulated_norm(x, para_slice(modulation, 0, d, d), para_slice(modulation, 0, 0, d), normed);
    PARA_TRY(dev->ops->norm(dev, &norm));
    PARA_TRY(dev->ops->linear(dev, &(para_linear_args){.x = normed, .w = &m->proj_out, .y = y}));
    PARA_TRY(turn_patches(m, dev, y, out));
    para_arena_release(&dev->arena, mark);
    return PARA_OK;
}

static const para_transformer_table mochi_table = {
    .class_name = "MochiTransformer3DModel",
    .close = mochi_close,
    .weights = mochi_weights,
    .prepare = mochi_prepare,
    .embed = mochi_embed,
    .num_blocks = mochi_num_blocks,
    .block = mochi_block,
    .head = mochi_head,
};

/* ---- config */

enum { MOST = 1 << 20 /* channels and the like */, MOST_BLOCKS = 1024 };

static para_status must_divide(const para_config *c, const char *key, int64_t value, int64_t by, const char *why) {
    if (value % by == 0) return PARA_OK;
    return para_fail(PARA_ERR_CONFIG, "%s: %s is %lld; it must be a multiple of %lld, for %s", c->path, key,
                     (long long)value, (long long)by, why);
}

static para_status read_widths(mochi *m, const para_config *c) {
    para_transformer *t = &m->base;
    PARA_TRY(para_config_int_in(c, "num_attention_heads", 24, 1, 4096, &t->heads));
    PARA_TRY(para_config_int_in(c, "attention_head_dim", 128, 2, 4096, &m->dims.head_dim));
    PARA_TRY(para_config_int_in(c, "pooled_projection_dim", 1536, 1, MOST, &t->text_dim));
    PARA_TRY(para_config_int_in(c, "text_embed_dim", 4096, 1, MOST, &t->joint_attention_dim));
    PARA_TRY(para_config_int_in(c, "time_embed_dim", 256, 2, MOST, &m->time_embed.time_embed_dim));
    PARA_TRY(must_divide(c, "attention_head_dim", m->dims.head_dim, 2, "values turn in pairs"));
    PARA_TRY(
        must_divide(c, "time_embed_dim", m->time_embed.time_embed_dim, 2, "every frequency has a sine and a cosine"));
    PARA_TRY(must_divide(c, "text_embed_dim", t->joint_attention_dim, PARA_MOCHI_POOL_HEADS,
                         "the heads that pool the text"));
    t->inner_dim = t->heads * m->dims.head_dim;
    m->time_embed.text_embed_dim = t->joint_attention_dim;
    m->dims.heads = t->heads;
    m->dims.width[PARA_IMAGE] = t->inner_dim;
    m->dims.width[PARA_TEXT] = t->text_dim;
    return PARA_OK;
}

static para_status read_channels(mochi *m, const para_config *c) {
    int64_t out_channels;
    PARA_TRY(para_config_int_in(c, "patch_size", 2, 1, 64, &m->patch_size));
    PARA_TRY(para_config_int_in(c, "in_channels", 12, 1, 4096, &m->latent_channels));
    PARA_TRY(para_config_int_in(c, "out_channels", m->latent_channels, 1, 4096, &out_channels));
    m->base.in_channels = m->base.out_channels = m->latent_channels * m->patch_size * m->patch_size;
    if (out_channels == m->latent_channels) return PARA_OK;
    return para_fail(PARA_ERR_CONFIG,
                     "%s: out_channels is %lld but in_channels is %lld; a text-to-video model needs both equal",
                     c->path, (long long)out_channels, (long long)m->latent_channels);
}

static para_status read_config(mochi *m, const para_config *c) {
    int64_t layers;
    const char *activation;
    PARA_TRY(para_config_int_in(c, "num_layers", 48, 1, MOST_BLOCKS, &layers));
    PARA_TRY(para_config_string(c, "activation_fn", "swiglu", &activation));
    if (strcmp(activation, "swiglu") != 0)
        return para_fail(PARA_ERR_CONFIG, "%s: activation_fn is \"%s\"; only \"swiglu\" is supported", c->path,
                         activation);
    PARA_TRY(read_channels(m, c));
    PARA_TRY(read_widths(m, c));
    m->base.norms_ahead = true;
    m->num_layers = (int)layers;
    m->block = para_alloc((size_t)layers, sizeof *m->block);
    if (!m->block) return PARA_ERR_MEMORY;
    m->block[layers - 1].context_pre_only = true;
    return PARA_OK;
}

para_status para_mochi_open(para_transformer **out, const para_config *config) {
    mochi *m = para_alloc(1, sizeof *m);
    if (!m) return PARA_ERR_MEMORY;
    m->base.table = &mochi_table;
    para_status status = read_config(m, config);
    if (status != PARA_OK) {
        mochi_close(&m->base);
        return status;
    }
    *out = &m->base;
    return PARA_OK;
}

int64_t para_mochi_patch(const para_transformer *t) {
    return ((const mochi *)t)->patch_size;
}
