/* AutoencoderKL: its encoder and decoder, whole or in tiles. SPDX-License-Identifier: Apache-2.0 */
#include "vae/autoencoder_kl.h"

#include <inttypes.h>
#include <math.h>

#include "core/alloc.h"
#include "core/error.h"
#include "vae/autoencoder_kl_config.h"
#include "vae/vae_batch.h"
#include "vae/vae_half.h"

struct para_autoencoder_kl {
    para_autoencoder_kl_config config;
    para_vae_half decoder, encoder;
};

static para_vae_shape shape_of(const para_autoencoder_kl_config *c) {
    para_vae_shape s = {.in_channels = c->in_channels,
                        .out_channels = c->out_channels,
                        .latent_channels = c->latent_channels,
                        .levels = c->levels,
                        .layers_per_block = c->layers_per_block,
                        .norm_num_groups = c->norm_num_groups,
                        .act_fn = c->act_fn,
                        .quant_conv = c->use_quant_conv,
                        .post_quant_conv = c->use_post_quant_conv,
                        .mid_block_add_attention = c->mid_block_add_attention};
    for (int i = 0; i < c->levels; i++) {
        s.block_out_channels[i] = c->block_out_channels[i];
        s.in_space[i] = i + 1 < c->levels;
    }
    return s;
}

para_status para_autoencoder_kl_open(para_autoencoder_kl **out, const para_config *config) {
    *out = NULL;
    para_autoencoder_kl *vae = para_alloc(1, sizeof *vae);
    if (!vae) return PARA_ERR_MEMORY;
    para_status status;
    PARA_TRY_GOTO(status, fail, para_autoencoder_kl_config_read(&vae->config, config));
    para_vae_shape shape = shape_of(&vae->config);
    PARA_TRY_GOTO(status, fail, para_vae_half_open(&vae->decoder, &shape, true));
    PARA_TRY_GOTO(status, fail, para_vae_half_open(&vae->encoder, &shape, false));
    *out = vae;
    return PARA_OK;
fail:
    para_autoencoder_kl_close(&vae);
    return status;
}

void para_autoencoder_kl_close(para_autoencoder_kl **vae) {
    if (!*vae) return;
    para_vae_half_close(&(*vae)->decoder);
    para_vae_half_close(&(*vae)->encoder);
    para_free(*vae);
    *vae = NULL;
}

const para_autoencoder_kl_config *para_autoencoder_kl_settings(const para_autoencoder_kl *vae) {
    return &vae->config;
}

void para_autoencoder_kl_weights(para_autoencoder_kl *vae, para_weights *list, const para_checkpoint *checkpoint,
                                 unsigned parts) {
    if (parts & PARA_VAE_DECODER) para_vae_half_weights(&vae->decoder, list, checkpoint);
    if (parts & PARA_VAE_ENCODER) para_vae_half_weights(&vae->encoder, list, checkpoint);
}

int64_t para_autoencoder_kl_scale(const para_autoencoder_kl *vae) {
    return (int64_t)1 << (vae->config.levels - 1);
}

/* Diffusers' tile arithmetic: int() of products with 0.75 and 0.25, which are exact. */
static para_vae_tile_rule tile_rule(const para_autoencoder_kl *vae, bool decoder) {
    int64_t scale = para_autoencoder_kl_scale(vae), sample = vae->config.sample_size, latent = sample / scale;
    int64_t in = decoder ? latent : sample, out = decoder ? sample : latent;
    return (para_vae_tile_rule){.in_size = in,
                                .in_step = in * 3 / 4,
                                .multiply = decoder ? scale : 1,
                                .divide = decoder ? 1 : scale,
                                .blend = out / 4,
                                .limit = out - out / 4};
}

static para_status make_tiles(const para_autoencoder_kl *vae, bool decoder, int64_t h, int64_t w, bool tiling,
                              para_vae_tiles *out) {
    para_vae_tile_rule rule = tile_rule(vae, decoder);
    const int64_t in[3] = {1, h, w};
    out->axis[0] = para_vae_axis_whole(1, 1);
    for (int k = 1; k < PARA_VAE_AXES; k++) {
        if (tiling && (h > rule.in_size || w > rule.in_size)) PARA_TRY(para_vae_axis_make(&out->axis[k], &rule, in[k]));
        else out->axis[k] = para_vae_axis_whole(in[k], in[k] * rule.multiply / rule.divide);
    }
    if (h < 1 || w < 1 || out->axis[1].out < 1 || out->axis[2].out < 1)
        return para_fail(PARA_ERR_SHAPE,
                         "%" PRId64 " × %" PRId64 " is too small for the VAE's %s, which needs %" PRId64 " × %" PRId64
                         " or more",
                         h, w, decoder ? "decoder" : "encoder", rule.divide, rule.divide);
    return PARA_OK;
}

static para_status out_size(const para_autoencoder_kl *vae, bool decoder, int64_t h, int64_t w, bool tiling,
                            int64_t *out_h, int64_t *out_w) {
    para_vae_tiles tiles;
    PARA_TRY(make_tiles(vae, decoder, h, w, tiling, &tiles));
    *out_h = tiles.axis[PARA_VAE_HEIGHT].out, *out_w = tiles.axis[PARA_VAE_WIDTH].out;
    return PARA_OK;
}

para_status para_autoencoder_kl_decoded_size(const para_autoencoder_kl *vae, int64_t h, int64_t w, bool tiling,
                                             int64_t *out_h, int64_t *out_w) {
    return out_size(vae, true, h, w, tiling, out_h, out_w);
}

para_status para_autoencoder_kl_encoded_size(const para_autoencoder_kl *vae, int64_t h, int64_t w, bool tiling,
                                             int64_t *out_h, int64_t *out_w) {
    return out_size(vae, false, h, w, tiling, out_h, out_w);
}

/* [n, h, w, C] as videos of one frame. */
static para_tensor as_videos(para_tensor t) {
    return t.rank == 4 && para_tensor_contiguous(&t) ? PARA_RESHAPE(t, t.dim[0], 1, t.dim[1], t.dim[2], t.dim[3]) : t;
}

static para_status run(const para_autoencoder_kl *vae, const para_vae_half *h, para_device *dev, const para_comm *comm,
                       para_tensor x, bool tiling, para_tensor y, const para_vae_sink *sink) {
    para_vae_tiles tiles;
    para_vae_batch batch = {.name = h->decoder ? "decoder" : "encoder",
                            .in = h->in,
                            .out = h->out,
                            .x = as_videos(x),
                            .y = as_videos(y),
                            .sink = sink,
                            .tiles = &tiles,
                            .run = para_vae_half_run,
                            .user = h};
    PARA_TRY(para_vae_batch_check(&batch));
    PARA_TRY(make_tiles(vae, h->decoder, x.dim[1], x.dim[2], tiling, &tiles));
    return para_vae_batch_run(&batch, dev, comm);
}

para_status para_autoencoder_kl_decode(const para_autoencoder_kl *vae, para_device *dev, const para_comm *comm,
                                       para_tensor latents, bool tiling, para_tensor images) {
    return run(vae, &vae->decoder, dev, comm, latents, tiling, images, NULL);
}

para_status para_autoencoder_kl_decode_frames(const para_autoencoder_kl *vae, para_device *dev, const para_comm *comm,
                                              para_tensor latents, bool tiling, const para_vae_sink *sink) {
    return run(vae, &vae->decoder, dev, comm, latents, tiling, (para_tensor){0}, sink);
}

para_status para_autoencoder_kl_encode(const para_autoencoder_kl *vae, para_device *dev, const para_comm *comm,
                                       para_tensor images, bool tiling, para_tensor moments) {
    return run(vae, &vae->encoder, dev, comm, images, tiling, moments, NULL);
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
