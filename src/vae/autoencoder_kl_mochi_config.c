/* What Mochi's vae/config.json says, checked. SPDX-License-Identifier: Apache-2.0 */
#include "vae/autoencoder_kl_mochi_config.h"

#include <inttypes.h>
#include <jansson.h>
#include <math.h>
#include <string.h>

#include "core/error.h"
#include "vae/vae_config.h"

/* Exactly n whole numbers from min to max; where the key is missing, out has `usual` of them already. */
static para_status read_ints(const para_config *config, const char *key, int usual, int n, int64_t min, int64_t max,
                             int64_t *out) {
    int got = usual;
    PARA_TRY(para_config_ints(config, key, out, PARA_VAE_MAX_LEVELS + 1, &got));
    if (got != n)
        return para_fail(PARA_ERR_CONFIG,
                         "'%s': \"%s\" has %d entries; it needs %d, as \"decoder_block_out_channels\" tells",
                         config->path, key, got, n);
    for (int i = 0; i < n; i++)
        if (out[i] < min || out[i] > max)
            return para_fail(PARA_ERR_CONFIG,
                             "'%s': %" PRId64 " in \"%s\" is not supported; %" PRId64 " to %" PRId64 " are",
                             config->path, out[i], key, min, max);
    return PARA_OK;
}

static para_status read_channels(const para_config *config, const char *key, int usual, int n, int64_t *out) {
    PARA_TRY(read_ints(config, key, usual, n, 1, PARA_VAE_MAX_CHANNELS, out));
    for (int i = 0; i < n; i++)
        if (out[i] % PARA_MOCHI_GROUPS)
            return para_fail(PARA_ERR_CONFIG,
                             "'%s': %" PRId64 " in \"%s\" is not a multiple of %d, the groups of its norms",
                             config->path, out[i], key, PARA_MOCHI_GROUPS);
    return PARA_OK;
}

static para_status read_attention(const para_config *config, int n, bool *out) {
    const json_t *list = json_object_get(config->root, "add_attention_block");
    if (!list && n == 5) {
        for (int i = 0; i < n; i++) out[i] = i > 0;
        return PARA_OK;
    }
    bool right = json_is_array(list) && json_array_size(list) == (size_t)n;
    for (int i = 0; right && i < n; i++) {
        const json_t *v = json_array_get(list, (size_t)i);
        right = json_is_boolean(v);
        out[i] = json_is_true(v);
    }
    if (right) return PARA_OK;
    return para_fail(PARA_ERR_CONFIG, "'%s': \"add_attention_block\" must be a list of %d times true or false",
                     config->path, n);
}

/* `count` numbers, `usual` where the key is missing and there are 12; none where it is null. */
static para_status read_latents(const para_config *config, const char *key, const double usual[12], int64_t count,
                                double *out, int *n) {
    const json_t *list = json_object_get(config->root, key);
    *n = 0;
    if (json_is_null(list)) return PARA_OK;
    bool right = list ? json_is_array(list) && json_array_size(list) == (size_t)count : count == 12;
    for (int64_t i = 0; right && i < count; i++) {
        const json_t *v = list ? json_array_get(list, (size_t)i) : NULL;
        right = !list || json_is_number(v);
        out[i] = list ? json_number_value(v) : usual[i];
        right = right && isfinite(out[i]);
    }
    *n = (int)count;
    if (right) return PARA_OK;
    return para_fail(PARA_ERR_CONFIG,
                     "'%s': \"%s\" must be %" PRId64 " numbers, one for each of \"latent_channels\", or null",
                     config->path, key, count);
}

static para_status read_statistics(para_autoencoder_kl_mochi_config *c, const para_config *config) {
    static const double means[12] = {-0.06730895953510081,  -0.038011381506090416, -0.07477820912866141,
                                     -0.05565264470995561,  0.012767231469026969,  -0.04703542746246419,
                                     0.043896967884726704,  -0.09346305707025976,  -0.09918314763016893,
                                     -0.008729793427399178, -0.011931556316503654, -0.0321993391887285};
    static const double deviations[12] = {0.9263795028493863, 0.9248894543193766, 0.9393059390890617,
                                          0.959253732819592,  0.8244560132752793, 0.917259975397747,
                                          0.9294154431013696, 1.3720942357788521, 0.881393668867029,
                                          0.9168315692124348, 0.9185249279345552, 0.9274757570805041};
    int deviation_count;
    PARA_TRY(read_latents(config, "latents_mean", means, c->latent_channels, c->latents_mean, &c->latents));
    PARA_TRY(read_latents(config, "latents_std", deviations, c->latent_channels, c->latents_std, &deviation_count));
    for (int i = 0; i < deviation_count; i++)
        if (c->latents_std[i] == 0) return para_fail(PARA_ERR_CONFIG, "'%s': \"latents_std\" has a 0", config->path);
    if (deviation_count != c->latents) c->latents = 0; /* the pipeline wants both */
    return PARA_OK;
}

static para_status read_expansions(para_autoencoder_kl_mochi_config *c, const para_config *config) {
    memcpy(c->temporal_expansions, (int64_t[]){1, 2, 3}, 3 * sizeof(int64_t));
    memcpy(c->spatial_expansions, (int64_t[]){2, 2, 2}, 3 * sizeof(int64_t));
    PARA_TRY(read_ints(config, "temporal_expansions", 3, c->levels - 1, 1, 16, c->temporal_expansions));
    PARA_TRY(read_ints(config, "spatial_expansions", 3, c->levels - 1, 1, 2, c->spatial_expansions));
    c->spatial_ratio = c->temporal_ratio = 1;
    for (int i = 0; i + 1 < c->levels; i++)
        c->spatial_ratio *= c->spatial_expansions[i], c->temporal_ratio *= c->temporal_expansions[i];
    return PARA_OK;
}

para_status para_autoencoder_kl_mochi_config_read(para_autoencoder_kl_mochi_config *out, const para_config *config) {
    para_autoencoder_kl_mochi_config c = {.levels = 4};
    int64_t layers[PARA_VAE_MAX_LEVELS + 1] = {3, 3, 4, 6, 3}, channels[PARA_VAE_MAX_LEVELS + 1] = {128, 256, 512, 768};
    PARA_TRY(para_config_int_in(config, "in_channels", 15, 1, PARA_VAE_MAX_CHANNELS, &c.in_channels));
    PARA_TRY(para_config_int_in(config, "out_channels", 3, 1, PARA_VAE_MAX_CHANNELS, &c.out_channels));
    PARA_TRY(para_config_int_in(config, "latent_channels", 12, 1, PARA_MOCHI_MAX_LATENTS, &c.latent_channels));
    if (c.in_channels % PARA_MOCHI_FEATURES)
        return para_fail(PARA_ERR_CONFIG,
                         "'%s': \"in_channels\" is %" PRId64
                         "; it must be a multiple of 5, as each channel of pixels has 4 Fourier features",
                         config->path, c.in_channels);
    PARA_TRY(para_config_ints(config, "decoder_block_out_channels", channels, PARA_VAE_MAX_LEVELS, &c.levels));
    if (c.levels < 1) return para_fail(PARA_ERR_CONFIG, "'%s': \"decoder_block_out_channels\" is empty", config->path);
    PARA_TRY(read_channels(config, "decoder_block_out_channels", 4, c.levels, channels));
    memcpy(c.decoder_block_out_channels, channels, sizeof c.decoder_block_out_channels);
    memcpy(channels, (int64_t[]){64, 128, 256, 384}, 4 * sizeof *channels);
    PARA_TRY(read_channels(config, "encoder_block_out_channels", 4, c.levels, channels));
    memcpy(c.encoder_block_out_channels, channels, sizeof c.encoder_block_out_channels);
    PARA_TRY(read_ints(config, "layers_per_block", 5, c.levels + 1, 0, PARA_VAE_MAX_LAYERS, layers));
    memcpy(c.layers_per_block, layers, sizeof layers);
    PARA_TRY(read_attention(config, c.levels + 1, c.add_attention_block));
    PARA_TRY(read_expansions(&c, config));
    PARA_TRY(para_vae_config_activation(config, &c.act_fn));
    PARA_TRY(read_statistics(&c, config));
    PARA_TRY(para_vae_config_factor(config, "scaling_factor", 1, &c.scaling_factor));
    *out = c;
    return PARA_OK;
}
