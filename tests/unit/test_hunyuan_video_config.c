/* HunyuanVideoTransformer3DModel's config, and what a step of the real one costs. SPDX-License-Identifier: Apache-2.0 */
#include "model/hunyuan_video.h"
#include "transformer_config.h"

static void defaults_are_those_of_diffusers(void **state) {
    (void)state;
    dry_model m;
    int64_t patch_t, patch;
    dry_model_open(&m, para_hunyuan_video_open, "{}", 12821012544);
    const para_transformer *t = m.t;
    assert_true(t->in_channels == 64 && t->out_channels == 64 && t->inner_dim == 3072 && t->heads == 24);
    assert_true(t->joint_attention_dim == 4096 && t->pooled_projection_dim == 768 && t->guidance_embeds);
    assert_int_equal(t->table->num_blocks(t), 60);
    para_hunyuan_video_patch(t, &patch_t, &patch);
    assert_true(patch_t == 1 && patch == 2);
    dry_model_close(&m);
}

/* Every token once through every matrix, all pairs of tokens in attention, the text without padding. */
static void a_step_costs_what_it_must(void **state) {
    (void)state;
    static const int64_t grid[3] = {16, 34, 60}; /* 61 frames of 544 × 960 */
    enum { TEXT = 40, REFINER = 2, BLOCKS = 60 };
    dry_model m;
    para_counts prepared, step;
    dry_model_open(&m, para_hunyuan_video_open, "{}", 12821012544);
    assert_ok(count_step(&m, grid, TEXT, &prepared, &step));
    double d = 3072, video = 16.0 * 34 * 60, all = video + TEXT;
    assert_true(step.attention_flops == BLOCKS * 4 * all * all * d);
    assert_true(step.matmul_flops == 2 * (BLOCKS * all * 12 * d * d + 2 * video * 64 * d));
    assert_true(prepared.attention_flops == REFINER * 4.0 * TEXT * TEXT * d);
    /* Text through the refiner, and one row through what makes the modulation. */
    double refiner = TEXT * (4096 * d + REFINER * 12 * d * d), embedders = 3 * 256 + 768 + 4096 + 5 * d,
           modulation = 20 * 12 + 40 * 3 + 2 + REFINER * 2, mean = TEXT * 4096;
    assert_true(prepared.matmul_flops == 2 * (refiner + embedders * d + modulation * d * d + mean));
    dry_model_close(&m);
}

static void unsupported_configs_are_refused_by_key(void **state) {
    (void)state;
    static const bad_config bad[] = {
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
    refuse_all(para_hunyuan_video_open, bad, sizeof bad / sizeof *bad);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(defaults_are_those_of_diffusers),
        cmocka_unit_test(a_step_costs_what_it_must),
        cmocka_unit_test(unsupported_configs_are_refused_by_key),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
