/* HunyuanVideoTransformer3DModel's config, and what a step of the real one costs. SPDX-License-Identifier: Apache-2.0 */
#include "backend/counts.h"
#include "backend/weights.h"
#include "comm/rank.h"
#include "io_checks.h"
#include "model/hunyuan_video.h"
#include "parallel/mesh.h"

static para_status open_text(para_transformer **out, const char *text) {
    para_config config;
    assert_ok(para_config_parse(&config, text, strlen(text), "transformer/config.json"));
    para_status status = para_hunyuan_video_open(out, &config);
    para_config_close(&config);
    return status;
}

static void defaults_are_those_of_diffusers(void **state) {
    (void)state;
    para_transformer *t;
    para_weights *weights;
    para_device *dry;
    int64_t patch_t, patch;
    assert_ok(open_text(&t, "{}"));
    assert_true(t->in_channels == 64 && t->out_channels == 64 && t->inner_dim == 3072 && t->heads == 24);
    assert_true(t->joint_attention_dim == 4096 && t->pooled_projection_dim == 768 && t->guidance_embeds);
    assert_int_equal(t->table->num_blocks(t), 60);
    para_hunyuan_video_patch(t, &patch_t, &patch);
    assert_true(patch_t == 1 && patch == 2);
    assert_ok(para_dry_open(&dry));
    assert_ok(para_weights_open(&weights));
    t->table->weights(t, weights);
    assert_ok(para_weights_load(weights, dry, NULL, PARA_BF16));
    assert_int_equal(para_weights_parameters(weights), 12821012544); /* as torch counts them */
    para_weights_close(&weights);
    para_device_close(&dry);
    t->table->close(t);
}

/* One step of the default model: every token once through every matrix, all pairs of tokens in attention, the text without padding. */
static para_status count_step(para_device *dry, para_transformer *t, const int64_t grid[3], int64_t text,
                              para_counts *prepared, para_counts *step) {
    para_rank rank = {.device = dry, .size = 1};
    para_mesh mesh = {1, 1, 1};
    para_layout_options o = PARA_LAYOUT_OPTIONS_INIT;
    para_layout *layout;
    o.tokens[PARA_IMAGE] = grid[0] * grid[1] * grid[2];
    o.tokens[PARA_TEXT] = text;
    assert_ok(para_layout_open(&layout, &mesh, &o));
    para_conditioning_inputs in = {.guidance_scale = 6,
                                   .steps = 1,
                                   .timesteps = &(float){1000},
                                   .frames = grid[0],
                                   .height = grid[1],
                                   .width = grid[2],
                                   .shard = para_shard_of(&mesh, layout, 0),
                                   .dtype = PARA_BF16};
    para_conditioning conditioning;
    para_item item;
    para_tensor latents, out;
    PARA_TRY(PARA_NEW(dry, &in.encoder_hidden_states, PARA_BF16, text, t->joint_attention_dim));
    PARA_TRY(PARA_NEW(dry, &in.pooled_projections, PARA_BF16, 1, t->pooled_projection_dim));
    PARA_TRY(PARA_NEW(dry, &latents, PARA_BF16, o.tokens[PARA_IMAGE], t->in_channels));
    PARA_TRY(PARA_NEW(dry, &out, PARA_BF16, o.tokens[PARA_IMAGE], t->out_channels));
    *para_dry_counts(dry) = (para_counts){0};
    PARA_TRY(t->table->prepare(t, &rank, &in, &conditioning));
    *prepared = *para_dry_counts(dry);
    PARA_TRY(para_item_open(&rank, t, &conditioning, NULL, &item));
    PARA_TRY(para_item_go_to(&rank, &item, 0));
    *para_dry_counts(dry) = (para_counts){0};
    PARA_TRY(para_transformer_forward(t, &rank, &item, latents, out));
    *step = *para_dry_counts(dry);
    para_layout_close(&layout);
    return PARA_OK;
}

static void a_step_costs_what_it_must(void **state) {
    (void)state;
    static const int64_t grid[3] = {16, 34, 60}; /* 61 frames of 544 × 960 */
    enum { TEXT = 40, REFINER = 2, BLOCKS = 60 };
    para_transformer *t;
    para_weights *weights;
    para_device *dry;
    para_counts prepared, step;
    assert_ok(open_text(&t, "{}"));
    assert_ok(para_dry_open(&dry));
    assert_ok(para_weights_open(&weights));
    t->table->weights(t, weights);
    assert_ok(para_weights_load(weights, dry, NULL, PARA_BF16));
    assert_ok(count_step(dry, t, grid, TEXT, &prepared, &step));
    double d = 3072, video = 16.0 * 34 * 60, all = video + TEXT;
    assert_true(step.attention_flops == BLOCKS * 4 * all * all * d);
    assert_true(step.matmul_flops == 2 * (BLOCKS * all * 12 * d * d + 2 * video * 64 * d));
    assert_true(prepared.attention_flops == REFINER * 4.0 * TEXT * TEXT * d);
    /* Text through the refiner, and one row through what makes the modulation. */
    double refiner = TEXT * (4096 * d + REFINER * 12 * d * d), embedders = 3 * 256 + 768 + 4096 + 5 * d,
           modulation = 20 * 12 + 40 * 3 + 2 + REFINER * 2, mean = TEXT * 4096;
    assert_true(prepared.matmul_flops == 2 * (refiner + embedders * d + modulation * d * d + mean));
    para_weights_close(&weights);
    para_device_close(&dry);
    t->table->close(t);
}

static void unsupported_configs_are_refused_by_key(void **state) {
    (void)state;
    static const struct {
        const char *text, *says;
    } bad[] = {
        {"{\"image_condition_type\": \"latent_concat\"}", "image_condition_type is \"latent_concat\""},
        {"{\"image_condition_type\": \"token_replace\"}", "only models that make videos from text"},
        {"{\"image_condition_type\": 1}", "image_condition_type"},
        {"{\"qk_norm\": \"layer_norm\"}", "qk_norm is \"layer_norm\""},
        {"{\"in_channels\": 33, \"out_channels\": 16}", "out_channels is 16 but in_channels is 33"},
        {"{\"out_channels\": 32}", "out_channels is 32 but in_channels is 16"},
        {"{\"rope_axes_dim\": [16, 56]}", "rope_axes_dim has 2 numbers"},
        {"{\"rope_axes_dim\": [16, 56, 54]}", "rope_axes_dim adds up to 126"},
        {"{\"rope_axes_dim\": [17, 55, 56]}", "rope_axes_dim holds 17"},
        {"{\"rope_axes_dim\": [16, 56, 56, 0]}", "rope_axes_dim"},
        {"{\"rope_theta\": 0}", "rope_theta"},
        {"{\"rope_theta\": \"256\"}", "rope_theta"},
        {"{\"mlp_ratio\": -1}", "mlp_ratio"},
        {"{\"mlp_ratio\": 1e9}", "mlp_ratio"},
        {"{\"mlp_ratio\": 1e-5}", "mlp_ratio"},
        {"{\"patch_size\": 0}", "patch_size"},
        {"{\"patch_size_t\": 0}", "patch_size_t"},
        {"{\"patch_size\": [1, 2, 2]}", "patch_size"},
        {"{\"num_layers\": -1}", "num_layers"},
        {"{\"num_single_layers\": 5000}", "num_single_layers"},
        {"{\"num_refiner_layers\": -2}", "num_refiner_layers"},
        {"{\"num_attention_heads\": 0}", "num_attention_heads"},
        {"{\"attention_head_dim\": 0}", "attention_head_dim"},
        {"{\"text_embed_dim\": 0}", "text_embed_dim"},
        {"{\"pooled_projection_dim\": 0}", "pooled_projection_dim"},
        {"{\"guidance_embeds\": 1}", "guidance_embeds"},
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        para_transformer *t;
        assert_fails(PARA_ERR_CONFIG, bad[i].says, open_text(&t, bad[i].text));
        assert_non_null(strstr(para_last_error(), "transformer/config.json"));
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(defaults_are_those_of_diffusers),
        cmocka_unit_test(a_step_costs_what_it_must),
        cmocka_unit_test(unsupported_configs_are_refused_by_key),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
