/* Dual-stream, then single-stream blocks: config, modulation, rotary tables, head. SPDX-License-Identifier: Apache-2.0 */
#include "model/mmdit.h"

#include <string.h>

#include "core/alloc.h"
#include "core/error.h"
#include "model/embeddings.h"

void para_mmdit_close(para_transformer *t) {
    para_mmdit *m = (para_mmdit *)t;
    para_free(m->dual);
    para_free(m->single);
    para_free(m);
}

void para_mmdit_weights(para_mmdit *m, para_weights *w) {
    int64_t d = m->dims.inner_dim;
    para_time_text_embed_weights(&m->time_text_embed, w, d, "time_text_embed");
    /* Modulation is prepared before the blocks run. */
    for (int i = 0; i < m->num_dual; i++) {
        para_weights_block(w, i);
        para_dual_block_weights(&m->dual[i], &m->dims, w, i);
        for (int s = 0; s < PARA_SEGMENTS; s++) para_weights_stays(w, &m->dual[i].stream[s].modulation);
    }
    for (int i = 0; i < m->num_single; i++) {
        para_weights_block(w, m->num_dual + i);
        para_single_block_weights(&m->single[i], &m->dims, w, i);
        para_weights_stays(w, &m->single[i].modulation);
    }
    para_weights_block(w, PARA_NO_BLOCK);
    para_weights_linear(w, &m->norm_out, 2 * d, d, true, "norm_out.linear");
    para_weights_linear(w, &m->proj_out, m->base.out_channels, d, true, "proj_out");
}

int para_mmdit_num_blocks(const para_transformer *t) {
    const para_mmdit *m = (const para_mmdit *)t;
    return m->num_dual + m->num_single;
}

/* Where the modulation of a block lies in a row of them (or a tensor of rows) along `axis`: 12 D a dual block, 3 D a single one, and
 * after the blocks 2 D of the head. */
static para_tensor modulation_of(const para_mmdit *m, para_tensor all, int axis, int block) {
    int64_t d = m->dims.inner_dim, dual = block < m->num_dual ? block : m->num_dual;
    int64_t length = block < m->num_dual ? 12 * d : block < m->num_dual + m->num_single ? 3 * d : 2 * d;
    return para_slice(all, axis, 12 * d * dual + 3 * d * (block - dual), length);
}

static int64_t modulation_length(const para_mmdit *m) {
    return m->dims.inner_dim * (12 * m->num_dual + 3 * m->num_single + 2);
}

/* ---- what does not depend on the latents */

static para_status all_modulations(const para_mmdit *m, para_device *dev, const para_conditioning_inputs *in,
                                   para_tensor modulation) {
    size_t mark = para_arena_mark(&dev->arena);
    int64_t d = m->dims.inner_dim;
    para_tensor temb;
    PARA_TRY(PARA_NEW(dev, &temb, PARA_F32, in->steps, d));
    PARA_TRY(para_time_text_embed_run(&m->time_text_embed, dev, in->timesteps, in->steps, in->guidance_scale,
                                      in->pooled_projections, temb));
    PARA_TRY(dev->ops->activate(dev, PARA_ACT_SILU, temb, temb));
    for (int i = 0; i <= m->num_dual + m->num_single; i++) {
        para_tensor y = modulation_of(m, modulation, 1, i);
        if (i < m->num_dual) {
            for (int s = 0; s < PARA_SEGMENTS; s++) {
                para_tensor of_stream = para_slice(y, 1, 6 * d * s, 6 * d);
                PARA_TRY(dev->ops->linear(
                    dev, &(para_linear_args){.x = temb, .w = &m->dual[i].stream[s].modulation, .y = of_stream}));
            }
        } else {
            bool last = i == m->num_dual + m->num_single;
            const para_linear *w = last ? &m->norm_out : &m->single[i - m->num_dual].modulation;
            PARA_TRY(dev->ops->linear(dev, &(para_linear_args){.x = temb, .w = w, .y = y}));
        }
    }
    para_arena_release(&dev->arena, mark);
    return PARA_OK;
}

/* A table of the shard's rows: those of the grid, then text at position 0. whole: host [tokens of the grid, dim]; NULL: a dry device's, which reads none. */
static para_status upload_table(const para_mmdit *m, para_device *dev, const para_shard *shard, const float *whole,
                                float text, para_tensor *out) {
    int64_t tokens = para_shard_tokens(shard), dim = m->dims.head_dim, image = shard->tokens[PARA_IMAGE] * dim;
    PARA_TRY(PARA_NEW(dev, out, PARA_F32, tokens, dim));
    if (!whole) return dev->ops->upload(dev, *out, NULL);
    float *host = para_alloc((size_t)(tokens * dim), sizeof *host);
    if (!host) return PARA_ERR_MEMORY;
    memcpy(host, whole + shard->first[PARA_IMAGE] * dim, (size_t)image * sizeof *host);
    for (int64_t i = image; i < tokens * dim; i++) host[i] = text;
    para_status status = dev->ops->upload(dev, *out, host);
    para_free(host);
    return status;
}

/* Rotary tables: the grid, then text at position 0 (cos 1, sin 0). */
static para_status rope_tables(const para_mmdit *m, para_device *dev, const para_conditioning_inputs *in,
                               para_conditioning *out) {
    int64_t n = in->frames * in->height * in->width * m->dims.head_dim;
    if (strcmp(dev->ops->name, "dry") == 0) { /* a plan is made on many of these, and the tables of a video are large */
        PARA_TRY(upload_table(m, dev, &out->shard, NULL, 1.0f, &out->cos));
        return upload_table(m, dev, &out->shard, NULL, 0.0f, &out->sin);
    }
    float *whole = para_alloc((size_t)(2 * n), sizeof *whole);
    if (!whole) return PARA_ERR_MEMORY;
    para_rope_grid(whole, whole + n, (int64_t[]){in->frames, in->height, in->width}, m->rope_axes, m->rope_theta);
    para_status status = upload_table(m, dev, &out->shard, whole, 1.0f, &out->cos);
    if (status == PARA_OK) status = upload_table(m, dev, &out->shard, whole + n, 0.0f, &out->sin);
    para_free(whole);
    return status;
}

para_status para_mmdit_prepare(const para_mmdit *m, para_rank *rank, const para_conditioning_inputs *in,
                               para_conditioning *out) {
    *out = (para_conditioning){.dtype = in->dtype, .shard = in->shard};
    PARA_TRY(PARA_NEW(rank->device, &out->modulation, PARA_F32, in->steps, modulation_length(m)));
    PARA_TRY(all_modulations(m, rank->device, in, out->modulation));
    return rope_tables(m, rank->device, in, out);
}

/* ---- a step */

para_status para_mmdit_block(para_transformer *t, para_rank *rank, para_item *item, int i) {
    const para_mmdit *m = (const para_mmdit *)t;
    size_t mark = para_arena_mark(&rank->device->arena);
    int64_t streams = i + 1 < m->num_dual ? 6 * m->dims.inner_dim : 0; /* a single block has one modulation for all */
    para_block_turn turn = {.index = i, .modulation = modulation_of(m, item->modulation, 0, i)};
    for (int s = 0; s < PARA_SEGMENTS && i + 1 < para_mmdit_num_blocks(t); s++)
        turn.next[s] = para_slice(modulation_of(m, item->modulation, 0, i + 1), 0, s * streams, 2 * m->dims.inner_dim);
    PARA_TRY(i < m->num_dual ? para_dual_block_run(&m->dual[i], &m->dims, rank, item, &turn)
                             : para_single_block_run(&m->single[i - m->num_dual], &m->dims, rank, item, &turn));
    item->normed_for = turn.next[0].data ? i + 1 : -1;
    para_arena_release(&rank->device->arena, mark);
    return PARA_OK;
}

/* Source: AdaLayerNormContinuous (scale first), proj_out. */
para_status para_mmdit_head(para_transformer *t, para_rank *rank, para_item *item, para_tensor out) {
    const para_mmdit *m = (const para_mmdit *)t;
    para_device *dev = rank->device;
    size_t mark = para_arena_mark(&dev->arena);
    int64_t d = m->dims.inner_dim;
    para_tensor x = para_item_hidden_states(item), y,
                modulation = modulation_of(m, item->modulation, 0, para_mmdit_num_blocks(t));
    PARA_TRY(PARA_NEW(dev, &y, x.dtype, x.dim[0], d));
    para_norm_args norm = para_modulated_norm(x, para_slice(modulation, 0, d, d), para_slice(modulation, 0, 0, d), y);
    PARA_TRY(dev->ops->norm(dev, &norm));
    PARA_TRY(dev->ops->linear(dev, &(para_linear_args){.x = y, .w = &m->proj_out, .y = out}));
    para_arena_release(&dev->arena, mark);
    return PARA_OK;
}

/* ---- config */

static para_status read_axes(para_mmdit *m, const para_config *c, const char *key) {
    int axes = 3;
    int64_t sum = 0;
    memcpy(m->rope_axes, (int64_t[]){16, 56, 56}, sizeof m->rope_axes);
    PARA_TRY(para_config_ints(c, key, m->rope_axes, 3, &axes));
    if (axes != 3) return para_fail(PARA_ERR_CONFIG, "%s: %s has %d numbers; three axes need 3", c->path, key, axes);
    for (int i = 0; i < axes; i++) {
        int64_t dim = m->rope_axes[i];
        if (dim < 0 || dim % 2 || dim > 4096)
            return para_fail(PARA_ERR_CONFIG, "%s: %s holds %lld; every axis needs an even number of dimensions",
                             c->path, key, (long long)dim);
        sum += dim;
    }
    if (sum == m->dims.head_dim) return PARA_OK;
    return para_fail(PARA_ERR_CONFIG, "%s: %s adds up to %lld but attention_head_dim is %lld; they must be equal",
                     c->path, key, (long long)sum, (long long)m->dims.head_dim);
}

para_status para_mmdit_read(para_mmdit *m, const para_config *c, const para_mmdit_defaults *defaults) {
    para_transformer *t = &m->base;
    int64_t dual, single;
    PARA_TRY(para_config_int_in(c, "num_layers", defaults->num_layers, 0, PARA_MMDIT_MOST_BLOCKS, &dual));
    PARA_TRY(
        para_config_int_in(c, "num_single_layers", defaults->num_single_layers, 0, PARA_MMDIT_MOST_BLOCKS, &single));
    PARA_TRY(para_config_int_in(c, "attention_head_dim", 128, 2, 4096, &m->dims.head_dim));
    PARA_TRY(para_config_int_in(c, "num_attention_heads", 24, 1, 4096, &t->heads));
    PARA_TRY(para_config_int_in(c, "pooled_projection_dim", 768, 1, PARA_MMDIT_MOST, &t->pooled_projection_dim));
    PARA_TRY(para_config_bool(c, "guidance_embeds", defaults->guidance_embeds, &t->guidance_embeds));
    PARA_TRY(read_axes(m, c, defaults->rope_axes_key));
    t->inner_dim = t->heads * m->dims.head_dim;
    t->norms_ahead = true;
    m->dims.inner_dim = t->inner_dim;
    m->dims.heads = t->heads;
    m->time_text_embed.pooled_projection_dim = t->pooled_projection_dim;
    m->time_text_embed.guidance_embeds = t->guidance_embeds;
    m->num_dual = (int)dual;
    m->num_single = (int)single;
    m->dual = para_alloc((size_t)dual, sizeof *m->dual);
    m->single = para_alloc((size_t)single, sizeof *m->single);
    return m->dual && m->single ? PARA_OK : PARA_ERR_MEMORY;
}
