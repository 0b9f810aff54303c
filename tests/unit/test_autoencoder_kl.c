/* AutoencoderKL's config, tiles and refusals. SPDX-License-Identifier: Apache-2.0 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "core/alloc.h"
#include "vae/autoencoder_kl.h"
#include "vae/vae_tiling.h"

#define TWO_LEVELS                                                                                                     \
    "\"down_block_types\": [\"DownEncoderBlock2D\", \"DownEncoderBlock2D\"], "                                         \
    "\"up_block_types\": [\"UpDecoderBlock2D\", \"UpDecoderBlock2D\"], \"norm_num_groups\": 4"

static para_status open_text(para_autoencoder_kl **vae, const char *text) {
    para_config config;
    assert_int_equal(para_config_parse(&config, text, strlen(text), "vae/config.json"), PARA_OK);
    para_status status = para_autoencoder_kl_open(vae, &config);
    para_config_close(&config);
    return status;
}

static void defaults_are_those_of_diffusers(void **state) {
    (void)state;
    para_autoencoder_kl *vae;
    assert_int_equal(open_text(&vae, "{}"), PARA_OK);
    const para_autoencoder_kl_config *c = para_autoencoder_kl_settings(vae);
    assert_true(c->in_channels == 3 && c->out_channels == 3 && c->latent_channels == 4 && c->levels == 1);
    assert_true(c->block_out_channels[0] == 64 && c->layers_per_block == 1 && c->norm_num_groups == 32);
    assert_true(c->sample_size == 32 && c->scaling_factor == 0.18215 && c->shift_factor == 0);
    assert_true(c->use_quant_conv && c->use_post_quant_conv && c->mid_block_add_attention && c->force_upcast);
    assert_int_equal(c->act_fn, PARA_ACT_SILU);
    assert_int_equal(para_autoencoder_kl_scale(vae), 1);
    para_autoencoder_kl_close(&vae);
    assert_null(vae);
}

static void unsupported_configs_are_refused_by_key(void **state) {
    (void)state;
    static const struct {
        const char *text, *key;
    } bad[] = {
        {"{\"act_fn\": \"mish\"}", "act_fn"},
        {"{\"block_out_channels\": [32, 64]}", "down_block_types"},
        {"{\"block_out_channels\": []}", "block_out_channels"},
        {"{\"block_out_channels\": [8, 10], " TWO_LEVELS "}", "block_out_channels"},
        {"{\"block_out_channels\": [8, 0], " TWO_LEVELS "}", "block_out_channels"},
        {"{\"block_out_channels\": [8, 8, 8], " TWO_LEVELS "}", "down_block_types"},
        {"{\"down_block_types\": [\"AttnDownEncoderBlock2D\"]}", "AttnDownEncoderBlock2D"},
        {"{\"up_block_types\": [\"AttnUpDecoderBlock2D\"]}", "AttnUpDecoderBlock2D"},
        {"{\"up_block_types\": [7]}", "up_block_types"},
        {"{\"norm_num_groups\": 0}", "norm_num_groups"},
        {"{\"layers_per_block\": 0}", "layers_per_block"},
        {"{\"latent_channels\": -1}", "latent_channels"},
        {"{\"sample_size\": [512, 512]}", "sample_size"},
        {"{\"scaling_factor\": 0}", "scaling_factor"},
        {"{\"use_quant_conv\": 1}", "use_quant_conv"},
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        para_autoencoder_kl *vae;
        assert_int_equal(open_text(&vae, bad[i].text), PARA_ERR_CONFIG);
        assert_null(vae);
        if (!strstr(para_last_error(), bad[i].key) || !strstr(para_last_error(), "vae/config.json"))
            fail_msg("%s: %s", bad[i].text, para_last_error());
    }
}

static void failed_allocations_end_cleanly(void **state) {
    (void)state;
    for (long n = 1;; n++) {
        para_config config;
        assert_int_equal(para_config_parse(&config, "{}", 2, "vae/config.json"), PARA_OK);
        para_autoencoder_kl *vae;
        para_alloc_fail_after(n);
        para_status status = para_autoencoder_kl_open(&vae, &config);
        bool reached = para_alloc_count() >= n;
        para_alloc_fail_after(0);
        para_config_close(&config);
        if (!reached) {
            assert_int_equal(status, PARA_OK);
            assert_true(n > 3);
            para_autoencoder_kl_close(&vae);
            return;
        }
        assert_int_equal(status, PARA_ERR_MEMORY);
        assert_null(vae);
    }
}

/* Sizes that AutoencoderKL.tiled_decode and tiled_encode of diffusers 0.42.1 gave. */
static void tiled_sizes_are_those_of_diffusers(void **state) {
    (void)state;
    para_autoencoder_kl *vae;
    int64_t h, w;
    assert_int_equal(open_text(&vae, "{\"block_out_channels\": [8, 16], \"sample_size\": 24, " TWO_LEVELS "}"),
                     PARA_OK);
    assert_int_equal(para_autoencoder_kl_decoded_size(vae, 20, 28, true, &h, &w), PARA_OK);
    assert_true(h == 40 && w == 56);
    assert_int_equal(para_autoencoder_kl_encoded_size(vae, 40, 52, true, &h, &w), PARA_OK);
    assert_true(h == 20 && w == 26);
    assert_int_equal(para_autoencoder_kl_decoded_size(vae, 12, 12, true, &h, &w), PARA_OK); /* one tile is no tiling */
    assert_true(h == 24 && w == 24);
    assert_int_equal(para_autoencoder_kl_encoded_size(vae, 1, 9, false, &h, &w), PARA_ERR_SHAPE);
    assert_int_equal(para_autoencoder_kl_encoded_size(vae, 40, 37, true, &h, &w),
                     PARA_ERR_SHAPE); /* a tile of one column */
    para_autoencoder_kl_close(&vae);

    assert_int_equal(open_text(&vae, "{\"block_out_channels\": [8, 16], \"sample_size\": 30, " TWO_LEVELS "}"),
                     PARA_OK);
    assert_int_equal(para_autoencoder_kl_decoded_size(vae, 25, 40, true, &h, &w), PARA_OK);
    assert_true(h == 52 && w == 83);
    assert_int_equal(para_autoencoder_kl_encoded_size(vae, 50, 62, true, &h, &w), PARA_OK);
    assert_true(h == 27 && w == 33);
    para_autoencoder_kl_close(&vae);

    assert_int_equal(open_text(&vae, "{\"sample_size\": 1}"), PARA_OK);
    assert_int_equal(para_autoencoder_kl_decoded_size(vae, 2, 2, true, &h, &w),
                     PARA_ERR_SHAPE); /* tiles make no progress */
    para_autoencoder_kl_close(&vae);
}

/* What is kept of the tiles covers the video once, and what goes in is read in whole. */
static void tiles_cover_the_video_once(void **state) {
    (void)state;
    const para_vae_tile_rule rule = {.in_size = 12, .in_step = 9, .multiply = 2, .divide = 1, .blend = 6, .limit = 18};
    const para_vae_tile_rule frames = {.in_size = 4, .in_step = 3, .multiply = 4, .divide = 1, .blend = 4, .limit = 12, .causal = true, .crop = true};
    for (int64_t h = 1; h < 40; h += 3) {
        for (int64_t w = 1; w < 40; w++) {
            para_vae_tiles tiles;
            int64_t in[] = {1 + (h + w) % 11, h, w}, out[] = {4 * in[0] - 3, 2 * h, 2 * w};
            static unsigned char seen[41][80][80];
            memset(seen, 0, sizeof seen);
            assert_int_equal(para_vae_axis_make(&tiles.axis[0], &frames, in[0]), PARA_OK);
            for (int k = 1; k < 3; k++) assert_int_equal(para_vae_axis_make(&tiles.axis[k], &rule, in[k]), PARA_OK);
            for (int k = 0; k < 3; k++) assert_int_equal(tiles.axis[k].out, out[k]);
            for (int i = 0; i < para_vae_tiles_count(&tiles); i++) {
                para_vae_tile t = para_vae_tiles_at(&tiles, i);
                for (int k = 0; k < 3; k++) {
                    const para_vae_span *s = &t.span[k];
                    assert_true(s->in_n >= 1 && s->in_at + s->in_n <= in[k] && s->drop + s->keep <= s->out_n && s->keep >= 1);
                    assert_int_equal(s->out_at, k ? 2 * s->in_at : 4 * s->in_at + (s->in_at > 0));
                }
                for (int64_t f = 0; f < t.span[0].keep; f++)
                    for (int64_t y = 0; y < t.span[1].keep; y++)
                        for (int64_t x = 0; x < t.span[2].keep; x++) seen[t.span[0].out_at + f][t.span[1].out_at + y][t.span[2].out_at + x]++;
            }
            for (int64_t f = 0; f < out[0]; f++)
                for (int64_t y = 0; y < out[1]; y++)
                    for (int64_t x = 0; x < out[2]; x++) assert_int_equal(seen[f][y][x], 1);
        }
    }
}

static void log_variances_are_clamped(void **state) {
    (void)state;
    const float moments[] = {1, 2, -31, 3, 4, 5, 25, -30}; /* [2, 2 · 2] */
    float mean[4], logvar[4];
    para_diagonal_gaussian(moments, 2, 2, mean, logvar);
    assert_memory_equal(mean, ((float[]){1, 2, 4, 5}), sizeof mean);
    assert_memory_equal(logvar, ((float[]){-30, 3, 20, -30}), sizeof logvar);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(defaults_are_those_of_diffusers), cmocka_unit_test(unsupported_configs_are_refused_by_key),
        cmocka_unit_test(failed_allocations_end_cleanly),  cmocka_unit_test(tiled_sizes_are_those_of_diffusers),
        cmocka_unit_test(tiles_cover_the_video_once),    cmocka_unit_test(log_variances_are_clamped),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
