/* FluxTransformer2DModel of diffusers: dual-stream blocks, then single-stream blocks over image and text.
 * SPDX-License-Identifier: Apache-2.0 */
#include "model/flux.h"

#include "core/alloc.h"
#include "core/error.h"
#include "model/mmdit.h"

enum { MLP_RATIO = 4 };
static const double ROPE_THETA = 10000.0;

typedef struct flux {
    para_mmdit mmdit;
    para_linear context_embedder, x_embedder;
} flux;

static void flux_weights(para_transformer *t, para_weights *w) {
    flux *m = (flux *)t;
    para_mmdit_weights(&m->mmdit, w);
    para_weights_linear(w, &m->context_embedder, t->inner_dim, t->joint_attention_dim, true, "context_embedder");
    para_weights_linear(w, &m->x_embedder, t->inner_dim, t->in_channels, true, "x_embedder");
}

static para_status flux_prepare(para_transformer *t, para_rank *rank, const para_conditioning_inputs *in,
                                para_conditioning *out) {
    const flux *m = (const flux *)t;
    para_device *dev = rank->device;
    para_tensor text = para_rows(in->encoder_hidden_states, in->shard.first[PARA_TEXT], in->shard.tokens[PARA_TEXT]);
    PARA_TRY(para_mmdit_prepare(&m->mmdit, rank, in, out));
    PARA_TRY(PARA_NEW(dev, &out->text_hidden_states, in->dtype, text.dim[0], t->inner_dim));
    return dev->ops->linear(dev,
                            &(para_linear_args){.x = text, .w = &m->context_embedder, .y = out->text_hidden_states});
}

static para_status flux_embed(para_transformer *t, para_rank *rank, para_item *item, para_tensor latents) {
    const flux *m = (const flux *)t;
    para_device *dev = rank->device;
    PARA_TRY(dev->ops->linear(
        dev, &(para_linear_args){.x = latents, .w = &m->x_embedder, .y = para_item_hidden_states(item)}));
    return dev->ops->copy(dev, para_item_encoder_hidden_states(item), item->conditioning->text_hidden_states);
}

static const para_transformer_table flux_table = {
    .class_name = "FluxTransformer2DModel",
    .close = para_mmdit_close,
    .weights = flux_weights,
    .prepare = flux_prepare,
    .embed = flux_embed,
    .num_blocks = para_mmdit_num_blocks,
    .block = para_mmdit_block,
    .head = para_mmdit_head,
};

static para_status read_config(flux *m, const para_config *c) {
    static const para_mmdit_defaults defaults = {
        .num_layers = 19, .num_single_layers = 38, .rope_axes_key = "axes_dims_rope"};
    int64_t patch, out_channels;
    para_transformer *t = &m->mmdit.base;
    PARA_TRY(para_config_int_in(c, "patch_size", 1, 1, 64, &patch));
    PARA_TRY(para_config_int_in(c, "in_channels", 64, 1, PARA_MMDIT_MOST, &t->in_channels));
    PARA_TRY(para_config_int_in(c, "out_channels", t->in_channels, 1, PARA_MMDIT_MOST, &out_channels));
    PARA_TRY(para_config_int_in(c, "joint_attention_dim", 4096, 1, PARA_MMDIT_MOST, &t->joint_attention_dim));
    PARA_TRY(para_mmdit_read(&m->mmdit, c, &defaults));
    t->out_channels = patch * patch * out_channels;
    m->mmdit.dims.mlp_dim = MLP_RATIO * t->inner_dim;
    m->mmdit.rope_theta = ROPE_THETA;
    if (t->out_channels == t->in_channels) return PARA_OK;
    return para_fail(
        PARA_ERR_CONFIG,
        "%s: patch_size^2 x out_channels is %lld but in_channels is %lld; a text-to-image model needs both equal",
        c->path, (long long)t->out_channels, (long long)t->in_channels);
}

para_status para_flux_open(para_transformer **out, const para_config *config) {
    flux *m = para_alloc(1, sizeof *m);
    if (!m) return PARA_ERR_MEMORY;
    m->mmdit.base.table = &flux_table;
    para_status status = read_config(m, config);
    if (status != PARA_OK) {
        para_mmdit_close(&m->mmdit.base);
        return status;
    }
    *out = &m->mmdit.base;
    return PARA_OK;
}
