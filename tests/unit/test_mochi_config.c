/* MochiTransformer3DModel's config, and what a step of the real one costs. SPDX-License-Identifier: Apache-2.0 */
#include "backend/counts.h"
#include "backend/weights.h"
#include "comm/rank.h"
#include "io_checks.h"
#include "model/mochi.h"
#include "parallel/mesh.h"

static para_status open_text(para_transformer **out, const char *text) {
    para_config config;
    assert_ok(para_config_parse(&config, text, strlen(text), "transformer/config.json"));
    para_status status = para_mochi_open(out, &config);
    para_config_close(&config);
    return status;
}

/* The default model with weights that nobody reads. */
typedef struct model {
    para_transformer *t;
    para_weights *weights;
    para_device *dry;
} model;

static void model_open(model *m) {
    assert_ok(open_text(&m->t, "{}"));
    assert_ok(para_dry_open(&m->dry));
    assert_ok(para_weights_open(&m->weights));
    m->t->table->weights(m->t, m->weights);
    assert_ok(para_weights_load(m->weights, m->dry, NULL, PARA_BF16));
}

static void model_close(model *m) {
    para_weights_close(&m->weights);
    para_device_close(&m->dry);
    m->t->table->close(m->t);
}

static void defaults_are_those_of_diffusers(void **state) {
    (void)state;
    model m;
    model_open(&m);
    const para_transformer *t = m.t;
    assert_true(t->in_channels == 48 && t->out_channels == 48 && t->inner_dim == 3072 && t->heads == 24);
    assert_true(t->text_dim == 1536 && t->joint_attention_dim == 4096 && t->pooled_projection_dim == 0);
    assert_true(!t->guidance_embeds);
    assert_int_equal(t->table->num_blocks(t), 48);
    assert_int_equal(para_mochi_patch(t), 2);
    assert_int_equal(para_weights_parameters(m.weights), 10027677744); /* as torch counts them */
    model_close(&m);
}

static para_status count_step(const model *m, const int64_t grid[3], int64_t text, para_counts *prepared,
                              para_counts *step) {
    para_device *dry = m->dry;
    para_transformer *t = m->t;
    para_rank rank = {.device = dry, .size = 1};
    para_mesh mesh = {1, 1, 1};
    para_layout_options o = PARA_LAYOUT_OPTIONS_INIT;
    para_layout *layout;
    o.tokens[PARA_IMAGE] = grid[0] * grid[1] * grid[2];
    o.tokens[PARA_TEXT] = text;
    assert_ok(para_layout_open(&layout, &mesh, &o));
    para_conditioning_inputs in = {.steps = 1,
                                   .timesteps = &(float){0},
                                   .frames = grid[0],
                                   .height = grid[1],
                                   .width = grid[2],
                                   .shard = para_shard_of(&mesh, layout, 0),
                                   .dtype = PARA_BF16};
    para_conditioning conditioning;
    para_item item;
    para_tensor latents, out;
    PARA_TRY(PARA_NEW(dry, &in.encoder_hidden_states, PARA_BF16, text, t->joint_attention_dim));
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

/* Every token once through every matrix of its stream, all pairs in attention, the text without padding; no text after the last attention. */
static void a_step_costs_what_it_must(void **state) {
    (void)state;
    static const int64_t grid[3] = {4, 30, 53}; /* 19 frames of 480 × 848 */
    enum { TEXT = 40, BLOCKS = 48 };
    model m;
    para_counts prepared, step;
    model_open(&m);
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
    model_close(&m);
}

static void unsupported_configs_are_refused_by_key(void **state) {
    (void)state;
    static const struct {
        const char *text, *says;
    } bad[] = {
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
