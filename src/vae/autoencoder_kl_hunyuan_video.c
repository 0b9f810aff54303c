/* AutoencoderKLHunyuanVideo: its encoder and decoder, whole or in tiles of space and time. SPDX-License-Identifier: Apache-2.0 */
#include "vae/autoencoder_kl_hunyuan_video.h"

#include <inttypes.h>

#include "core/alloc.h"
#include "core/error.h"
#include "vae/vae_batch.h"
#include "vae/vae_config.h"
#include "vae/vae_half.h"

struct para_autoencoder_kl_hunyuan_video {
    para_autoencoder_kl_hunyuan_video_config config;
    para_video_tiles tiles;
    para_vae_half decoder, encoder;
};

/* Diffusers resamples time in the two levels before the last, space in the first log2(spatial_compression_ratio). */
enum { TIME_LEVELS = 2, TIME_RATIO = 1 << TIME_LEVELS };

static int space_levels(int64_t ratio) {
    int n = 0;
    while ((int64_t)1 << n < ratio) n++;
    return n;
}

static para_status read_ratios(para_autoencoder_kl_hunyuan_video_config *c, const para_config *config) {
    PARA_TRY(para_config_int_in(config, "spatial_compression_ratio", 8, 1, 1 << PARA_VAE_MAX_LEVELS,
                                &c->spatial_compression_ratio));
    PARA_TRY(para_config_int(config, "temporal_compression_ratio", 4, &c->temporal_compression_ratio));
    if (c->temporal_compression_ratio != TIME_RATIO || c->levels < TIME_LEVELS + 1)
        return para_fail(PARA_ERR_CONFIG,
                         "'%s': \"temporal_compression_ratio\" is %" PRId64
                         " with %d levels; only 4 with 3 levels or more is supported",
                         config->path, c->temporal_compression_ratio, c->levels);
    int n = space_levels(c->spatial_compression_ratio);
    if (n > c->levels || (int64_t)1 << n != c->spatial_compression_ratio)
        return para_fail(PARA_ERR_CONFIG,
                         "'%s': \"spatial_compression_ratio\" is %" PRId64
                         "; it must be a power of two that %d levels can make",
                         config->path, c->spatial_compression_ratio, c->levels);
    return PARA_OK;
}

static para_status read_config(para_autoencoder_kl_hunyuan_video_config *out, const para_config *config) {
    static const int64_t channels[] = {128, 256, 512, 512};
    para_autoencoder_kl_hunyuan_video_config c = {.levels = sizeof channels / sizeof *channels};
    for (int i = 0; i < c.levels; i++) c.block_out_channels[i] = channels[i];
    PARA_TRY(para_config_int_in(config, "in_channels", 3, 1, PARA_VAE_MAX_CHANNELS, &c.in_channels));
    PARA_TRY(para_config_int_in(config, "out_channels", 3, 1, PARA_VAE_MAX_CHANNELS, &c.out_channels));
    PARA_TRY(para_config_int_in(config, "latent_channels", 16, 1, PARA_VAE_MAX_CHANNELS, &c.latent_channels));
    PARA_TRY(para_config_int_in(config, "layers_per_block", 2, 1, PARA_VAE_MAX_LAYERS, &c.layers_per_block));
    PARA_TRY(para_vae_config_channels(config, c.block_out_channels, &c.levels, &c.norm_num_groups));
    PARA_TRY(para_vae_config_blocks(config, "down_block_types", "HunyuanVideoDownBlock3D", 4, c.levels));
    PARA_TRY(para_vae_config_blocks(config, "up_block_types", "HunyuanVideoUpBlock3D", 4, c.levels));
    PARA_TRY(para_vae_config_activation(config, &c.act_fn));
    PARA_TRY(para_vae_config_factor(config, "scaling_factor", 0.476986, &c.scaling_factor));
    PARA_TRY(para_config_bool(config, "mid_block_add_attention", true, &c.mid_block_add_attention));
    PARA_TRY(read_ratios(&c, config));
    *out = c;
    return PARA_OK;
}

static para_vae_shape shape_of(const para_autoencoder_kl_hunyuan_video_config *c) {
    para_vae_shape s = {.video = true,
                        .in_channels = c->in_channels,
                        .out_channels = c->out_channels,
                        .latent_channels = c->latent_channels,
                        .levels = c->levels,
                        .layers_per_block = c->layers_per_block,
                        .norm_num_groups = c->norm_num_groups,
                        .act_fn = c->act_fn,
                        .quant_conv = true,
                        .post_quant_conv = true,
                        .mid_block_add_attention = c->mid_block_add_attention};
    for (int i = 0; i < c->levels; i++) {
        s.block_out_channels[i] = c->block_out_channels[i];
        s.in_space[i] = i < space_levels(c->spatial_compression_ratio);
        s.in_time[i] = i >= c->levels - 1 - TIME_LEVELS && i + 1 < c->levels;
    }
    return s;
}

para_status para_autoencoder_kl_hunyuan_video_open(para_autoencoder_kl_hunyuan_video **out, const para_config *config) {
    *out = NULL;
    para_autoencoder_kl_hunyuan_video *vae = para_alloc(1, sizeof *vae);
    if (!vae) return PARA_ERR_MEMORY;
    para_status status;
    vae->tiles = (para_video_tiles){256, 256, 16, 192, 192, 12};
    PARA_TRY_GOTO(status, fail, read_config(&vae->config, config));
    para_vae_shape shape = shape_of(&vae->config);
    PARA_TRY_GOTO(status, fail, para_vae_half_open(&vae->decoder, &shape, true));
    PARA_TRY_GOTO(status, fail, para_vae_half_open(&vae->encoder, &shape, false));
    *out = vae;
    return PARA_OK;
fail:
    para_autoencoder_kl_hunyuan_video_close(&vae);
    return status;
}

void para_autoencoder_kl_hunyuan_video_close(para_autoencoder_kl_hunyuan_video **vae) {
    if (!*vae) return;
    para_vae_half_close(&(*vae)->decoder);
    para_vae_half_close(&(*vae)->encoder);
    para_free(*vae);
    *vae = NULL;
}

const para_autoencoder_kl_hunyuan_video_config *
para_autoencoder_kl_hunyuan_video_settings(const para_autoencoder_kl_hunyuan_video *vae) {
    return &vae->config;
}

para_video_tiles *para_autoencoder_kl_hunyuan_video_tiles(para_autoencoder_kl_hunyuan_video *vae) {
    return &vae->tiles;
}

void para_autoencoder_kl_hunyuan_video_weights(para_autoencoder_kl_hunyuan_video *vae, para_weights *list,
                                               const para_checkpoint *checkpoint, unsigned parts) {
    if (parts & PARA_VAE_DECODER) para_vae_half_weights(&vae->decoder, list, checkpoint);
    if (parts & PARA_VAE_ENCODER) para_vae_half_weights(&vae->encoder, list, checkpoint);
}

static para_status make_tiles(const para_autoencoder_kl_hunyuan_video *vae, const para_vae_half *half,
                              const int64_t in[3], bool tiling, para_vae_tiles *out) {
    const para_video_tiles *t = &vae->tiles;
    int64_t space = vae->config.spatial_compression_ratio, whole[3] = {in[0], in[1], in[2]};
    para_vae_tile_rule rule[3] = {
        para_vae_stride_rule(half->decoder, t->min_num_frames, t->stride_num_frames, TIME_RATIO),
        para_vae_stride_rule(half->decoder, t->min_height, t->stride_height, space),
        para_vae_stride_rule(half->decoder, t->min_width, t->stride_width, space)};
    rule[0].causal = rule[1].round_up = rule[2].round_up = true;
    if (t->stride_num_frames > t->min_num_frames || t->stride_height > t->min_height || t->stride_width > t->min_width)
        return para_fail(PARA_ERR_ARGUMENT, "the VAE's tiles begin further apart than they are large");
    PARA_TRY(para_vae_check_video(in));
    bool in_time = in[0] > rule[0].in_size, in_space = tiling && (in[1] > rule[1].in_size || in[2] > rule[2].in_size);
    para_vae_half_size(half, whole);
    return para_vae_tiles_make(out, rule, in, whole, (const bool[]){in_time, in_space, in_space},
                               "tiles of the VAE's encoder", space);
}

static para_status out_size(const para_autoencoder_kl_hunyuan_video *vae, const para_vae_half *half,
                            const int64_t in[3], bool tiling, int64_t out[3]) {
    para_vae_tiles tiles;
    PARA_TRY(make_tiles(vae, half, in, tiling, &tiles));
    for (int k = 0; k < PARA_VAE_AXES; k++) out[k] = tiles.axis[k].out;
    return PARA_OK;
}

para_status para_autoencoder_kl_hunyuan_video_decoded_size(const para_autoencoder_kl_hunyuan_video *vae,
                                                           const int64_t in[3], bool tiling, int64_t out[3]) {
    return out_size(vae, &vae->decoder, in, tiling, out);
}

para_status para_autoencoder_kl_hunyuan_video_encoded_size(const para_autoencoder_kl_hunyuan_video *vae,
                                                           const int64_t in[3], bool tiling, int64_t out[3]) {
    return out_size(vae, &vae->encoder, in, tiling, out);
}

static para_status run(const para_autoencoder_kl_hunyuan_video *vae, const para_vae_half *half, para_device *dev,
                       const para_comm *comm, para_tensor x, bool tiling, para_tensor y, const para_vae_sink *sink) {
    para_vae_tiles tiles;
    para_vae_batch batch = {.name = half->decoder ? "decoder" : "encoder",
                            .in = half->in,
                            .out = half->out,
                            .x = x,
                            .y = y,
                            .sink = sink,
                            .tiles = &tiles,
                            .run = para_vae_half_run,
                            .user = half};
    PARA_TRY(para_vae_batch_check(&batch));
    PARA_TRY(make_tiles(vae, half, x.dim + 1, tiling, &tiles));
    return para_vae_batch_run(&batch, dev, comm);
}

para_status para_autoencoder_kl_hunyuan_video_decode(const para_autoencoder_kl_hunyuan_video *vae, para_device *dev,
                                                     const para_comm *comm, para_tensor latents, bool tiling,
                                                     para_tensor video) {
    return run(vae, &vae->decoder, dev, comm, latents, tiling, video, NULL);
}

para_status para_autoencoder_kl_hunyuan_video_decode_frames(const para_autoencoder_kl_hunyuan_video *vae, para_device *dev,
                                            const para_comm *comm, para_tensor latents, bool tiling,
                                            const para_vae_sink *sink) {
    return run(vae, &vae->decoder, dev, comm, latents, tiling, (para_tensor){0}, sink);
}

para_status para_autoencoder_kl_hunyuan_video_encode(const para_autoencoder_kl_hunyuan_video *vae, para_device *dev,
                                                     const para_comm *comm, para_tensor video, bool tiling,
                                                     para_tensor moments) {
    return run(vae, &vae->encoder, dev, comm, video, tiling, moments, NULL);
}
