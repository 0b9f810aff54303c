/* Config of a CogVideoXTransformer3DModel. SPDX-License-Identifier: Apache-2.0 */
#include "model/cogvideox_config.h"

#include <math.h>
#include <string.h>

#include "core/error.h"

enum { MOST_BLOCKS = 1024, MOST = 1 << 20 /* channels and the like */ };

static para_status read_sizes(para_cogvideox_config *c, const para_config *config) {
    const struct {
        const char *key;
        int64_t fallback, min, max, *out;
    } sizes[] = {
        {"num_attention_heads", 30, 1, 4096, &c->num_attention_heads},
        {"attention_head_dim", 64, 1, 4096, &c->attention_head_dim},
        {"in_channels", 16, 1, 4096, &c->in_channels},
        {"freq_shift", 0, -MOST, MOST, &c->freq_shift},
        {"time_embed_dim", 512, 1, MOST, &c->time_embed_dim},
        {"text_embed_dim", 4096, 1, MOST, &c->text_embed_dim},
        {"num_layers", 30, 0, MOST_BLOCKS, &c->num_layers},
        {"sample_width", 90, 1, MOST, &c->sample_width},
        {"sample_height", 60, 1, MOST, &c->sample_height},
        {"sample_frames", 49, 1, MOST, &c->sample_frames},
        {"patch_size", 2, 1, 64, &c->patch_size},
        {"temporal_compression_ratio", 4, 1, 64, &c->temporal_compression_ratio},
        {"max_text_seq_length", 226, 1, MOST, &c->max_text_seq_length},
    };
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
        PARA_TRY(para_config_int_in(config, sizes[i].key, sizes[i].fallback, sizes[i].min, sizes[i].max, sizes[i].out));
    c->patch_size_t = 0;
    if (para_config_has(config, "patch_size_t"))
        PARA_TRY(para_config_int_in(config, "patch_size_t", 1, 1, 64, &c->patch_size_t));
    c->inner_dim = c->num_attention_heads * c->attention_head_dim;
    if (c->freq_shift * 2 != c->inner_dim) return PARA_OK;
    return para_fail(PARA_ERR_CONFIG, "%s: freq_shift is %lld, half of the inner dimension, which divides by zero",
                     config->path, (long long)c->freq_shift);
}

static para_status read_switches(para_cogvideox_config *c, const para_config *config) {
    const struct {
        const char *key;
        bool fallback, *out;
    } switches[] = {
        {"flip_sin_to_cos", true, &c->flip_sin_to_cos},
        {"attention_bias", true, &c->attention_bias},
        {"patch_bias", true, &c->patch_bias},
        {"norm_elementwise_affine", true, &c->norm_elementwise_affine},
        {"use_rotary_positional_embeddings", false, &c->use_rotary_positional_embeddings},
        {"use_learned_positional_embeddings", false, &c->use_learned_positional_embeddings},
    };
    for (size_t i = 0; i < sizeof switches / sizeof *switches; i++)
        PARA_TRY(para_config_bool(config, switches[i].key, switches[i].fallback, switches[i].out));
    return PARA_OK;
}

static para_status read_scale(const para_config *config, const char *key, double fallback, double *out) {
    PARA_TRY(para_config_number(config, key, fallback, out));
    if (*out > 0 && isfinite(*out)) return PARA_OK;
    return para_fail(PARA_ERR_CONFIG, "%s: %s is %g; it must be above 0", config->path, key, *out);
}

static para_status read_numbers(para_cogvideox_config *c, const para_config *config) {
    double eps;
    PARA_TRY(para_config_number(config, "norm_eps", 1e-5, &eps));
    if (!(eps >= 0 && eps < 1))
        return para_fail(PARA_ERR_CONFIG, "%s: norm_eps is %g; it must lie between 0 and 1", config->path, eps);
    c->norm_eps = (float)eps;
    PARA_TRY(read_scale(config, "spatial_interpolation_scale", 1.875, &c->spatial_interpolation_scale));
    return read_scale(config, "temporal_interpolation_scale", 1.0, &c->temporal_interpolation_scale);
}

/* The names of FeedForward, and those of get_activation. */
static para_status read_activations(para_cogvideox_config *c, const para_config *config) {
    static const struct {
        const char *name;
        para_activation f;
        bool gated;
    } feed_forward[] = {
        {"gelu-approximate", PARA_ACT_GELU_TANH, false},
        {"gelu", PARA_ACT_GELU_ERF, false},
        {"geglu", PARA_ACT_GELU_ERF, true},
        {"geglu-approximate", PARA_ACT_QUICK_GELU, false},
        {"swiglu", PARA_ACT_SILU, true},
        {"linear-silu", PARA_ACT_SILU, false},
    };
    static const struct {
        const char *name;
        para_activation f;
    } of_timestep[] = {
        {"silu", PARA_ACT_SILU}, {"swish", PARA_ACT_SILU}, {"gelu", PARA_ACT_GELU_ERF}, {"relu", PARA_ACT_RELU}};
    const char *name, *timestep;
    size_t i = 0, n = sizeof feed_forward / sizeof *feed_forward, k = 0,
           kinds = sizeof of_timestep / sizeof *of_timestep;
    PARA_TRY(para_config_string(config, "activation_fn", "gelu-approximate", &name));
    PARA_TRY(para_config_string(config, "timestep_activation_fn", "silu", &timestep));
    while (i < n && strcmp(feed_forward[i].name, name) != 0) i++;
    while (k < kinds && strcmp(of_timestep[k].name, timestep) != 0) k++;
    if (i == n)
        return para_fail(PARA_ERR_CONFIG,
                         "%s: activation_fn is \"%s\"; supported are gelu-approximate, gelu, geglu, geglu-approximate, "
                         "swiglu and linear-silu",
                         config->path, name);
    if (k == kinds)
        return para_fail(PARA_ERR_CONFIG,
                         "%s: timestep_activation_fn is \"%s\"; supported are silu, swish, gelu and relu", config->path,
                         timestep);
    c->activation_fn = feed_forward[i].f;
    c->gated = feed_forward[i].gated;
    c->timestep_activation_fn = of_timestep[k].f;
    return PARA_OK;
}

/* What only models have that take an image, too. */
static para_status refuse_other_kinds(const para_cogvideox_config *c, const para_config *config) {
    int64_t ofs, out_channels;
    PARA_TRY(para_config_int(config, "ofs_embed_dim", 0, &ofs));
    PARA_TRY(para_config_int(config, "out_channels", 16, &out_channels));
    if (ofs != 0)
        return para_fail(PARA_ERR_CONFIG,
                         "%s: ofs_embed_dim is %lld; only models that make videos from text are supported, "
                         "which have null",
                         config->path, (long long)ofs);
    if (out_channels == c->in_channels) return PARA_OK;
    return para_fail(PARA_ERR_CONFIG,
                     "%s: out_channels is %lld but in_channels is %lld; a text-to-video model needs both equal",
                     config->path, (long long)out_channels, (long long)c->in_channels);
}

/* What diffusers itself cannot run. */
static para_status check_positions(const para_cogvideox_config *c, const para_config *config) {
    if (c->use_learned_positional_embeddings && !c->use_rotary_positional_embeddings)
        return para_fail(PARA_ERR_CONFIG,
                         "%s: use_learned_positional_embeddings needs use_rotary_positional_embeddings, which is false",
                         config->path);
    if (c->use_rotary_positional_embeddings && c->attention_head_dim % 16)
        return para_fail(PARA_ERR_CONFIG,
                         "%s: attention_head_dim is %lld; with use_rotary_positional_embeddings it must be a multiple "
                         "of 16",
                         config->path, (long long)c->attention_head_dim);
    if (!para_cogvideox_adds_positions(c)) return PARA_OK;
    if (c->inner_dim % 16)
        return para_fail(PARA_ERR_CONFIG,
                         "%s: num_attention_heads times attention_head_dim is %lld; with positions that are added to "
                         "the tokens it must be a multiple of 16",
                         config->path, (long long)c->inner_dim);
    if (c->patch_size_t > 1)
        return para_fail(PARA_ERR_CONFIG,
                         "%s: patch_size_t is %lld; positions that are added to the tokens need 1 or null",
                         config->path, (long long)c->patch_size_t);
    return PARA_OK;
}

para_status para_cogvideox_config_read(para_cogvideox_config *out, const para_config *config) {
    PARA_TRY(read_sizes(out, config));
    PARA_TRY(read_switches(out, config));
    PARA_TRY(read_numbers(out, config));
    PARA_TRY(read_activations(out, config));
    PARA_TRY(refuse_other_kinds(out, config));
    PARA_TRY(check_positions(out, config));
    if (out->sample_width >= out->patch_size && out->sample_height >= out->patch_size) return PARA_OK;
    return para_fail(PARA_ERR_CONFIG, "%s: sample_height and sample_width must not be below patch_size, %lld",
                     config->path, (long long)out->patch_size);
}
