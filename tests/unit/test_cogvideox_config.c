/* CogVideoXTransformer3DModel's config, its positions at real sizes (tests/data/cogvideox_positions.json), and what a step of the real ones costs.
 * SPDX-License-Identifier: Apache-2.0 */
#include <math.h>

#include "model/cogvideox.h"
#include "model/cogvideox_positions.h"
#include "transformer_config.h"

#include <jansson.h>

#define AS_5B "\"num_attention_heads\": 48, \"num_layers\": 42, \"use_rotary_positional_embeddings\": true"

static void defaults_are_those_of_diffusers(void **state) {
    (void)state;
    dry_model m;
    int64_t patch_t, patch;
    dry_model_open(&m, para_cogvideox_open, "{}", 1693783872);
    assert_true(m.t->in_channels == 64 && m.t->out_channels == 64 && m.t->inner_dim == 1920 && m.t->heads == 30);
    assert_true(m.t->joint_attention_dim == 4096 && m.t->pooled_projection_dim == 0 && !m.t->guidance_embeds);
    assert_int_equal(m.t->table->num_blocks(m.t), 30);
    para_cogvideox_patch(m.t, &patch_t, &patch);
    assert_true(patch_t == 1 && patch == 2);
    dry_model_close(&m);
    dry_model_open(&m, para_cogvideox_open, "{" AS_5B "}", 5570283072);
    dry_model_close(&m);
    dry_model_open(&m, para_cogvideox_open,
                   "{" AS_5B ", \"patch_size_t\": 2, \"sample_width\": 300, \"sample_height\": 300, \"sample_frames\": 81}",
                   5570676352);
    assert_true(m.t->in_channels == 128 && m.t->out_channels == 128);
    dry_model_close(&m);
}

/* ---- cost */

/* 49 frames of 480 × 720: every token once through every matrix, all pairs in attention, padded text among them. */
static void a_step_costs_what_it_must(void **state) {
    (void)state;
    static const int64_t grid[3] = {13, 30, 45};
    enum { TEXT = 226, BLOCKS = 42 };
    dry_model m;
    para_counts prepared, step;
    dry_model_open(&m, para_cogvideox_open, "{" AS_5B "}", 5570283072);
    assert_ok(count_step(&m, grid, TEXT, &prepared, &step));
    double d = 3072, video = 13.0 * 30 * 45, all = video + TEXT;
    assert_true(step.attention_flops == BLOCKS * 4 * all * all * d);
    assert_true(step.matmul_flops == 2 * (BLOCKS * all * 12 * d * d + 2 * video * 64 * d));
    assert_true(prepared.attention_flops == 0);
    double time = d * 512 + 512 * 512;
    assert_true(prepared.matmul_flops == 2 * (TEXT * 4096 * d + time + 512 * (BLOCKS * 12 + 2) * d));
    dry_model_close(&m);
}

/* ---- positions */

static double compare(const float *got, const json_t *wanted, int64_t n) {
    double worst = 0;
    assert_int_equal(json_array_size(wanted), n);
    for (int64_t i = 0; i < n; i++) {
        double off = fabs((double)got[i] - json_number_value(json_array_get(wanted, (size_t)i)));
        if (!(off <= worst)) worst = off;
    }
    return worst;
}

static double position_case(json_t *item) {
    enum { EVERY = 61 };
    para_config config = {.root = json_object_get(item, "config"), .path = (char *)"config.json"};
    para_cogvideox_config c;
    assert_ok(para_cogvideox_config_read(&c, &config));
    const json_t *grid = json_object_get(item, "grid"), *tokens = json_object_get(item, "tokens");
    int64_t n = (int64_t)json_array_size(tokens), d = c.attention_head_dim, each = (c.inner_dim + EVERY - 1) / EVERY;
    float *a = malloc((size_t)(n * c.inner_dim) * sizeof *a), *b = malloc((size_t)(n * d) * sizeof *b),
          *row = malloc((size_t)c.inner_dim * sizeof *row), *other = malloc((size_t)d * sizeof *other);
    double worst;
    for (int64_t i = 0; i < n; i++) {
        para_token_range r = {.first = json_integer_value(json_array_get(tokens, (size_t)i)), .count = 1};
        for (int k = 0; k < 3; k++) r.grid[k] = json_integer_value(json_array_get(grid, (size_t)k));
        if (c.use_rotary_positional_embeddings) {
            assert_ok(para_cogvideox_rotary(&c, &r, row, other));
            for (int64_t k = 0; k < d; k++) {
                assert_true(row[k] == row[k ^ 1] && other[k] == other[k ^ 1]);
                a[i * d / 2 + k / 2] = row[k];
                b[i * d / 2 + k / 2] = other[k];
            }
        } else {
            assert_ok(para_cogvideox_sincos(&c, &r, row));
            for (int64_t k = 0; k < each; k++) a[i * each + k] = row[k * EVERY];
        }
    }
    if (c.use_rotary_positional_embeddings)
        worst = fmax(compare(a, json_object_get(item, "cos"), n * d / 2),
                     compare(b, json_object_get(item, "sin"), n * d / 2));
    else worst = compare(a, json_object_get(item, "positions"), n * each);
    free(a), free(b), free(row), free(other);
    return worst;
}

static void positions_are_those_of_diffusers(void **state) {
    (void)state;
    json_error_t error;
    json_t *root = json_load_file(PARA_SOURCE_DIR "/tests/data/cogvideox_positions.json", 0, &error), *item;
    if (!root) fail_msg("%s", error.text);
    double worst[2] = {0};
    size_t i;
    json_array_foreach(json_object_get(root, "cases"), i, item) {
        double *of_kind = &worst[json_object_get(item, "positions") != NULL], now = position_case(item);
        if (!(now <= *of_kind)) *of_kind = now;
    }
    assert_int_equal(i, 9);
    json_decref(root);
    print_message("  rotary tables within %.1e, sincos positions within %.1e\n", worst[0], worst[1]);
    assert_true(worst[0] <= 5e-7); /* measured: 6.0e-8 */
    assert_true(worst[1] <= 1e-8); /* measured: 5.0e-10 */
}

/* ---- what is refused */

static void unsupported_configs_are_refused_by_key(void **state) {
    (void)state;
    static const bad_config bad[] = {
        {"{\"ofs_embed_dim\": 512}", "ofs_embed_dim is 512; only models that make videos from text"},
        {"{\"in_channels\": 32}", "out_channels is 16 but in_channels is 32"},
        {"{\"out_channels\": 8}", "out_channels is 8 but in_channels is 16"},
        {"{\"use_learned_positional_embeddings\": true}", "needs use_rotary_positional_embeddings"},
        {"{\"use_rotary_positional_embeddings\": true, \"attention_head_dim\": 72}", "attention_head_dim is 72"},
        {"{\"num_attention_heads\": 3, \"attention_head_dim\": 24}",
         "num_attention_heads times attention_head_dim is 72"},
        {"{\"patch_size_t\": 2}", "patch_size_t is 2; positions that are added"},
        {"{\"patch_size_t\": 0}", "patch_size_t"},
        {"{\"activation_fn\": \"mish\"}", "activation_fn is \"mish\""},
        {"{\"timestep_activation_fn\": \"mish\"}", "timestep_activation_fn is \"mish\""},
        {"{\"norm_eps\": -1}", "norm_eps"},
        {"{\"norm_eps\": \"small\"}", "norm_eps"},
        {"{\"norm_elementwise_affine\": 1}", "norm_elementwise_affine"},
        {"{\"spatial_interpolation_scale\": 0}", "spatial_interpolation_scale"},
        {"{\"temporal_interpolation_scale\": -2}", "temporal_interpolation_scale"},
        {"{\"freq_shift\": 960}", "freq_shift is 960"},
        {"{\"num_layers\": -1}", "num_layers"},
        {"{\"num_attention_heads\": 0}", "num_attention_heads"},
        {"{\"attention_head_dim\": 0}", "attention_head_dim"},
        {"{\"time_embed_dim\": 0}", "time_embed_dim"},
        {"{\"text_embed_dim\": 0}", "text_embed_dim"},
        {"{\"patch_size\": 0}", "patch_size"},
        {"{\"patch_size\": [2, 2]}", "patch_size"},
        {"{\"sample_height\": 1}", "sample_height"},
        {"{\"sample_frames\": 0}", "sample_frames"},
        {"{\"temporal_compression_ratio\": 0}", "temporal_compression_ratio"},
        {"{\"max_text_seq_length\": 0}", "max_text_seq_length"},
        {"{\"attention_bias\": \"yes\"}", "attention_bias"},
    };
    refuse_all(para_cogvideox_open, bad, sizeof bad / sizeof *bad);
}

static void sizes_that_have_no_positions_are_refused(void **state) {
    (void)state;
    static const struct {
        const char *config;
        int64_t grid[3], text;
        const char *says; /* NULL: nothing */
    } cases[] = {
        {"{}", {4, 17, 9}, 226, NULL},
        {"{}", {4, 17, 9}, 225, "exactly 226 text tokens"},
        {"{" AS_5B "}", {4, 170, 9}, 12, NULL},
        {"{" AS_5B ", \"use_learned_positional_embeddings\": true}", {4, 30, 45}, 226, NULL},
        {"{" AS_5B ", \"use_learned_positional_embeddings\": true}", {4, 30, 44}, 226, "learned positions of 30 x 45"},
        {"{" AS_5B ", \"patch_size_t\": 2}", {4, 30, 45}, 9, NULL},
        {"{" AS_5B ", \"patch_size_t\": 2}", {4, 31, 45}, 9, "positions for 30 x 45 tokens"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        para_transformer *t;
        assert_ok(open_text(para_cogvideox_open, &t, cases[i].config));
        if (cases[i].says)
            assert_fails(PARA_ERR_ARGUMENT, cases[i].says,
                         para_cogvideox_check_size(para_cogvideox_config_of(t), cases[i].grid, cases[i].text));
        else assert_ok(para_cogvideox_check_size(para_cogvideox_config_of(t), cases[i].grid, cases[i].text));
        t->table->close(t);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(defaults_are_those_of_diffusers),
        cmocka_unit_test(a_step_costs_what_it_must),
        cmocka_unit_test(positions_are_those_of_diffusers),
        cmocka_unit_test(unsupported_configs_are_refused_by_key),
        cmocka_unit_test(sizes_that_have_no_positions_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
