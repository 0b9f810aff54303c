/* Wiring of an encoder or decoder. SPDX-License-Identifier: Apache-2.0 */
#include "vae/vae_half.h"

#include <stdio.h>

#include "core/alloc.h"
#include "core/error.h"

para_status para_vae_half_open(para_vae_half *h, const para_vae_shape *s, bool decoder) {
    int n = s->levels, per_level = (int)s->layers_per_block + decoder;
    int64_t narrow = s->block_out_channels[0], wide = s->block_out_channels[n - 1];
    *h = (para_vae_half){.decoder = decoder,
                         .video = s->video,
                         .levels = n,
                         .mid = wide,
                         .groups = (int)s->norm_num_groups,
                         .activation = s->act_fn};
    h->in = decoder ? s->latent_channels : s->in_channels;
    h->out = decoder ? s->out_channels : 2 * s->latent_channels;
    h->first = decoder ? wide : narrow;
    h->last = decoder ? narrow : wide;
    h->has_quant = decoder ? s->post_quant_conv : s->quant_conv;
    h->mid_block.add_attention = s->mid_block_add_attention;
    h->resnets = para_alloc((size_t)(n * per_level), sizeof *h->resnets);
    if (!h->resnets) return PARA_ERR_MEMORY;
    int64_t channels = h->first;
    for (int i = 0; i < n; i++) {
        para_vae_level *l = &h->level[i];
        l->in = channels;
        l->out = channels = s->block_out_channels[decoder ? n - 1 - i : i];
        l->num_resnets = per_level;
        l->resnets = h->resnets + i * per_level;
        l->in_space = s->in_space[i];
        l->in_time = s->in_time[i];
        l->resample = !l->in_space && !l->in_time ? PARA_VAE_SAME : decoder ? PARA_VAE_UP : PARA_VAE_DOWN;
    }
    return PARA_OK;
}

void para_vae_half_close(para_vae_half *h) {
    para_free(h->resnets);
    h->resnets = NULL;
}

void para_vae_half_weights(para_vae_half *h, para_weights *list, const para_checkpoint *checkpoint) {
    const char *name = h->decoder ? "decoder" : "encoder", *quant_name = h->decoder ? "post_quant_conv" : "quant_conv";
    char prefix[64];
    snprintf(prefix, sizeof prefix, "%s.mid_block.attentions.0.query.weight", name);
    bool old_names = checkpoint && para_checkpoint_find(checkpoint, prefix, &(para_tensor){0}, NULL);

    int64_t quant = h->decoder ? h->in : h->out;
    if (h->has_quant && h->video) para_weights_conv3d(list, &h->quant, quant, quant, 1, 1, 1, "%s", quant_name);
    else if (h->has_quant) para_weights_conv2d(list, &h->quant, quant, quant, 1, 1, "%s", quant_name);
    para_vae_conv_weights(&h->conv_in, list, h->video, h->first, h->in, 3, name, "conv_in");
    snprintf(prefix, sizeof prefix, "%s.mid_block", name);
    para_vae_mid_weights(&h->mid_block, list, h->video, h->mid, old_names, prefix);
    for (int i = 0; i < h->levels; i++) {
        snprintf(prefix, sizeof prefix, "%s.%s_blocks.%d", name, h->decoder ? "up" : "down", i);
        para_vae_level_weights(&h->level[i], list, h->video, prefix);
    }
    para_vae_norm_weights(&h->conv_norm_out, list, h->last, name, "conv_norm_out");
    para_vae_conv_weights(&h->conv_out, list, h->video, h->out, h->last, 3, name, "conv_out");
}

void para_vae_half_size(const para_vae_half *h, int64_t size[3]) {
    for (int i = 0; i < h->levels; i++) para_vae_level_size(&h->level[i], h->video, size);
}

/* Elements of the largest feature map on the way from x [1, f, h, w, in]. */
static int64_t map_elements(const para_vae_half *h, const para_tensor *x) {
    int64_t size[3] = {x->dim[1], x->dim[2], x->dim[3]}, most = size[0] * size[1] * size[2] * h->first;
    for (int i = 0; i < h->levels; i++) {
        int64_t n = para_vae_level_elements(&h->level[i], h->video, size);
        if (n > most) most = n;
        para_vae_level_size(&h->level[i], h->video, size);
    }
    return most;
}

/* conv_in to conv_act: x [f, h, w, in] into the map. */
static para_status body(const para_vae_half *h, para_vae_map *m, para_tensor x) {
    m->f = x.dim[0], m->h = x.dim[1], m->w = x.dim[2], m->c = h->first;
    PARA_TRY(para_vae_conv(m->dev, &h->conv_in, x, para_vae_map_tensor(m)));
    if (h->decoder) PARA_TRY(para_vae_mid_run(&h->mid_block, m));
    for (int i = 0; i < h->levels; i++) PARA_TRY(para_vae_level_run(&h->level[i], m));
    if (!h->decoder) PARA_TRY(para_vae_mid_run(&h->mid_block, m));
    para_tensor map = para_vae_map_tensor(m);
    return para_vae_group_norm(m, &h->conv_norm_out, PARA_ACT_SILU, map, map);
}

static para_tensor frames_of(para_tensor t) {
    return PARA_RESHAPE(t, t.dim[1], t.dim[2], t.dim[3], t.dim[4]);
}

para_status para_vae_half_run(const void *half, para_device *dev, para_tensor x, para_tensor y) {
    const para_vae_half *h = half;
    size_t mark = para_arena_mark(&dev->arena);
    para_vae_map m = {.dev = dev, .dtype = x.dtype, .groups = h->groups, .eps = 1e-6f, .activation = h->activation};
    para_tensor room, in = frames_of(x), out = frames_of(y), to = out; /* [f, h, w, C] */
    PARA_TRY(PARA_NEW(dev, &room, x.dtype, map_elements(h, &x)));
    m.data = room.data;
    if (h->has_quant && h->decoder) {
        PARA_TRY(para_new(dev, &in, x.dtype, 4, in.dim));
        PARA_TRY(para_vae_conv(dev, &h->quant, frames_of(x), in));
    } else if (h->has_quant) {
        PARA_TRY(para_new(dev, &to, x.dtype, 4, out.dim));
    }
    PARA_TRY(body(h, &m, in));
    PARA_TRY(para_vae_conv(dev, &h->conv_out, para_vae_map_tensor(&m), to));
    if (h->has_quant && !h->decoder) PARA_TRY(para_vae_conv(dev, &h->quant, to, out));
    para_arena_release(&dev->arena, mark);
    return PARA_OK;
}
