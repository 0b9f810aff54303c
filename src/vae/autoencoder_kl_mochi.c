/* AutoencoderKLMochi: wiring of its encoder and decoder, whole or in tiles of space. SPDX-License-Identifier: Apache-2.0 */
#include "vae/autoencoder_kl_mochi.h"

#include <math.h>
#include <stdio.h>

#include "core/alloc.h"
#include "core/error.h"
#include "vae/autoencoder_kl_mochi_config.h"
#include "vae/mochi_blocks.h"
#include "vae/mochi_features.h"
#include "vae/vae_batch.h"

enum { MAX_BLOCKS = PARA_VAE_MAX_LEVELS + 1, BATCH = 2 /* frames of latents that are decoded at a time: diffusers' num_latent_frames_batch_size */ };

/* Encoder: proj_in of pixels and features, block_in, down blocks, block_out, norm_out, act, proj_out. Decoder: conv_in, block_in, up blocks, block_out,
 * act, proj_out. */
typedef struct half {
    bool decoder;
    int64_t in, out; /* channels of latents or pixels that go in, and come out */
    int64_t first, last;
    int64_t temporal_ratio;
    para_activation activation;
    para_linear proj_in, proj_out;
    para_vae_norm norm_out; /* encoder */
    int convs; /* in time, of all blocks */
    int blocks;
    para_mochi_block block[MAX_BLOCKS];
    para_vae_resnet *resnets; /* of all blocks */
    para_mochi_attention *attentions;
} half;

struct para_autoencoder_kl_mochi {
    para_autoencoder_kl_mochi_config config;
    para_mochi_tiles tiles;
    half decoder, encoder;
};

/* Sets the sizes of a half: n levels make n + 1 blocks, the first and the last of which change no size. */
static para_status half_open(half *h, const para_autoencoder_kl_mochi_config *c, bool decoder) {
    int n = c->levels, layers = 0;
    const int64_t *channels = decoder ? c->decoder_block_out_channels : c->encoder_block_out_channels;
    *h = (half){.decoder = decoder, .blocks = n + 1, .activation = c->act_fn, .temporal_ratio = c->temporal_ratio};
    h->in = decoder ? c->latent_channels : c->in_channels / PARA_MOCHI_FEATURES;
    h->out = decoder ? c->out_channels : 2 * c->latent_channels;
    h->first = channels[decoder ? n - 1 : 0];
    h->last = channels[decoder ? 0 : n - 1];
    for (int i = 0; i <= n; i++) {
        int level = decoder ? n - i : i; /* of layers_per_block */
        bool mid = i == 0 || i == n;
        para_mochi_block *b = &h->block[i];
        *b = (para_mochi_block){.kind = mid       ? PARA_MOCHI_MID
                                        : decoder ? PARA_MOCHI_UP
                                                  : PARA_MOCHI_DOWN,
                                .in_time = 1,
                                .in_space = 1};
        b->layers = (int)c->layers_per_block[level];
        b->add_attention = !decoder && c->add_attention_block[level];
        b->in = b->out = i == 0 ? h->first : h->last;
        layers += b->layers;
        if (mid) continue;
        b->in = channels[decoder ? level : level - 1];
        b->out = channels[decoder ? level - 1 : level];
        b->in_time = c->temporal_expansions[level - 1];
        b->in_space = c->spatial_expansions[level - 1];
    }
    h->resnets = para_alloc((size_t)layers + 1, sizeof *h->resnets);
    h->attentions = para_alloc((size_t)layers + 1, sizeof *h->attentions);
    if (!h->resnets || !h->attentions) return PARA_ERR_MEMORY;
    h->convs = 2 * layers;
    for (int i = n; i >= 0; i--) {
        layers -= h->block[i].layers;
        h->block[i].resnets = h->resnets + layers;
        h->block[i].attentions = h->attentions + layers;
    }
    return PARA_OK;
}

static void half_close(half *h) {
    para_free(h->resnets);
    para_free(h->attentions);
}

para_status para_autoencoder_kl_mochi_open(para_autoencoder_kl_mochi **out, const para_config *config) {
    *out = NULL;
    para_autoencoder_kl_mochi *vae = para_alloc(1, sizeof *vae);
    if (!vae) return PARA_ERR_MEMORY;
    para_status status;
    vae->tiles = (para_mochi_tiles){256, 256, 192, 192};
    PARA_TRY_GOTO(status, fail, para_autoencoder_kl_mochi_config_read(&vae->config, config));
    PARA_TRY_GOTO(status, fail, half_open(&vae->decoder, &vae->config, true));
    PARA_TRY_GOTO(status, fail, half_open(&vae->encoder, &vae->config, false));
    *out = vae;
    return PARA_OK;
fail:
    para_autoencoder_kl_mochi_close(&vae);
    return status;
}

void para_autoencoder_kl_mochi_close(para_autoencoder_kl_mochi **vae) {
    if (!*vae) return;
    half_close(&(*vae)->decoder);
    half_close(&(*vae)->encoder);
    para_free(*vae);
    *vae = NULL;
}

const para_autoencoder_kl_mochi_config *para_autoencoder_kl_mochi_settings(const para_autoencoder_kl_mochi *vae) {
    return &vae->config;
}

para_mochi_tiles *para_autoencoder_kl_mochi_tiles(para_autoencoder_kl_mochi *vae) {
    return &vae->tiles;
}

static void half_weights(half *h, para_weights *list) {
    const char *name = h->decoder ? "decoder" : "encoder";
    char prefix[64];
    if (h->decoder) para_weights_conv3d(list, &h->proj_in, h->first, h->in, 1, 1, 1, "%s.conv_in", name);
    else para_weights_linear(list, &h->proj_in, h->first, h->in * PARA_MOCHI_FEATURES, true, "%s.proj_in", name);
    for (int i = 0; i < h->blocks; i++) {
        if (i == 0 || i + 1 == h->blocks) snprintf(prefix, sizeof prefix, "%s.block_%s", name, i ? "out" : "in");
        else snprintf(prefix, sizeof prefix, "%s.%s_blocks.%d", name, h->decoder ? "up" : "down", i - 1);
        para_mochi_block_weights(&h->block[i], list, prefix);
    }
    if (!h->decoder) para_mochi_norm_weights(&h->norm_out, list, h->last, name, "norm_out");
    para_weights_linear(list, &h->proj_out, h->out, h->last, h->decoder, "%s.proj_out", name);
}

void para_autoencoder_kl_mochi_weights(para_autoencoder_kl_mochi *vae, para_weights *list, unsigned parts) {
    if (parts & PARA_VAE_DECODER) half_weights(&vae->decoder, list);
    if (parts & PARA_VAE_ENCODER) half_weights(&vae->encoder, list);
}

/* Elements of the largest feature map on the way from x [f, h, w, in]. */
static int64_t map_elements(const half *h, const para_tensor *x) {
    int64_t size[3] = {x->dim[0], x->dim[1], x->dim[2]}, most = 0;
    for (int i = 0; i < h->blocks; i++) {
        int64_t n = para_mochi_block_elements(&h->block[i], size);
        if (n > most) most = n;
        para_mochi_block_size(&h->block[i], size);
    }
    return most;
}

/* 1 / sqrt(32) for each channel of a head. */
static para_status make_unit(para_device *dev, para_tensor *out) {
    float unit[PARA_MOCHI_HEAD];
    for (int i = 0; i < PARA_MOCHI_HEAD; i++) unit[i] = (float)(1 / sqrt((double)PARA_MOCHI_HEAD));
    PARA_TRY(PARA_NEW(dev, out, PARA_F32, PARA_MOCHI_HEAD));
    return dev->ops->upload(dev, *out, unit);
}

/* ---- A batch of frames: the encoder's are all of them; the decoder's are few at a time, with what its convolutions in time carry from one to the next. That
 * gives the same frames, for its other layers see one frame each. */

static int64_t least(int64_t a, int64_t b) {
    return a < b ? a : b;
}

/* Room for the last frames that each convolution sees, in the order in which they run; x [1, f, h, w, in]. */
static para_status make_carry(const half *h, para_device *dev, para_vae_carry *c, const para_tensor *x) {
    int64_t size[3] = {1, x->dim[2], x->dim[3]};
    for (int i = 0; i < h->blocks; i++) {
        const para_mochi_block *b = &h->block[i];
        for (int k = 0; k < 2 * b->layers; k++)
            PARA_TRY(PARA_NEW(dev, &c->last[c->next++], x->dtype, 1, 2, size[1], size[2], b->resnets[k / 2].in));
        para_mochi_block_size(b, size);
    }
    return PARA_OK;
}

/* Frames that so many frames of latents become, the first ones of a video or others: diffusers drops the first ones of a decoded video. */
static int64_t dropped(const half *h, bool first) {
    return h->decoder && first ? h->temporal_ratio - 1 : 0;
}

static para_status run_batch(const half *h, para_vae_map *m, para_tensor x, bool first, para_tensor unit,
                             para_tensor y) {
    para_device *dev = m->dev;
    m->f = x.dim[0], m->h = x.dim[1], m->w = x.dim[2], m->c = h->first;
    if (h->decoder) PARA_TRY(para_vae_conv(dev, &h->proj_in, x, para_vae_map_tensor(m)));
    else PARA_TRY(para_mochi_project_features(dev, &h->proj_in, x, para_vae_map_tensor(m)));
    for (int i = 0; i < h->blocks; i++) PARA_TRY(para_mochi_block_run(&h->block[i], m, unit));
    int64_t drop = dropped(h, first), rows = (m->f - drop) * m->h * m->w;
    para_tensor map = para_vae_map_tensor(m), kept = PARA_RESHAPE(para_rows(map, drop, m->f - drop), rows, m->c);
    if (h->decoder) PARA_TRY(dev->ops->activate(dev, h->activation, kept, kept));
    else PARA_TRY(para_vae_group_norm(m, &h->norm_out, h->activation, map, map));
    return dev->ops->linear(dev,
                            &(para_linear_args){.x = kept, .w = &h->proj_out, .y = PARA_RESHAPE(y, rows, h->out)});
}

/* x [1, f, h, w, in] into y [F, H, W, out], or with `pieces` there, batch by batch. */
static para_status run_batches(const half *h, para_vae_map *m, para_tensor x, para_tensor y,
                               const para_vae_sink *pieces) {
    para_device *dev = m->dev;
    para_tensor from = PARA_RESHAPE(x, x.dim[1], x.dim[2], x.dim[3], x.dim[4]), room, unit; /* [f, h, w, in] */
    int64_t frames = from.dim[0], batch = h->decoder ? least(frames, BATCH) : frames, most[3] = {batch, x.dim[2], x.dim[3]}, at = 0;
    for (int i = 0; i < h->blocks; i++) para_mochi_block_size(&h->block[i], most);
    PARA_TRY(make_unit(dev, &unit));
    if (m->carry) PARA_TRY(make_carry(h, dev, m->carry, &x));
    if (pieces) PARA_TRY(PARA_NEW(dev, &y, x.dtype, most[0], most[1], most[2], h->out));
    para_tensor part = para_rows(from, 0, batch);
    PARA_TRY(PARA_NEW(dev, &room, x.dtype, map_elements(h, &part)));
    m->data = room.data;
    for (int64_t first = 0; first < frames; first += batch) {
        int64_t n = least(batch, frames - first), size[3] = {n, x.dim[2], x.dim[3]};
        for (int i = 0; i < h->blocks; i++) para_mochi_block_size(&h->block[i], size);
        size[0] -= dropped(h, first == 0);
        if (m->carry) m->carry->next = 0, m->carry->first = first == 0, m->carry->final = first + n == frames;
        para_tensor to = para_rows(y, pieces ? 0 : at, size[0]);
        PARA_TRY(run_batch(h, m, para_rows(from, first, n), first == 0, unit, to));
        if (pieces) PARA_TRY(pieces->put(pieces->user, 0, at, to));
        at += size[0];
    }
    return PARA_OK;
}

static para_status run_all(const half *h, para_device *dev, para_tensor x, para_tensor y, const para_vae_sink *pieces) {
    para_vae_carry carry = {.replicate = true};
    para_vae_map m = {.dev = dev,
                      .dtype = x.dtype,
                      .groups = PARA_MOCHI_GROUPS,
                      .eps = 1e-5f,
                      .norm_frames = true,
                      .activation = PARA_ACT_SILU};
    size_t mark = para_arena_mark(&dev->arena);
    if (h->decoder && x.dim[1] > BATCH) {
        carry.last = para_alloc((size_t)h->convs, sizeof *carry.last);
        if (!carry.last) return PARA_ERR_MEMORY;
        m.carry = &carry;
    }
    para_status status = run_batches(h, &m, x, y, pieces);
    para_free(carry.last);
    para_arena_release(&dev->arena, mark);
    return status;
}

/* One video or tile: y [1, F, H, W, out] = half(x [1, f, h, w, in]). */
static para_status half_run(const void *user, para_device *dev, para_tensor x, para_tensor y) {
    return run_all(user, dev, x, PARA_RESHAPE(y, y.dim[1], y.dim[2], y.dim[3], y.dim[4]), NULL);
}

static para_status half_run_in_pieces(const void *user, para_device *dev, para_tensor x, const para_vae_sink *pieces) {
    return run_all(user, dev, x, (para_tensor){0}, pieces);
}

static para_status make_tiles(const para_autoencoder_kl_mochi *vae, const half *h, const int64_t in[3], bool tiling,
                              para_vae_tiles *out) {
    const para_mochi_tiles *t = &vae->tiles;
    int64_t ratio = vae->config.spatial_ratio, whole[3] = {in[0], in[1], in[2]};
    para_vae_tile_rule rule[3] = {{0},
                                  para_vae_stride_rule(h->decoder, t->min_height, t->stride_height, ratio),
                                  para_vae_stride_rule(h->decoder, t->min_width, t->stride_width, ratio)};
    if (t->stride_height > t->min_height || t->stride_width > t->min_width)
        return para_fail(PARA_ERR_ARGUMENT, "the VAE's tiles begin further apart than they are large");
    PARA_TRY(para_vae_check_video(in));
    for (int i = 0; i < h->blocks; i++) para_mochi_block_size(&h->block[i], whole);
    if (h->decoder) whole[0] -= h->temporal_ratio - 1;
    bool tiled = tiling && (in[1] > rule[1].in_size || in[2] > rule[2].in_size);
    return para_vae_tiles_make(out, rule, in, whole, (const bool[]){false, tiled, tiled}, "the VAE's encoder", ratio);
}

static para_status out_size(const para_autoencoder_kl_mochi *vae, const half *h, const int64_t in[3], bool tiling,
                            int64_t out[3]) {
    para_vae_tiles tiles;
    PARA_TRY(make_tiles(vae, h, in, tiling, &tiles));
    for (int k = 0; k < PARA_VAE_AXES; k++) out[k] = tiles.axis[k].out;
    return PARA_OK;
}

para_status para_autoencoder_kl_mochi_decoded_size(const para_autoencoder_kl_mochi *vae, const int64_t in[3],
                                                   bool tiling, int64_t out[3]) {
    return out_size(vae, &vae->decoder, in, tiling, out);
}

para_status para_autoencoder_kl_mochi_encoded_size(const para_autoencoder_kl_mochi *vae, const int64_t in[3],
                                                   bool tiling, int64_t out[3]) {
    return out_size(vae, &vae->encoder, in, tiling, out);
}

static para_status run(const para_autoencoder_kl_mochi *vae, const half *h, para_device *dev, const para_comm *comm,
                       para_tensor x, bool tiling, para_tensor y, const para_vae_sink *sink) {
    para_vae_tiles tiles;
    para_vae_batch batch = {.name = h->decoder ? "decoder" : "encoder",
                            .in = h->in,
                            .out = h->out,
                            .x = x,
                            .y = y,
                            .sink = sink,
                            .tiles = &tiles,
                            .run = half_run,
                            .run_in_pieces = half_run_in_pieces,
                            .user = h};
    PARA_TRY(para_vae_batch_check(&batch));
    PARA_TRY(make_tiles(vae, h, x.dim + 1, tiling, &tiles));
    return para_vae_batch_run(&batch, dev, comm);
}

para_status para_autoencoder_kl_mochi_decode(const para_autoencoder_kl_mochi *vae, para_device *dev,
                                             const para_comm *comm, para_tensor latents, bool tiling,
                                             para_tensor video) {
    return run(vae, &vae->decoder, dev, comm, latents, tiling, video, NULL);
}

para_status para_autoencoder_kl_mochi_decode_frames(const para_autoencoder_kl_mochi *vae, para_device *dev,
                                            const para_comm *comm, para_tensor latents, bool tiling,
                                            const para_vae_sink *sink) {
    return run(vae, &vae->decoder, dev, comm, latents, tiling, (para_tensor){0}, sink);
}

para_status para_autoencoder_kl_mochi_encode(const para_autoencoder_kl_mochi *vae, para_device *dev,
                                             const para_comm *comm, para_tensor video, bool tiling,
                                             para_tensor moments) {
    return run(vae, &vae->encoder, dev, comm, video, tiling, moments, NULL);
}
