/* MochiTransformer3DModel's config, and what a step of the real one costs. SPDX-License-Identifier: Apache-2.0 */
#include "model/mochi.h"
#include "transformer_config.h"

static void defaults_are_those_of_diffusers(void **state) {
    (void)state;
    dry_model m;
    dry_model_open(&m, para_mochi_open, "{}", 10027677744);
    const para_transformer *t = m.t;
    assert_true(t->in_channels == 48 && t->out_channels == 48 && t->inner_dim == 3072 && t->heads == 24);
    assert_true(t->text_dim == 1536 && t->joint_attention_dim == 4096 && t->pooled_projection_dim == 0);
    assert_true(!t->guidance_embeds);
    assert_int_equal(t->table->num_blocks(t), 48);
    assert_int_equal(para_mochi_patch(t), 2);
    dry_model_close(&m);
}

/* Every token once through every matrix of its stream, all pairs in attention, the text without padding; no text after the last attention. */
static void a_step_costs_what_it_must(void **state) {
    (void)state;
    static const int64_t grid[3] = {4, 30, 53}; /* 19 frames of 480 × 848 */
    enum { TEXT = 40, BLOCKS = 48 };
    dry_model m;
    para_counts prepared, step;
    dry_model_open(&m, para_mochi_open, "{}", 10027677744);
    assert_ok(count_step(&m, grid, TEXT, &prepared, &step));
    double d = 3072, c = 1536, video = 4.0 * 30 * 53, all = video + TEXT, pooled = 1 + TEXT, width = 4096;
    double of_video = 4 * d * d + 3 * d * 8192, of_text = 4 * c * d + 3 * c * 4096, after = c * d + 3 * c * 4096;
    assert_true(step.attention_flops == BLOCKS * 4 * all * all * d);
    assert_true(step.matmul_flops ==
                2 * (BLOCKS * (video * of_video + TEXT * of_text) - TEXT * after + 2 * video * 48 * d));
    assert_true(prepared.attention_flops == 4 * pooled * width);
    /* The text's mean, the pool, the text's projection; one row through what makes the modulation. */
    double pool = width * width + pooled * 2 * width * width + width * d, embedder = 256 * d + d * d,
           modulation = (BLOCKS * 4 * d + (BLOCKS - 1) * 4 * c + c + 2 * d) * d;
    assert_true(prepared.matmul_flops == 2 * (TEXT * width + pool + TEXT * width * c + embedder + modulation));
    dry_model_close(&m);
}

static void unsupported_configs_are_refused_by_key(void **state) {
    (void)state;
    static const bad_config bad[] = {
        {"{\"activation_fn\": \"geglu\"}", "activation_fn is \"geglu\""},
        {"{\"in_channels\": 12, \"out_channels\": 24}", "out_channels is 24 but in_channels is 12"},
        {"{\"in_channels\": 0}", "in_channels"},
        {"{\"patch_size\": 0}", "patch_size"},
        {"{\"patch_size\": [1, 2, 2]}", "patch_size"},
        {"{\"num_layers\": 0}", "num_layers"},
        {"{\"num_attention_heads\": 0}", "num_attention_heads"},
        {"{\"attention_head_dim\": 127}", "attention_head_dim is 127"},
        {"{\"attention_head_dim\": 0}", "attention_head_dim"},
        {"{\"pooled_projection_dim\": 0}", "pooled_projection_dim"},
        {"{\"text_embed_dim\": 4092}", "text_embed_dim is 4092; it must be a multiple of 8"},
        {"{\"time_embed_dim\": 255}", "time_embed_dim is 255"},
        {"{\"time_embed_dim\": \"256\"}", "time_embed_dim"},
    };
    refuse_all(para_mochi_open, bad, sizeof bad / sizeof *bad);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(defaults_are_those_of_diffusers),
        cmocka_unit_test(a_step_costs_what_it_must),
        cmocka_unit_test(unsupported_configs_are_refused_by_key),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
