/* The configs of the video VAEs, what they refuse, and the sizes that they make. SPDX-License-Identifier: Apache-2.0 */
#include "golden/video_vae_case.h"

#include "core/alloc.h"

static const video_vae_class *class_of(const char *name) {
    for (size_t i = 0; i < sizeof video_vae_classes / sizeof *video_vae_classes; i++)
        if (strstr(video_vae_classes[i].name, name)) return &video_vae_classes[i];
    fail_msg("no class %s", name);
    return NULL;
}

static para_status open_text(const video_vae_class *class, void **vae, const char *text) {
    para_config config;
    OK(para_config_parse(&config, text, strlen(text), "vae/config.json"));
    para_status status = class->open(vae, &config);
    para_config_close(&config);
    return status;
}

static void defaults_are_those_of_diffusers(void **state) {
    (void)state;
    void *vae;
    OK(open_text(class_of("Hunyuan"), &vae, "{}"));
    const para_autoencoder_kl_hunyuan_video_config *h = para_autoencoder_kl_hunyuan_video_settings(vae);
    const para_video_tiles *t = para_autoencoder_kl_hunyuan_video_tiles(vae);
    assert_true(h->in_channels == 3 && h->out_channels == 3 && h->latent_channels == 16 && h->levels == 4 &&
                h->block_out_channels[3] == 512);
    assert_true(h->layers_per_block == 2 && h->norm_num_groups == 32 && h->act_fn == PARA_ACT_SILU &&
                h->scaling_factor == 0.476986);
    assert_true(h->spatial_compression_ratio == 8 && h->temporal_compression_ratio == 4 && h->mid_block_add_attention);
    assert_true(t->min_height == 256 && t->min_width == 256 && t->min_num_frames == 16 && t->stride_height == 192 &&
                t->stride_width == 192 && t->stride_num_frames == 12);
    class_of("Hunyuan")->close(&vae);
    assert_null(vae);

    OK(open_text(class_of("Mochi"), &vae, "{}"));
    const para_autoencoder_kl_mochi_config *m = para_autoencoder_kl_mochi_settings(vae);
    const para_mochi_tiles *mt = para_autoencoder_kl_mochi_tiles(vae);
    assert_true(m->in_channels == 15 && m->out_channels == 3 && m->latent_channels == 12 && m->levels == 4 &&
                m->encoder_block_out_channels[3] == 384);
    assert_true(m->decoder_block_out_channels[3] == 768 && m->layers_per_block[3] == 6 && !m->add_attention_block[0] &&
                m->add_attention_block[4]);
    assert_true(m->temporal_ratio == 6 && m->spatial_ratio == 8 && m->latents == 12 &&
                m->latents_std[7] == 1.3720942357788521 && m->scaling_factor == 1);
    assert_true(m->latents_mean[11] == -0.0321993391887285 && mt->min_height == 256 && mt->stride_width == 192);
    class_of("Mochi")->close(&vae);
    assert_null(vae);

    OK(open_text(class_of("Cog"), &vae, "{}"));
    const para_autoencoder_kl_cogvideox_config *c = para_autoencoder_kl_cogvideox_settings(vae);
    const para_cogvideox_tiles *ct = para_autoencoder_kl_cogvideox_tiles(vae);
    assert_true(c->latent_channels == 16 && c->levels == 4 && c->block_out_channels[3] == 512 &&
                c->layers_per_block == 3 && c->norm_eps == 1e-6);
    assert_true(c->temporal_compression_ratio == 4 && c->scaling_factor == 1.15258426 && c->shift_factor == 0 &&
                c->force_upcast && !c->invert_scale_latents);
    assert_true(!c->use_quant_conv && !c->use_post_quant_conv && ct->min_height == 240 && ct->min_width == 360 &&
                ct->overlap_width == 0.2);
    assert_int_equal(para_autoencoder_kl_cogvideox_scale(vae), 8);
    class_of("Cog")->close(&vae);
    assert_null(vae);
}

static void unsupported_configs_are_refused_by_key(void **state) {
    (void)state;
    static const struct {
        const char *class, *text, *key;
    } bad[] = {
        {"Hunyuan", "{\"act_fn\": \"mish\"}", "act_fn"},
        {"Hunyuan", "{\"block_out_channels\": [32, 64, 64]}", "down_block_types"},
        {"Hunyuan", "{\"up_block_types\": [\"HunyuanVideoUpBlock3D\", \"A\", \"B\", \"C\"]}", "up_block_types"},
        {"Hunyuan", "{\"temporal_compression_ratio\": 8}", "temporal_compression_ratio"},
        {"Hunyuan", "{\"spatial_compression_ratio\": 6}", "spatial_compression_ratio"},
        {"Hunyuan", "{\"spatial_compression_ratio\": 32}", "spatial_compression_ratio"},
        {"Hunyuan", "{\"norm_num_groups\": 24}", "block_out_channels"},
        {"Hunyuan", "{\"scaling_factor\": 0}", "scaling_factor"},
        {"Hunyuan", "{\"mid_block_add_attention\": 1}", "mid_block_add_attention"},
        {"Mochi", "{\"in_channels\": 12}", "in_channels"},
        {"Mochi", "{\"encoder_block_out_channels\": [64, 128]}", "encoder_block_out_channels"},
        {"Mochi", "{\"decoder_block_out_channels\": [64, 128, 256, 300]}", "decoder_block_out_channels"},
        {"Mochi", "{\"layers_per_block\": [3, 3, 4, 6]}", "layers_per_block"},
        {"Mochi", "{\"spatial_expansions\": [2, 2, 3]}", "spatial_expansions"},
        {"Mochi", "{\"temporal_expansions\": [0, 2, 3]}", "temporal_expansions"},
        {"Mochi", "{\"add_attention_block\": [true, 1, true, true, true]}", "add_attention_block"},
        {"Mochi", "{\"latents_mean\": [1, 2]}", "latents_mean"},
        {"Mochi", "{\"latent_channels\": 4}", "latents_mean"},
        {"Mochi", "{\"latents_std\": [1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 0]}", "latents_std"},
        {"Cog", "{\"temporal_compression_ratio\": 3}", "temporal_compression_ratio"},
        {"Cog", "{\"temporal_compression_ratio\": 16}", "temporal_compression_ratio"},
        {"Cog", "{\"use_quant_conv\": true}", "use_quant_conv"},
        {"Cog", "{\"use_post_quant_conv\": true}", "use_post_quant_conv"},
        {"Cog", "{\"norm_eps\": -1}", "norm_eps"},
        {"Cog", "{\"sample_width\": 1}", "sample_width"},
        {"Cog", "{\"down_block_types\": [\"DownEncoderBlock2D\"]}", "down_block_types"},
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        void *vae;
        assert_int_equal(open_text(class_of(bad[i].class), &vae, bad[i].text), PARA_ERR_CONFIG);
        assert_null(vae);
        if (!strstr(para_last_error(), bad[i].key) || !strstr(para_last_error(), "vae/config.json"))
            fail_msg("%s: %s", bad[i].text, para_last_error());
    }
}

static void failed_allocations_end_cleanly(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof video_vae_classes / sizeof *video_vae_classes; i++)
        for (long n = 1;; n++) {
            para_config config;
            void *vae;
            OK(para_config_parse(&config, "{}", 2, "vae/config.json"));
            para_alloc_fail_after(n);
            para_status status = video_vae_classes[i].open(&vae, &config);
            bool reached = para_alloc_count() >= n;
            para_alloc_fail_after(0);
            para_config_close(&config);
            if (reached) {
                assert_int_equal(status, PARA_ERR_MEMORY);
                assert_null(vae);
                continue;
            }
            assert_int_equal(status, PARA_OK);
            assert_true(n > 3);
            video_vae_classes[i].close(&vae);
            break;
        }
}

/* Frames, height and width that diffusers 0.42.1 gave, or its arithmetic for the large ones. */
static void sizes_are_those_of_diffusers(void **state) {
    (void)state;
    static const struct {
        const char *class;
        bool decode, tiling;
        int64_t in[3], out[3];
    } known[] = {
        {"Hunyuan", true, true, {33, 90, 160}, {129, 720, 1280}},
        {"Hunyuan", true, false, {16, 68, 120}, {61, 544, 960}},
        {"Hunyuan", true, true, {5, 33, 32}, {17, 264, 256}},
        {"Hunyuan", true, false, {1, 1, 3}, {1, 8, 24}},
        {"Hunyuan", false, true, {129, 720, 1280}, {33, 90, 160}},
        {"Hunyuan", false, true, {14, 270, 263}, {4, 33, 32}},
        {"Hunyuan", false, false, {14, 31, 9}, {4, 4, 2}},
        {"Mochi", true, true, {15, 60, 106}, {85, 480, 848}},
        {"Mochi", true, false, {1, 3, 5}, {1, 24, 40}},
        {"Mochi", false, true, {85, 480, 848}, {15, 60, 106}},
        {"Mochi", false, false, {12, 17, 23}, {2, 2, 2}},
        {"Cog", true, true, {13, 60, 90}, {49, 480, 720}},
        {"Cog", true, false, {4, 2, 3}, {16, 16, 24}},
        {"Cog", true, false, {1, 2, 3}, {1, 16, 24}},
        {"Cog", false, true, {49, 480, 720}, {13, 60, 90}},
        {"Cog", false, false, {20, 17, 25}, {5, 2, 3}},
        {"Cog", true, false, {3, 2, 3}, {9, 16, 24}},
    };
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        const video_vae_class *class = class_of(known[i].class);
        void *vae;
        int64_t out[3];
        OK(open_text(class, &vae, "{}"));
        OK(class->size(vae, known[i].decode, known[i].in, known[i].tiling, out));
        if (memcmp(out, known[i].out, sizeof out) != 0)
            fail_msg("%s %zu: %lld %lld %lld", known[i].class, i, (long long)out[0], (long long)out[1],
                     (long long)out[2]);
        assert_int_equal(class->size(vae, known[i].decode, (int64_t[]){0, 8, 8}, false, out), PARA_ERR_SHAPE);
        class->close(&vae);
    }
}

/* Elements of all weights at the default configs, biases included, as diffusers' classes have them. */
static void weights_are_as_many_as_those_of_diffusers(void **state) {
    (void)state;
    static const struct {
        const char *class;
        int64_t decoder, encoder;
    } known[] = {{"Hunyuan", 146136339, 100342464}, {"Cog", 123368451, 92215456}, {"Mochi", 362526595, 97222016}};
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        for (int encoder = 0; encoder < 2; encoder++) {
            const video_vae_class *class = class_of(known[i].class);
            para_weights *list;
            void *vae;
            OK(open_text(class, &vae, "{}"));
            OK(para_weights_open(&list));
            class->weights(vae, list, NULL, encoder ? PARA_VAE_ENCODER : PARA_VAE_DECODER);
            assert_int_equal(para_weights_parameters(list), encoder ? known[i].encoder : known[i].decoder);
            para_weights_close(&list);
            class->close(&vae);
        }
}

static void what_does_not_fit_is_refused(void **state) {
    (void)state;
    void *vae;
    int64_t out[3];
    para_device *dev;
    para_tensor x, y;
    OK(open_text(class_of("Mochi"), &vae, "{}"));
    assert_int_equal(class_of("Mochi")->size(vae, false, (int64_t[]){1, 7, 8}, false, out), PARA_ERR_SHAPE);
    para_autoencoder_kl_mochi_tiles(vae)->stride_width = 257;
    assert_int_equal(class_of("Mochi")->size(vae, true, (int64_t[]){1, 7, 8}, true, out), PARA_ERR_ARGUMENT);
    class_of("Mochi")->close(&vae);
    OK(open_text(class_of("Cog"), &vae, "{}"));
    para_autoencoder_kl_cogvideox_tiles(vae)->overlap_height = 1;
    assert_int_equal(class_of("Cog")->size(vae, true, (int64_t[]){1, 7, 8}, true, out), PARA_ERR_ARGUMENT);
    class_of("Cog")->close(&vae);
    OK(open_text(class_of("Hunyuan"), &vae, "{}"));
    OK(para_dry_open(&dev));
    OK(PARA_NEW(dev, &x, PARA_F32, 1, 1, 2, 2, 16));
    OK(PARA_NEW(dev, &y, PARA_F32, 1, 1, 16, 17, 3));
    assert_int_equal(class_of("Hunyuan")->run(vae, true, dev, NULL, x, false, y), PARA_ERR_SHAPE);
    OK(PARA_NEW(dev, &y, PARA_F32, 1, 1, 16, 16, 4));
    assert_int_equal(class_of("Hunyuan")->run(vae, true, dev, NULL, x, false, y), PARA_ERR_SHAPE);
    OK(PARA_NEW(dev, &y, PARA_BF16, 1, 1, 16, 16, 3));
    assert_int_equal(class_of("Hunyuan")->run(vae, true, dev, NULL, x, false, y), PARA_ERR_SHAPE);
    para_device_close(&dev);
    class_of("Hunyuan")->close(&vae);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(defaults_are_those_of_diffusers),
        cmocka_unit_test(unsupported_configs_are_refused_by_key),
        cmocka_unit_test(failed_allocations_end_cleanly),
        cmocka_unit_test(sizes_are_those_of_diffusers),
        cmocka_unit_test(weights_are_as_many_as_those_of_diffusers),
        cmocka_unit_test(what_does_not_fit_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
