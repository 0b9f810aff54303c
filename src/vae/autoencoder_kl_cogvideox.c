/* AutoencoderKLCogVideoX: its encoder and decoder, whole or in tiles of space. SPDX-License-Identifier: Apache-2.0 */
#include "vae/autoencoder_kl_cogvideox.h"

#include <inttypes.h>
#include <math.h>

#include "core/alloc.h"
#include "core/error.h"
#include "vae/cogvideox_half.h"
#include "vae/vae_batch.h"
#include "vae/vae_config.h"

enum { MAX_SAMPLE = 1 << 16 };

struct para_autoencoder_kl_cogvideox {
    para_autoencoder_kl_cogvideox_config config;
    para_cogvideox_tiles tiles;
    para_cogvideox_half decoder, encoder;
};

static para_status read_numbers(para_autoencoder_kl_cogvideox_config *c, const para_config *config) {
    double ratio;
    PARA_TRY(para_config_number(config, "temporal_compression_ratio", 4, &ratio));
    c->temporal_compression_ratio = 1;
    while ((double)c->temporal_compression_ratio < ratio && c->temporal_compression_ratio < (int64_t)1
                                                                                                << (c->levels - 1))
        c->temporal_compression_ratio *= 2;
    if ((double)c->temporal_compression_ratio != ratio)
        return para_fail(
            PARA_ERR_CONFIG,
            "'%s': \"temporal_compression_ratio\" is %g; it must be a power of two that %d levels can make",
            config->path, ratio, c->levels);
    PARA_TRY(para_config_number(config, "norm_eps", 1e-6, &c->norm_eps));
    if (!isfinite(c->norm_eps) || c->norm_eps < 0)
        return para_fail(PARA_ERR_CONFIG, "'%s': \"norm_eps\" must be finite and not negative", config->path);
    PARA_TRY(para_vae_config_factor(config, "scaling_factor", 1.15258426, &c->scaling_factor));
    PARA_TRY(para_config_number(config, "shift_factor", 0, &c->shift_factor));
    if (!isfinite(c->shift_factor))
        return para_fail(PARA_ERR_CONFIG, "'%s': \"shift_factor\" must be finite", config->path);
    return PARA_OK;
}

static para_status read_flags(para_autoencoder_kl_cogvideox_config *c, const para_config *config) {
    PARA_TRY(para_config_bool(config, "use_quant_conv", false, &c->use_quant_conv));
    PARA_TRY(para_config_bool(config, "use_post_quant_conv", false, &c->use_post_quant_conv));
    PARA_TRY(para_config_bool(config, "force_upcast", true, &c->force_upcast));
    PARA_TRY(para_config_bool(config, "invert_scale_latents", false, &c->invert_scale_latents));
    if ((c->use_quant_conv || c->use_post_quant_conv) && c->out_channels != c->latent_channels)
        return para_fail(PARA_ERR_CONFIG,
                         "'%s': \"%s\" fits only where \"out_channels\" (%" PRId64 ") is \"latent_channels\" (%" PRId64
                         "), as diffusers makes it for the former",
                         config->path, c->use_quant_conv ? "use_quant_conv" : "use_post_quant_conv", c->out_channels,
                         c->latent_channels);
    return PARA_OK;
}

static para_status read_config(para_autoencoder_kl_cogvideox_config *out, const para_config *config) {
    static const int64_t channels[] = {128, 256, 256, 512};
    para_autoencoder_kl_cogvideox_config c = {.levels = sizeof channels / sizeof *channels};
    for (int i = 0; i < c.levels; i++) c.block_out_channels[i] = channels[i];
    PARA_TRY(para_config_int_in(config, "in_channels", 3, 1, PARA_VAE_MAX_CHANNELS, &c.in_channels));
    PARA_TRY(para_config_int_in(config, "out_channels", 3, 1, PARA_VAE_MAX_CHANNELS, &c.out_channels));
    PARA_TRY(para_config_int_in(config, "latent_channels", 16, 1, PARA_VAE_MAX_CHANNELS, &c.latent_channels));
    PARA_TRY(para_config_int_in(config, "layers_per_block", 3, 1, PARA_VAE_MAX_LAYERS, &c.layers_per_block));
    PARA_TRY(para_config_int_in(config, "sample_height", 480, 2, MAX_SAMPLE, &c.sample_height));
    PARA_TRY(para_config_int_in(config, "sample_width", 720, 2, MAX_SAMPLE, &c.sample_width));
    PARA_TRY(para_vae_config_channels(config, c.block_out_channels, &c.levels, &c.norm_num_groups));
    PARA_TRY(para_vae_config_blocks(config, "down_block_types", "CogVideoXDownBlock3D", 4, c.levels));
    PARA_TRY(para_vae_config_blocks(config, "up_block_types", "CogVideoXUpBlock3D", 4, c.levels));
    PARA_TRY(para_vae_config_activation(config, &c.act_fn));
    PARA_TRY(read_numbers(&c, config));
    PARA_TRY(read_flags(&c, config));
    *out = c;
    return PARA_OK;
}

para_status para_autoencoder_kl_cogvideox_open(para_autoencoder_kl_cogvideox **out, const para_config *config) {
    *out = NULL;
    para_autoencoder_kl_cogvideox *vae = para_alloc(1, sizeof *vae);
    if (!vae) return PARA_ERR_MEMORY;
    para_status status;
    PARA_TRY_GOTO(status, fail, read_config(&vae->config, config));
    vae->tiles = (para_cogvideox_tiles){vae->config.sample_height / 2, vae->config.sample_width / 2, 1.0 / 6, 1.0 / 5};
    PARA_TRY_GOTO(status, fail, para_cogvideox_half_open(&vae->decoder, &vae->config, true));
    PARA_TRY_GOTO(status, fail, para_cogvideox_half_open(&vae->encoder, &vae->config, false));
    *out = vae;
    return PARA_OK;
fail:
    para_autoencoder_kl_cogvideox_close(&vae);
    return status;
}

void para_autoencoder_kl_cogvideox_close(para_autoencoder_kl_cogvideox **vae) {
    if (!*vae) return;
    para_cogvideox_half_close(&(*vae)->decoder);
    para_cogvideox_half_close(&(*vae)->encoder);
    para_free(*vae);
    *vae = NULL;
}

const para_autoencoder_kl_cogvideox_config *
para_autoencoder_kl_cogvideox_settings(const para_autoencoder_kl_cogvideox *vae) {
    return &vae->config;
}

para_cogvideox_tiles *para_autoencoder_kl_cogvideox_tiles(para_autoencoder_kl_cogvideox *vae) {
    return &vae->tiles;
}

int64_t para_autoencoder_kl_cogvideox_scale(const para_autoencoder_kl_cogvideox *vae) {
    return (int64_t)1 << (vae->config.levels - 1);
}

void para_autoencoder_kl_cogvideox_weights(para_autoencoder_kl_cogvideox *vae, para_weights *list, unsigned parts) {
    if (parts & PARA_VAE_DECODER) para_cogvideox_half_weights(&vae->decoder, list);
    if (parts & PARA_VAE_ENCODER) para_cogvideox_half_weights(&vae->encoder, list);
}

/* Diffusers' tile arithmetic, int() of products in double precision, for tiles of `sample` pixels. */
static para_vae_tile_rule tile_rule(bool decoder, int64_t sample, double overlap, int64_t scale) {
    int64_t latent = sample / scale, in = decoder ? latent : sample, out = decoder ? sample : latent;
    int64_t blend = (int64_t)((double)out * overlap);
    return (para_vae_tile_rule){.in_size = in,
                                .in_step = (int64_t)((double)in * (1 - overlap)),
                                .multiply = decoder ? scale : 1,
                                .divide = decoder ? 1 : scale,
                                .blend = blend,
                                .limit = out - blend};
}

static para_status make_tiles(const para_autoencoder_kl_cogvideox *vae, const para_cogvideox_half *h,
                              const int64_t in[3], bool tiling, para_vae_tiles *out) {
    const para_cogvideox_tiles *t = &vae->tiles;
    int64_t scale = para_autoencoder_kl_cogvideox_scale(vae), whole[3] = {in[0], in[1], in[2]};
    const para_vae_tile_rule rule[3] = {{0},
                                        tile_rule(h->decoder, t->min_height, t->overlap_height, scale),
                                        tile_rule(h->decoder, t->min_width, t->overlap_width, scale)};
    if (!(t->overlap_height >= 0 && t->overlap_height < 1 && t->overlap_width >= 0 && t->overlap_width < 1))
        return para_fail(PARA_ERR_ARGUMENT, "the VAE's tiles must overlap by 0 or more and by less than 1");
    PARA_TRY(para_vae_check_video(in));
    para_cogvideox_half_size(h, whole);
    bool tiled = tiling && (in[1] > rule[1].in_size || in[2] > rule[2].in_size);
    return para_vae_tiles_make(out, rule, in, whole, (const bool[]){false, tiled, tiled}, "the VAE's encoder", scale);
}

static para_status out_size(const para_autoencoder_kl_cogvideox *vae, const para_cogvideox_half *h, const int64_t in[3],
                            bool tiling, int64_t out[3]) {
    para_vae_tiles tiles;
    PARA_TRY(make_tiles(vae, h, in, tiling, &tiles));
    for (int k = 0; k < PARA_VAE_AXES; k++) out[k] = tiles.axis[k].out;
    return PARA_OK;
}

para_status para_autoencoder_kl_cogvideox_decoded_size(const para_autoencoder_kl_cogvideox *vae, const int64_t in[3],
                                                       bool tiling, int64_t out[3]) {
    return out_size(vae, &vae->decoder, in, tiling, out);
}

para_status para_autoencoder_kl_cogvideox_encoded_size(const para_autoencoder_kl_cogvideox *vae, const int64_t in[3],
                                                       bool tiling, int64_t out[3]) {
    return out_size(vae, &vae->encoder, in, tiling, out);
}

static para_status run(const para_autoencoder_kl_cogvideox *vae, const para_cogvideox_half *h, para_device *dev,
                       const para_comm *comm, para_tensor x, bool tiling, para_tensor y, const para_vae_sink *sink) {
    para_vae_tiles tiles;
    para_vae_batch batch = {.name = h->decoder ? "decoder" : "encoder",
                            .in = h->in,
                            .out = h->out,
                            .x = x,
                            .y = y,
                            .sink = sink,
                            .tiles = &tiles,
                            .run = para_cogvideox_half_run,
                            .run_in_pieces = para_cogvideox_half_run_in_pieces,
                            .user = h};
    PARA_TRY(para_vae_batch_check(&batch));
    PARA_TRY(make_tiles(vae, h, x.dim + 1, tiling, &tiles));
    return para_vae_batch_run(&batch, dev, comm);
}

para_status para_autoencoder_kl_cogvideox_decode(const para_autoencoder_kl_cogvideox *vae, para_device *dev,
                                                 const para_comm *comm, para_tensor latents, bool tiling,
                                                 para_tensor video) {
    return run(vae, &vae->decoder, dev, comm, latents, tiling, video, NULL);
}

para_status para_autoencoder_kl_cogvideox_decode_frames(const para_autoencoder_kl_cogvideox *vae, para_device *dev,
                                            const para_comm *comm, para_tensor latents, bool tiling,
                                            const para_vae_sink *sink) {
    return run(vae, &vae->decoder, dev, comm, latents, tiling, (para_tensor){0}, sink);
}

para_status para_autoencoder_kl_cogvideox_encode(const para_autoencoder_kl_cogvideox *vae, para_device *dev,
                                                 const para_comm *comm, para_tensor video, bool tiling,
                                                 para_tensor moments) {
    return run(vae, &vae->encoder, dev, comm, video, tiling, moments, NULL);
}
