/* HunyuanVideoTransformer3DModel of diffusers: patches of a video, text from a token refiner, then dual-stream and single-stream blocks.
 * SPDX-License-Identifier: Apache-2.0 */
#include "model/hunyuan_video.h"

#include <math.h>
#include <string.h>

#include "core/alloc.h"
#include "core/error.h"
#include "model/mmdit.h"
#include "model/token_refiner.h"

typedef struct hunyuan_video {
    para_mmdit mmdit;
    para_token_refiner context_embedder;
    para_linear x_embedder; /* [D, C · patch_size_t · patch_size²] */
    int64_t latent_channels, patch_size_t, patch_size;
} hunyuan_video;

static void hunyuan_close(para_transformer *t) {
    para_token_refiner_close(&((hunyuan_video *)t)->context_embedder);
    para_mmdit_close(t);
}

static void hunyuan_weights(para_transformer *t, para_weights *w) {
    hunyuan_video *m = (hunyuan_video *)t;
    para_mmdit_weights(&m->mmdit, w);
    para_token_refiner_weights(&m->context_embedder, w);
    para_weights_patches(w, &m->x_embedder, t->inner_dim, m->latent_channels, m->patch_size_t, m->patch_size,
                         m->patch_size, "x_embedder.proj");
}

static para_status hunyuan_prepare(para_transformer *t, para_rank *rank, const para_conditioning_inputs *in,
                                   para_conditioning *out) {
    const hunyuan_video *m = (const hunyuan_video *)t;
    PARA_TRY(para_mmdit_prepare(&m->mmdit, rank, in, out));
    PARA_TRY(PARA_NEW(rank->device, &out->text_hidden_states, in->dtype, in->steps, in->shard.tokens[PARA_TEXT],
                      t->inner_dim));
    return para_token_refiner_run(&m->context_embedder, rank, in, out->text_hidden_states);
}

static para_status hunyuan_embed(para_transformer *t, para_rank *rank, para_item *item, para_tensor latents) {
    const hunyuan_video *m = (const hunyuan_video *)t;
    para_device *dev = rank->device;
    para_tensor text = item->conditioning->text_hidden_states;
    PARA_TRY(dev->ops->linear(
        dev, &(para_linear_args){.x = latents, .w = &m->x_embedder, .y = para_item_hidden_states(item)}));
    return dev->ops->copy(dev, para_item_encoder_hidden_states(item),
                          PARA_RESHAPE(para_rows(text, item->step, 1), text.dim[1], text.dim[2]));
}

static const para_transformer_table hunyuan_table = {
    .class_name = "HunyuanVideoTransformer3DModel",
    .close = hunyuan_close,
    .weights = hunyuan_weights,
    .prepare = hunyuan_prepare,
    .embed = hunyuan_embed,
    .num_blocks = para_mmdit_num_blocks,
    .block = para_mmdit_block,
    .head = para_mmdit_head,
};

/* What only models of other kinds have. */
static para_status refuse_other_kinds(const para_config *c) {
    const char *image, *norm;
    PARA_TRY(para_config_string(c, "image_condition_type", "", &image));
    PARA_TRY(para_config_string(c, "qk_norm", "rms_norm", &norm));
    if (*image)
        return para_fail(PARA_ERR_CONFIG,
                         "%s: image_condition_type is \"%s\"; only models that make videos from text are supported, "
                         "which have null",
                         c->path, image);
    if (strcmp(norm, "rms_norm") == 0) return PARA_OK;
    return para_fail(PARA_ERR_CONFIG, "%s: qk_norm is \"%s\"; only \"rms_norm\" is supported", c->path, norm);
}

/* mlp_ratio and rope_theta. */
static para_status read_numbers(para_mmdit *m, const para_config *c) {
    double mlp_ratio;
    PARA_TRY(para_config_number(c, "mlp_ratio", 4.0, &mlp_ratio));
    PARA_TRY(para_config_number(c, "rope_theta", 256.0, &m->rope_theta));
    if (!(mlp_ratio * (double)m->dims.inner_dim >= 1 && mlp_ratio <= 64))
        return para_fail(PARA_ERR_CONFIG, "%s: mlp_ratio is %g; it must lie between 0 and 64", c->path, mlp_ratio);
    if (!(m->rope_theta > 0 && isfinite(m->rope_theta)))
        return para_fail(PARA_ERR_CONFIG, "%s: rope_theta is %g; it must be above 0", c->path, m->rope_theta);
    m->dims.mlp_dim = (int64_t)(mlp_ratio * (double)m->dims.inner_dim);
    return PARA_OK;
}

static para_status read_channels(hunyuan_video *m, const para_config *c) {
    para_transformer *t = &m->mmdit.base;
    int64_t out_channels;
    PARA_TRY(para_config_int_in(c, "patch_size", 2, 1, 64, &m->patch_size));
    PARA_TRY(para_config_int_in(c, "patch_size_t", 1, 1, 64, &m->patch_size_t));
    PARA_TRY(para_config_int_in(c, "in_channels", 16, 1, 4096, &m->latent_channels));
    PARA_TRY(para_config_int_in(c, "out_channels", m->latent_channels, 1, 4096, &out_channels));
    PARA_TRY(para_config_int_in(c, "text_embed_dim", 4096, 1, PARA_MMDIT_MOST, &t->joint_attention_dim));
    t->in_channels = t->out_channels = m->latent_channels * m->patch_size_t * m->patch_size * m->patch_size;
    if (out_channels == m->latent_channels) return PARA_OK;
    return para_fail(PARA_ERR_CONFIG,
                     "%s: out_channels is %lld but in_channels is %lld; a text-to-video model needs both equal",
                     c->path, (long long)out_channels, (long long)m->latent_channels);
}

static para_status read_config(hunyuan_video *m, const para_config *c) {
    static const para_mmdit_defaults defaults = {
        .num_layers = 20, .num_single_layers = 40, .guidance_embeds = true, .rope_axes_key = "rope_axes_dim"};
    const para_transformer *t = &m->mmdit.base;
    int64_t refiner_layers;
    PARA_TRY(refuse_other_kinds(c));
    PARA_TRY(para_config_int_in(c, "num_refiner_layers", 2, 0, PARA_MMDIT_MOST_BLOCKS, &refiner_layers));
    PARA_TRY(read_channels(m, c));
    PARA_TRY(para_mmdit_read(&m->mmdit, c, &defaults));
    PARA_TRY(read_numbers(&m->mmdit, c));
    return para_token_refiner_open(&m->context_embedder, t->joint_attention_dim, t->inner_dim, t->heads,
                                   (int)refiner_layers);
}

para_status para_hunyuan_video_open(para_transformer **out, const para_config *config) {
    hunyuan_video *m = para_alloc(1, sizeof *m);
    if (!m) return PARA_ERR_MEMORY;
    m->mmdit.base.table = &hunyuan_table;
    para_status status = read_config(m, config);
    if (status != PARA_OK) {
        hunyuan_close(&m->mmdit.base);
        return status;
    }
    *out = &m->mmdit.base;
    return PARA_OK;
}

void para_hunyuan_video_patch(const para_transformer *t, int64_t *patch_size_t, int64_t *patch_size) {
    const hunyuan_video *m = (const hunyuan_video *)t;
    *patch_size_t = m->patch_size_t;
    *patch_size = m->patch_size;
}
