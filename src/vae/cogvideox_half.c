/* Wiring of AutoencoderKLCogVideoX's encoder or decoder. SPDX-License-Identifier: Apache-2.0 */
#include "vae/cogvideox_half.h"

#include <stdio.h>
#include <string.h>

#include "core/alloc.h"
#include "core/error.h"

enum { NAME_MAX_BYTES = 128, LATENT_FRAMES = 2, SAMPLE_FRAMES = 8 /* diffusers' batches */ };

static int time_levels(int64_t ratio) {
    int n = 0;
    while ((int64_t)1 << n < ratio) n++;
    return n;
}

para_status para_cogvideox_half_open(para_cogvideox_half *h, const para_autoencoder_kl_cogvideox_config *c,
                                     bool decoder) {
    int n = c->levels, per_level = (int)c->layers_per_block + decoder;
    int64_t narrow = c->block_out_channels[0], wide = c->block_out_channels[n - 1];
    *h = (para_cogvideox_half){
        .decoder = decoder, .levels = n, .mid = wide, .groups = (int)c->norm_num_groups, .activation = c->act_fn};
    h->in = decoder ? c->latent_channels : c->in_channels;
    h->out = decoder ? c->out_channels : 2 * c->latent_channels;
    h->first = decoder ? wide : narrow;
    h->last = decoder ? narrow : wide;
    h->batch = decoder ? LATENT_FRAMES : SAMPLE_FRAMES;
    h->eps = decoder ? 1e-6f : (float)c->norm_eps;
    h->has_quant = decoder ? c->use_post_quant_conv : c->use_quant_conv;
    h->convs = 2 + 2 * PARA_COGVIDEOX_MID + 2 * n * per_level;
    h->resnets = para_alloc((size_t)(n * per_level), sizeof *h->resnets);
    if (!h->resnets) return PARA_ERR_MEMORY;
    for (int i = 0; i < PARA_COGVIDEOX_MID; i++) h->mid_block[i].in = h->mid_block[i].out = wide;
    int64_t channels = h->first;
    for (int i = 0; i < n; i++) {
        para_vae_level *l = &h->level[i];
        l->in = channels;
        l->out = channels = c->block_out_channels[decoder ? n - 1 - i : i];
        l->num_resnets = per_level;
        l->resnets = h->resnets + i * per_level;
        for (int k = 0; k < per_level; k++) l->resnets[k].in = k ? l->out : l->in, l->resnets[k].out = l->out;
        l->in_space = i + 1 < n;
        l->in_time = l->in_space && i < time_levels(c->temporal_compression_ratio);
        l->resample = !l->in_space ? PARA_VAE_SAME : decoder ? PARA_VAE_UP : PARA_VAE_DOWN;
    }
    return PARA_OK;
}

void para_cogvideox_half_close(para_cogvideox_half *h) {
    para_free(h->resnets);
    h->resnets = NULL;
}

/* Conditioned in the decoder: by latents of so many channels; 0: not. */
static void norm_weights(para_vae_norm *n, para_weights *list, int64_t channels, int64_t condition, const char *prefix,
                         const char *name) {
    char norm[NAME_MAX_BYTES];
    if (condition == 0) {
        para_vae_norm_weights(n, list, channels, prefix, name);
        return;
    }
    snprintf(norm, sizeof norm, "%s.norm_layer", name);
    para_vae_norm_weights(n, list, channels, prefix, norm);
    para_weights_conv3d(list, &n->conv_y, channels, condition, 1, 1, 1, "%s.%s.conv_y.conv", prefix, name);
    para_weights_conv3d(list, &n->conv_b, channels, condition, 1, 1, 1, "%s.%s.conv_b.conv", prefix, name);
}

static void resnet_weights(para_vae_resnet *r, para_weights *list, int64_t condition, const char *prefix, int index) {
    char name[NAME_MAX_BYTES];
    snprintf(name, sizeof name, "%s.resnets.%d", prefix, index);
    norm_weights(&r->norm1, list, r->in, condition, name, "norm1");
    para_vae_conv_weights(&r->conv1, list, true, r->out, r->in, 3, name, "conv1");
    norm_weights(&r->norm2, list, r->out, condition, name, "norm2");
    para_vae_conv_weights(&r->conv2, list, true, r->out, r->out, 3, name, "conv2");
    if (r->in != r->out) para_weights_conv3d(list, &r->conv_shortcut, r->out, r->in, 1, 1, 1, "%s.conv_shortcut", name);
}

void para_cogvideox_half_weights(para_cogvideox_half *h, para_weights *list) {
    const char *name = h->decoder ? "decoder" : "encoder";
    int64_t condition = h->decoder ? h->in : 0, quant = h->decoder ? h->in : h->out;
    char prefix[64];
    if (h->has_quant)
        para_weights_conv3d(list, &h->quant, quant, quant, 1, 1, 1, "%s",
                            h->decoder ? "post_quant_conv" : "quant_conv");
    para_vae_conv_weights(&h->conv_in, list, true, h->first, h->in, 3, name, "conv_in");
    snprintf(prefix, sizeof prefix, "%s.mid_block", name);
    for (int i = 0; i < PARA_COGVIDEOX_MID; i++) resnet_weights(&h->mid_block[i], list, condition, prefix, i);
    for (int i = 0; i < h->levels; i++) {
        para_vae_level *l = &h->level[i];
        snprintf(prefix, sizeof prefix, "%s.%s_blocks.%d", name, h->decoder ? "up" : "down", i);
        for (int k = 0; k < l->num_resnets; k++) resnet_weights(&l->resnets[k], list, condition, prefix, k);
        if (l->resample != PARA_VAE_SAME)
            para_weights_conv2d(list, &l->conv, l->out, l->out, 3, 3, "%s.%s.0.conv", prefix,
                                h->decoder ? "upsamplers" : "downsamplers");
    }
    norm_weights(&h->norm_out, list, h->last, condition, name, "norm_out");
    para_vae_conv_weights(&h->conv_out, list, true, h->out, h->last, 3, name, "conv_out");
}

/* The first frame stays by itself where their number is odd. */
static void level_size(const para_vae_level *l, int64_t size[3]) {
    bool up = l->resample == PARA_VAE_UP, odd = size[0] % 2;
    if (l->resample == PARA_VAE_SAME) return;
    if (l->in_time) size[0] = up ? (odd ? 2 * size[0] - 1 : 2 * size[0]) : (size[0] + odd) / 2;
    for (int i = 1; i < 3; i++) size[i] = up ? 2 * size[i] : size[i] / 2;
}

static void batch_size(const para_cogvideox_half *h, int64_t size[3]) {
    for (int i = 0; i < h->levels; i++) level_size(&h->level[i], size);
}

/* How many batches `frames` make, and the first frame of the i-th, i at most as many: fewer than a batch are one, and what is left over comes with the first. */
static int64_t batches_of(const para_cogvideox_half *h, int64_t frames) {
    return frames < h->batch ? 1 : frames / h->batch;
}

static int64_t batch_start(const para_cogvideox_half *h, int64_t frames, int64_t i) {
    return i == 0 ? 0 : frames < h->batch ? frames : h->batch * i + frames % h->batch;
}

void para_cogvideox_half_size(const para_cogvideox_half *h, int64_t size[3]) {
    int64_t frames = size[0], sum = 0, made[3] = {0};
    for (int64_t i = 0; i < batches_of(h, frames); i++) {
        memcpy(made, (int64_t[]){batch_start(h, frames, i + 1) - batch_start(h, frames, i), size[1], size[2]},
               sizeof made);
        batch_size(h, made);
        sum += made[0];
    }
    memcpy(size, (int64_t[]){sum, made[1], made[2]}, sizeof made);
}

/* Elements of the largest feature map of a batch of so many frames, height and width. */
static int64_t map_elements(const para_cogvideox_half *h, int64_t frames, int64_t height, int64_t width) {
    int64_t size[3] = {frames, height, width}, most = frames * height * width * h->first;
    for (int i = 0; i < h->levels; i++) {
        const para_vae_level *l = &h->level[i];
        int64_t before = size[0] * size[1] * size[2] * (l->in > l->out ? l->in : l->out);
        level_size(l, size);
        int64_t after = size[0] * size[1] * size[2] * l->out;
        most = before > most ? before : most;
        most = after > most ? after : most;
    }
    return most;
}

/* ---- What the convolutions carry from batch to batch */

static para_status new_last(para_device *dev, para_vae_carry *c, para_dtype type, int64_t channels,
                            const int64_t size[3]) {
    return PARA_NEW(dev, &c->last[c->next++], type, 1, 2, size[1], size[2], channels);
}

static para_status new_pair(para_device *dev, para_vae_carry *c, para_dtype type, const para_vae_resnet *r,
                            const int64_t size[3]) {
    PARA_TRY(new_last(dev, c, type, r->in, size));
    return new_last(dev, c, type, r->out, size);
}

static para_status new_middle(const para_cogvideox_half *h, para_device *dev, para_vae_carry *c, para_dtype type,
                              const int64_t size[3]) {
    for (int i = 0; i < PARA_COGVIDEOX_MID; i++) PARA_TRY(new_pair(dev, c, type, &h->mid_block[i], size));
    return PARA_OK;
}

/* Room for the last frames that each convolution sees, in the order in which they run. */
static para_status make_carry(const para_cogvideox_half *h, para_device *dev, para_vae_carry *c, const para_tensor *x) {
    int64_t size[3] = {1, x->dim[2], x->dim[3]};
    PARA_TRY(new_last(dev, c, x->dtype, h->in, size));
    if (h->decoder) PARA_TRY(new_middle(h, dev, c, x->dtype, size));
    for (int i = 0; i < h->levels; i++) {
        for (int k = 0; k < h->level[i].num_resnets; k++)
            PARA_TRY(new_pair(dev, c, x->dtype, &h->level[i].resnets[k], size));
        level_size(&h->level[i], size);
    }
    if (!h->decoder) PARA_TRY(new_middle(h, dev, c, x->dtype, size));
    return new_last(dev, c, x->dtype, h->last, size);
}

/* ---- A batch */

static para_tensor as_video(para_tensor t) {
    return PARA_RESHAPE(t, 1, t.dim[0], t.dim[1], t.dim[2], t.dim[3]);
}

static void set_size(para_vae_map *m, const int64_t size[3]) {
    m->f = size[0], m->h = size[1], m->w = size[2];
}

/* Of the map's own: [f, h, w, C], larger; of each frame by itself. */
static para_status upsample(const para_vae_level *l, para_vae_map *m) {
    const int64_t *w = l->conv.weight.dim;
    para_linear frames = {PARA_RESHAPE(l->conv.weight, w[0], w[1], 1, w[2], w[3]), l->conv.bias};
    para_tensor x, map = para_vae_map_tensor(m); /* [f, h, w, C] */
    int64_t size[3] = {m->f, m->h, m->w};
    PARA_TRY(para_new(m->dev, &x, m->dtype, 4, map.dim));
    PARA_TRY(m->dev->ops->copy(m->dev, x, map));
    level_size(l, size);
    set_size(m, size);
    return m->dev->ops->conv3d(m->dev, &(para_conv3d_args){.x = as_video(x),
                                                           .grown = {size[0], size[1], size[2]},
                                                           .w = &frames,
                                                           .stride_t = 1,
                                                           .stride = 1,
                                                           .pad_h = 1,
                                                           .pad_w = 1,
                                                           .y = as_video(para_vae_map_tensor(m))});
}

/* Pairs of frames become their mean, where they are; the first of an odd number stays. */
static para_status halve_frames(para_vae_map *m) {
    int64_t odd = m->f % 2, count = m->f / 2;
    for (int64_t i = 0; i < count; i++) {
        para_tensor map = para_vae_map_tensor(m),
                    pair[2] = {para_rows(map, odd + 2 * i, 1), para_rows(map, odd + 2 * i + 1, 1)};
        PARA_TRY(m->dev->ops->combine(m->dev, para_rows(map, odd + i, 1), 2, pair, (float[]){0.5f, 0.5f}));
    }
    m->f = odd + count;
    return PARA_OK;
}

static para_status downsample(const para_vae_level *l, para_vae_map *m) {
    para_tensor down; /* [f, h / 2, w / 2, C] */
    if (l->in_time) PARA_TRY(halve_frames(m));
    PARA_TRY(PARA_NEW(m->dev, &down, m->dtype, m->f, m->h / 2, m->w / 2, m->c));
    PARA_TRY(m->dev->ops->conv2d(
        m->dev,
        &(para_conv2d_args){
            .x = para_vae_map_tensor(m), .w = &l->conv, .stride = 2, .pad_bottom = 1, .pad_right = 1, .y = down}));
    m->h /= 2, m->w /= 2;
    return m->dev->ops->copy(m->dev, para_vae_map_tensor(m), down);
}

static para_status level_run(const para_vae_level *l, para_vae_map *m) {
    for (int i = 0; i < l->num_resnets; i++) PARA_TRY(para_vae_resnet_run(&l->resnets[i], m));
    if (l->resample == PARA_VAE_SAME) return PARA_OK;
    size_t mark = para_arena_mark(&m->dev->arena);
    PARA_TRY(para_device_check(m->dev));
    PARA_TRY(l->resample == PARA_VAE_UP ? upsample(l, m) : downsample(l, m));
    para_arena_release(&m->dev->arena, mark);
    return PARA_OK;
}

static para_status middle_run(const para_cogvideox_half *h, para_vae_map *m) {
    for (int i = 0; i < PARA_COGVIDEOX_MID; i++) PARA_TRY(para_vae_resnet_run(&h->mid_block[i], m));
    return PARA_OK;
}

/* x [f, h, w, in], y [F, H, W, out] */
static para_status run_batch(const para_cogvideox_half *h, para_vae_map *m, para_tensor x, para_tensor y) {
    para_tensor in = x, out = y;
    size_t mark = para_arena_mark(&m->dev->arena);
    if (h->has_quant) PARA_TRY(para_new(m->dev, h->decoder ? &in : &out, x.dtype, 4, h->decoder ? x.dim : y.dim));
    if (h->has_quant && h->decoder) PARA_TRY(para_vae_conv(m->dev, &h->quant, x, in));
    if (h->decoder) m->carry->condition = in;
    m->f = x.dim[0], m->h = x.dim[1], m->w = x.dim[2], m->c = h->first;
    m->eps = h->eps;
    PARA_TRY(para_vae_map_conv(m, &h->conv_in, in, para_vae_map_tensor(m)));
    if (h->decoder) PARA_TRY(middle_run(h, m));
    for (int i = 0; i < h->levels; i++) PARA_TRY(level_run(&h->level[i], m));
    if (!h->decoder) PARA_TRY(middle_run(h, m));
    para_tensor map = para_vae_map_tensor(m);
    m->eps = 1e-6f;
    PARA_TRY(para_vae_group_norm(m, &h->norm_out, PARA_ACT_SILU, map, map));
    PARA_TRY(para_vae_map_conv(m, &h->conv_out, map, out));
    if (h->has_quant && !h->decoder) PARA_TRY(para_vae_conv(m->dev, &h->quant, out, y));
    para_arena_release(&m->dev->arena, mark);
    return PARA_OK;
}

/* What a batch becomes: its own place in y, or room that batches take turns in; the first is the longest. [F, H, W, out] */
static para_status make_output(const para_cogvideox_half *h, para_device *dev, const para_tensor *x, para_tensor *out) {
    int64_t size[3] = {batch_start(h, x->dim[1], 1), x->dim[2], x->dim[3]};
    batch_size(h, size);
    return PARA_NEW(dev, out, x->dtype, size[0], size[1], size[2], h->out);
}

/* x [1, f, h, w, in] into y [F, H, W, out], or with `pieces` there, batch by batch. */
static para_status run_batches(const para_cogvideox_half *h, para_vae_map *m, para_tensor x, para_tensor y,
                               const para_vae_sink *pieces) {
    int64_t frames = x.dim[1], batches = batches_of(h, frames), at = 0;
    para_tensor from = PARA_RESHAPE(x, frames, x.dim[2], x.dim[3], x.dim[4]), room;
    if (batches > 1) PARA_TRY(make_carry(h, m->dev, m->carry, &x));
    if (pieces) PARA_TRY(make_output(h, m->dev, &x, &y));
    PARA_TRY(
        PARA_NEW(m->dev, &room, x.dtype,
                 map_elements(h, batch_start(h, frames, 1), x.dim[2], x.dim[3]))); /* the first has the most frames */
    m->data = room.data;
    for (int64_t i = 0; i < batches; i++) {
        int64_t first = batch_start(h, frames, i),
                size[3] = {batch_start(h, frames, i + 1) - first, x.dim[2], x.dim[3]};
        para_tensor part = para_rows(from, first, size[0]);
        batch_size(h, size);
        m->carry->next = 0;
        m->carry->first = i == 0;
        m->carry->final = i + 1 == batches;
        para_tensor to = para_rows(y, pieces ? 0 : at, size[0]);
        PARA_TRY(run_batch(h, m, part, to));
        if (pieces) PARA_TRY(pieces->put(pieces->user, 0, at, to));
        at += size[0];
    }
    return PARA_OK;
}

static para_status run_all(const para_cogvideox_half *h, para_device *dev, para_tensor x, para_tensor y,
                           const para_vae_sink *pieces) {
    para_vae_carry carry = {0};
    para_vae_map m = {.dev = dev, .dtype = x.dtype, .groups = h->groups, .activation = h->activation, .carry = &carry};
    size_t mark = para_arena_mark(&dev->arena);
    if (batches_of(h, x.dim[1]) > 1) {
        carry.last = para_alloc((size_t)h->convs, sizeof *carry.last);
        if (!carry.last) return PARA_ERR_MEMORY;
    }
    para_status status = run_batches(h, &m, x, y, pieces);
    para_free(carry.last);
    para_arena_release(&dev->arena, mark);
    return status;
}

para_status para_cogvideox_half_run(const void *half, para_device *dev, para_tensor x, para_tensor y) {
    return run_all(half, dev, x, PARA_RESHAPE(y, y.dim[1], y.dim[2], y.dim[3], y.dim[4]), NULL);
}

para_status para_cogvideox_half_run_in_pieces(const void *half, para_device *dev, para_tensor x,
                                              const para_vae_sink *pieces) {
    return run_all(half, dev, x, (para_tensor){0}, pieces);
}
