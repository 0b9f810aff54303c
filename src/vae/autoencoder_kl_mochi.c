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

enum { MAX_BLOCKS = PARA_VAE_MAX_LEVELS + 1 };

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

/* Elements of the largest feature map on the way from x [1, f, h, w, in]. */
static int64_t map_elements(const half *h, const para_tensor *x) {
    int64_t size[3] = {x->dim[1], x->dim[2], x->dim[3]}, most = 0;
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

/* Of the last map the frames that are kept, as rows of pixels: diffusers drops the first ones of a decoded video. */
static para_tensor kept_rows(const half *h, const para_vae_map *m) {
    int64_t drop = h->decoder ? h->temporal_ratio - 1 : 0;
    para_tensor map = para_rows(para_vae_map_tensor(m), drop, m->f - drop); /* [f, h, w, C] */
    return PARA_RESHAPE(map, map.dim[0] * m->h * m->w, m->c);
}

static para_status run_blocks(const half *h, para_vae_map *m, para_tensor x, para_tensor y) {
    para_device *dev = m->dev;
    para_tensor frames = PARA_RESHAPE(x, x.dim[1], x.dim[2], x.dim[3], h->in), unit;
    m->f = x.dim[1], m->h = x.dim[2], m->w = x.dim[3], m->c = h->first;
    PARA_TRY(make_unit(dev, &unit));
    if (h->decoder) PARA_TRY(para_vae_conv(dev, &h->proj_in, frames, para_vae_map_tensor(m)));
    else PARA_TRY(para_mochi_project_features(dev, &h->proj_in, frames, para_vae_map_tensor(m)));
    for (int i = 0; i < h->blocks; i++) PARA_TRY(para_mochi_block_run(&h->block[i], m, unit));
    para_tensor map = para_vae_map_tensor(m), rows = kept_rows(h, m);
    if (h->decoder) PARA_TRY(dev->ops->activate(dev, h->activation, rows, rows));
    else PARA_TRY(para_vae_group_norm(m, &h->norm_out, h->activation, map, map));
    return dev->ops->linear(
        dev, &(para_linear_args){.x = rows, .w = &h->proj_out, .y = PARA_RESHAPE(y, rows.dim[0], h->out)});
}

/* One video or tile: y [1, F, H, W, out] = half(x [1, f, h, w, in]). */
static para_status half_run(const void *user, para_device *dev, para_tensor x, para_tensor y) {
    const half *h = user;
    size_t mark = para_arena_mark(&dev->arena);
    para_vae_map m = {.dev = dev,
                      .dtype = x.dtype,
                      .groups = PARA_MOCHI_GROUPS,
                      .eps = 1e-5f,
                      .norm_frames = true,
                      .activation = PARA_ACT_SILU};
    para_tensor room;
    PARA_TRY(PARA_NEW(dev, &room, x.dtype, map_elements(h, &x)));
    m.data = room.data;
    PARA_TRY(run_blocks(h, &m, x, y));
    para_arena_release(&dev->arena, mark);
    return PARA_OK;
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
                       para_tensor x, bool tiling, para_tensor y) {
    para_vae_tiles tiles;
    para_vae_batch batch = {.name = h->decoder ? "decoder" : "encoder",
                            .in = h->in,
                            .out = h->out,
                            .x = x,
                            .y = y,
                            .tiles = &tiles,
                            .run = half_run,
                            .user = h};
    PARA_TRY(para_vae_batch_check(&batch));
    PARA_TRY(make_tiles(vae, h, x.dim + 1, tiling, &tiles));
    return para_vae_batch_run(&batch, dev, comm);
}

para_status para_autoencoder_kl_mochi_decode(const para_autoencoder_kl_mochi *vae, para_device *dev,
                                             const para_comm *comm, para_tensor latents, bool tiling,
                                             para_tensor video) {
    return run(vae, &vae->decoder, dev, comm, latents, tiling, video);
}

para_status para_autoencoder_kl_mochi_encode(const para_autoencoder_kl_mochi *vae, para_device *dev,
                                             const para_comm *comm, para_tensor video, bool tiling,
                                             para_tensor moments) {
    return run(vae, &vae->encoder, dev, comm, video, tiling, moments);
}
