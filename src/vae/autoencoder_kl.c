/* AutoencoderKL: wiring of its encoder and decoder, whole or in tiles. SPDX-License-Identifier: Apache-2.0 */
#include "vae/autoencoder_kl.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>

#include "core/alloc.h"
#include "core/error.h"
#include "vae/autoencoder_kl_config.h"
#include "vae/vae_blocks.h"
#include "vae/vae_share.h"
#include "vae/vae_tiling.h"

/* Encoder or decoder: conv_in, then mid and levels (decoder) or levels and mid (encoder), then norm, act,
 * conv_out. */
typedef struct half {
    bool decoder;
    int64_t in, out;          /* channels of the whole half */
    int64_t first, mid, last; /* channels after conv_in, in the mid block, before conv_out */
    bool has_quant;
    para_linear quant; /* post_quant_conv before the decoder, quant_conv after the encoder */
    para_linear conv_in, conv_out;
    para_vae_mid mid_block;
    int levels;
    para_vae_level level[PARA_VAE_MAX_LEVELS];
    para_vae_resnet *resnets; /* of all levels */
    para_vae_norm conv_norm_out;
} half;

struct para_autoencoder_kl {
    para_autoencoder_kl_config config;
    half decoder, encoder;
};

/* Sets the shapes of a half. */
static para_status half_open(half *h, const para_autoencoder_kl_config *c, bool decoder) {
    int n = c->levels, per_level = (int)c->layers_per_block + decoder;
    int64_t narrow = c->block_out_channels[0], wide = c->block_out_channels[n - 1];
    *h = (half){.decoder = decoder, .levels = n, .mid = wide};
    h->in = decoder ? c->latent_channels : c->in_channels;
    h->out = decoder ? c->out_channels : 2 * c->latent_channels;
    h->first = decoder ? wide : narrow;
    h->last = decoder ? narrow : wide;
    h->has_quant = decoder ? c->use_post_quant_conv : c->use_quant_conv;
    h->mid_block.add_attention = c->mid_block_add_attention;
    h->resnets = para_alloc((size_t)(n * per_level), sizeof *h->resnets);
    if (!h->resnets) return PARA_ERR_MEMORY;
    int64_t channels = h->first;
    for (int i = 0; i < n; i++) {
        para_vae_level *l = &h->level[i];
        l->in = channels;
        l->out = channels = c->block_out_channels[decoder ? n - 1 - i : i];
        l->num_resnets = per_level;
        l->resnets = h->resnets + i * per_level;
        l->resample = i == n - 1 ? PARA_VAE_SAME : decoder ? PARA_VAE_UP : PARA_VAE_DOWN;
    }
    return PARA_OK;
}

para_status para_autoencoder_kl_open(para_autoencoder_kl **out, const para_config *config) {
    *out = NULL;
    para_autoencoder_kl *vae = para_alloc(1, sizeof *vae);
    if (!vae) return PARA_ERR_MEMORY;
    para_status status;
    PARA_TRY_GOTO(status, fail, para_autoencoder_kl_config_read(&vae->config, config));
    PARA_TRY_GOTO(status, fail, half_open(&vae->decoder, &vae->config, true));
    PARA_TRY_GOTO(status, fail, half_open(&vae->encoder, &vae->config, false));
    *out = vae;
    return PARA_OK;
fail:
    para_autoencoder_kl_close(&vae);
    return status;
}

void para_autoencoder_kl_close(para_autoencoder_kl **vae) {
    if (!*vae) return;
    para_free((*vae)->decoder.resnets);
    para_free((*vae)->encoder.resnets);
    para_free(*vae);
    *vae = NULL;
}

const para_autoencoder_kl_config *para_autoencoder_kl_settings(const para_autoencoder_kl *vae) {
    return &vae->config;
}

static void half_weights(half *h, para_weights *list, const para_checkpoint *checkpoint) {
    const char *name = h->decoder ? "decoder" : "encoder";
    char prefix[64];
    snprintf(prefix, sizeof prefix, "%s.mid_block.attentions.0.query.weight", name);
    bool old_names = checkpoint && para_checkpoint_find(checkpoint, prefix, &(para_tensor){0}, NULL);

    int64_t quant = h->decoder ? h->in : h->out;
    if (h->has_quant)
        para_weights_conv2d(list, &h->quant, quant, quant, 1, 1, "%s", h->decoder ? "post_quant_conv" : "quant_conv");
    para_weights_conv2d(list, &h->conv_in, h->first, h->in, 3, 3, "%s.conv_in", name);
    snprintf(prefix, sizeof prefix, "%s.mid_block", name);
    para_vae_mid_weights(&h->mid_block, list, h->mid, old_names, prefix);
    for (int i = 0; i < h->levels; i++) {
        snprintf(prefix, sizeof prefix, "%s.%s_blocks.%d", name, h->decoder ? "up" : "down", i);
        para_vae_level_weights(&h->level[i], list, prefix);
    }
    para_vae_norm_weights(&h->conv_norm_out, list, h->last, name, "conv_norm_out");
    para_weights_conv2d(list, &h->conv_out, h->out, h->last, 3, 3, "%s.conv_out", name);
}

void para_autoencoder_kl_weights(para_autoencoder_kl *vae, para_weights *list, const para_checkpoint *checkpoint,
                                 unsigned parts) {
    if (parts & PARA_VAE_DECODER) half_weights(&vae->decoder, list, checkpoint);
    if (parts & PARA_VAE_ENCODER) half_weights(&vae->encoder, list, checkpoint);
}

int64_t para_autoencoder_kl_scale(const para_autoencoder_kl *vae) {
    return (int64_t)1 << (vae->config.levels - 1);
}

/* Diffusers' tile arithmetic: int() of products with 0.75 and 0.25, which are exact. */
static para_vae_tile_rule tile_rule(const para_autoencoder_kl *vae, const half *h) {
    int64_t scale = para_autoencoder_kl_scale(vae), sample = vae->config.sample_size, latent = sample / scale;
    int64_t in = h->decoder ? latent : sample, out = h->decoder ? sample : latent;
    return (para_vae_tile_rule){.in_size = in,
                                .in_step = in * 3 / 4,
                                .multiply = h->decoder ? scale : 1,
                                .divide = h->decoder ? 1 : scale,
                                .blend = out / 4,
                                .limit = out - out / 4};
}

static bool is_tiled(const para_vae_tile_rule *rule, bool tiling, int64_t h, int64_t w) {
    return tiling && (h > rule->in_size || w > rule->in_size);
}

static para_status out_size(const para_autoencoder_kl *vae, const half *part, int64_t h, int64_t w, bool tiling,
                            int64_t *out_h, int64_t *out_w) {
    para_vae_tile_rule rule = tile_rule(vae, part);
    if (is_tiled(&rule, tiling, h, w)) {
        para_vae_tiles tiles;
        PARA_TRY(para_vae_tiles_make(&tiles, &rule, h, w));
        *out_h = tiles.out_h, *out_w = tiles.out_w;
    } else {
        *out_h = h * rule.multiply / rule.divide, *out_w = w * rule.multiply / rule.divide;
    }
    if (h < 1 || w < 1 || *out_h < 1 || *out_w < 1)
        return para_fail(PARA_ERR_SHAPE,
                         "%" PRId64 " × %" PRId64 " is too small for the VAE's %s, which needs %" PRId64 " × %" PRId64
                         " or more",
                         h, w, part->decoder ? "decoder" : "encoder", rule.divide, rule.divide);
    return PARA_OK;
}

para_status para_autoencoder_kl_decoded_size(const para_autoencoder_kl *vae, int64_t h, int64_t w, bool tiling,
                                             int64_t *out_h, int64_t *out_w) {
    return out_size(vae, &vae->decoder, h, w, tiling, out_h, out_w);
}

para_status para_autoencoder_kl_encoded_size(const para_autoencoder_kl *vae, int64_t h, int64_t w, bool tiling,
                                             int64_t *out_h, int64_t *out_w) {
    return out_size(vae, &vae->encoder, h, w, tiling, out_h, out_w);
}

/* Elements of the largest feature map on the way from h × w. */
static int64_t map_elements(const half *part, int64_t h, int64_t w) {
    int64_t most = h * w * part->first;
    for (int i = 0; i < part->levels; i++) {
        const para_vae_level *l = &part->level[i];
        int64_t n = para_vae_level_elements(l, h, w);
        if (n > most) most = n;
        if (l->resample == PARA_VAE_UP) h *= 2, w *= 2;
        if (l->resample == PARA_VAE_DOWN) h /= 2, w /= 2;
    }
    return most;
}

/* conv_in to conv_act: x [1, h, w, in] into the map. */
static para_status half_body(const half *h, para_vae_map *m, para_tensor x) {
    m->h = x.dim[1], m->w = x.dim[2], m->c = h->first;
    PARA_TRY(para_vae_conv(m->dev, &h->conv_in, x, para_vae_map_tensor(m)));
    if (h->decoder) PARA_TRY(para_vae_mid_run(&h->mid_block, m));
    for (int i = 0; i < h->levels; i++) PARA_TRY(para_vae_level_run(&h->level[i], m));
    if (!h->decoder) PARA_TRY(para_vae_mid_run(&h->mid_block, m));
    para_tensor map = para_vae_map_tensor(m);
    return para_vae_group_norm(m, &h->conv_norm_out, PARA_ACT_SILU, map, map);
}

/* One picture or tile: y [1, oh, ow, out] = half(x [1, h, w, in]), both contiguous. */
static para_status half_run(const para_autoencoder_kl *vae, const half *h, para_device *dev, para_tensor x,
                            para_tensor y) {
    size_t mark = para_arena_mark(&dev->arena);
    para_vae_map m = {
        .dev = dev, .dtype = x.dtype, .groups = (int)vae->config.norm_num_groups, .activation = vae->config.act_fn};
    para_tensor room, in = x, out = y;
    PARA_TRY(PARA_NEW(dev, &room, x.dtype, map_elements(h, x.dim[1], x.dim[2])));
    m.data = room.data;
    if (h->has_quant && h->decoder) {
        PARA_TRY(PARA_NEW(dev, &in, x.dtype, 1, x.dim[1], x.dim[2], h->in));
        PARA_TRY(para_vae_conv(dev, &h->quant, x, in));
    } else if (h->has_quant) {
        PARA_TRY(PARA_NEW(dev, &out, x.dtype, 1, y.dim[1], y.dim[2], h->out));
    }
    PARA_TRY(half_body(h, &m, in));
    PARA_TRY(para_vae_conv(dev, &h->conv_out, para_vae_map_tensor(&m), out));
    if (h->has_quant && !h->decoder) PARA_TRY(para_vae_conv(dev, &h->quant, out, y));
    para_arena_release(&dev->arena, mark);
    return PARA_OK;
}

static para_status check_shapes(const para_autoencoder_kl *vae, const half *h, para_tensor x, bool tiling,
                                para_tensor y) {
    int64_t oh, ow;
    bool typed = x.dtype == y.dtype && (x.dtype == PARA_F32 || x.dtype == PARA_BF16);
    bool ranked = x.rank == 4 && y.rank == 4 && x.dim[0] == y.dim[0] && x.dim[3] == h->in && y.dim[3] == h->out;
    if (!typed || !ranked || !para_tensor_contiguous(&x) || !para_tensor_contiguous(&y))
        return para_fail(PARA_ERR_SHAPE,
                         "the VAE's %s takes contiguous [n, h, w, %" PRId64 "] and gives [n, h, w, %" PRId64
                         "], both F32 or both BF16",
                         h->decoder ? "decoder" : "encoder", h->in, h->out);
    PARA_TRY(out_size(vae, h, x.dim[1], x.dim[2], tiling, &oh, &ow));
    if (y.dim[1] != oh || y.dim[2] != ow)
        return para_fail(PARA_ERR_SHAPE,
                         "the VAE's %s makes %" PRId64 " × %" PRId64 " of %" PRId64 " × %" PRId64 ", not %" PRId64
                         " × %" PRId64,
                         h->decoder ? "decoder" : "encoder", oh, ow, x.dim[1], x.dim[2], y.dim[1], y.dim[2]);
    return PARA_OK;
}

/* Half of a batch in parts: picture by picture, each in its tiles or whole. */
typedef struct batch {
    const para_autoencoder_kl *vae;
    const half *half;
    para_device *dev;
    para_tensor x, y; /* [n, h, w, in], [n, oh, ow, out] */
    bool tiled;
    para_vae_tiles tiles;   /* of each picture */
    para_vae_stitch stitch; /* of the picture whose tiles are joined */
    int parts;              /* of a picture */
} batch;

static para_tensor picture_of(para_tensor t, int64_t i) {
    return PARA_RESHAPE(para_rows(t, i, 1), t.dim[1], t.dim[2], t.dim[3]);
}

/* A tile's [1, out_h, out_w, out]; a whole picture lands in y at once. */
static para_tensor part_room(const void *user, int i) {
    const batch *b = user;
    if (!b->tiled) return para_rows(b->y, i, 1);
    para_vae_tile t = para_vae_tiles_at(&b->tiles, i % b->parts);
    return para_tensor_make(NULL, b->y.dtype, 4, (int64_t[]){1, t.out_h, t.out_w, b->half->out});
}

static para_status part_compute(void *user, int i, para_tensor y) {
    const batch *b = user;
    if (!b->tiled) return half_run(b->vae, b->half, b->dev, para_rows(b->x, i, 1), y);
    size_t mark = para_arena_mark(&b->dev->arena);
    para_vae_tile t = para_vae_tiles_at(&b->tiles, i % b->parts);
    para_tensor x = picture_of(b->x, i / b->parts), in; /* [1, in_h, in_w, in] */
    PARA_TRY(PARA_NEW(b->dev, &in, x.dtype, 1, t.in_h, t.in_w, x.dim[2]));
    PARA_TRY(b->dev->ops->copy(b->dev, PARA_RESHAPE(in, t.in_h, t.in_w, x.dim[2]),
                               para_slice(para_slice(x, 0, t.in_y, t.in_h), 1, t.in_x, t.in_w)));
    PARA_TRY(half_run(b->vae, b->half, b->dev, in, y));
    para_arena_release(&b->dev->arena, mark);
    return PARA_OK;
}

static para_status part_join(void *user, int i, para_tensor y) {
    batch *b = user;
    if (!b->tiled) return PARA_OK;
    b->stitch.image = picture_of(b->y, i / b->parts);
    return para_vae_stitch_put(&b->stitch, b->dev, i % b->parts, PARA_RESHAPE(y, y.dim[1], y.dim[2], y.dim[3]));
}

static para_status half_batch(const para_autoencoder_kl *vae, const half *h, para_device *dev, const para_comm *comm,
                              para_tensor x, bool tiling, para_tensor y) {
    PARA_TRY(check_shapes(vae, h, x, tiling, y));
    size_t mark = para_arena_mark(&dev->arena);
    para_vae_tile_rule rule = tile_rule(vae, h);
    batch b = {.vae = vae, .half = h, .dev = dev, .x = x, .y = y, .parts = 1};
    b.tiled = is_tiled(&rule, tiling, x.dim[1], x.dim[2]);
    if (b.tiled) {
        PARA_TRY(para_vae_tiles_make(&b.tiles, &rule, x.dim[1], x.dim[2]));
        b.parts = b.tiles.rows * b.tiles.cols;
        if (!comm || comm->index == 0) PARA_TRY(para_vae_stitch_open(&b.stitch, dev, &b.tiles, picture_of(y, 0)));
    }
    para_vae_parts parts = {(int)x.dim[0] * b.parts, &b, part_room, part_compute, part_join};
    PARA_TRY(para_vae_parts_run(&parts, dev, comm));
    para_arena_release(&dev->arena, mark);
    return PARA_OK;
}

para_status para_autoencoder_kl_decode(const para_autoencoder_kl *vae, para_device *dev, const para_comm *comm,
                                       para_tensor latents, bool tiling, para_tensor images) {
    return half_batch(vae, &vae->decoder, dev, comm, latents, tiling, images);
}

para_status para_autoencoder_kl_encode(const para_autoencoder_kl *vae, para_device *dev, const para_comm *comm,
                                       para_tensor images, bool tiling, para_tensor moments) {
    return half_batch(vae, &vae->encoder, dev, comm, images, tiling, moments);
}

void para_diagonal_gaussian(const float *moments, int64_t pixels, int64_t latent_channels, float *mean, float *logvar) {
    for (int64_t p = 0; p < pixels; p++) {
        const float *m = moments + p * 2 * latent_channels;
        for (int64_t c = 0; c < latent_channels; c++) {
            mean[p * latent_channels + c] = m[c];
            logvar[p * latent_channels + c] = fminf(fmaxf(m[latent_channels + c], -30.0f), 20.0f);
        }
    }
}
