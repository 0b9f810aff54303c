/* Small Llama models with redrawn weights: HunyuanVideo's text embeddings and the number of valid tokens against diffusers.
 * SPDX-License-Identifier: Apache-2.0 */
#include "backend/counts.h"
#include "golden.h"
#include "model_copy.h"
#include "text/hunyuan_prompt.h"
#include "text/llama_model.h"

#include "core/alloc.h"
#include "unit/io_checks.h"

/* Our errors in bfloat16 over those of torch in bfloat16, which rounds more often; root mean square over a case's requests: 0.97 and 0.73 were
 * measured. Far below, the run would not be in bfloat16. */
static const double bf16_bound = 1.1, bf16_least = 0.3;

/* A model with weights on a device. */
typedef struct encoder {
    para_rank rank;
    para_checkpoint *checkpoint;
    para_weights *weights;
    para_llama_model *model;
} encoder;

static para_status encoder_open(encoder *e, const char *folder, int skip) {
    char path[600];
    para_config config;
    para_device *device;
    const char *wanted = getenv("PARA_TEST_DEVICE");
    bool cuda = wanted && strncmp(wanted, "cuda", 4) == 0;
    *e = (encoder){0};
    snprintf(path, sizeof path, "%s/text_encoder/config.json", folder);
    PARA_TRY(para_config_read(&config, path));
    para_status status = para_llama_model_open(&e->model, &config, skip);
    para_config_close(&config);
    snprintf(path, sizeof path, "%s/text_encoder", folder);
    if (status == PARA_OK) status = para_device_open(cuda ? PARA_CUDA : PARA_CPU, 0, 2, &device);
    if (status == PARA_OK && (status = para_rank_open(&e->rank, device, NULL)) != PARA_OK) para_device_close(&device);
    if (status == PARA_OK) status = para_device_reserve(device, 16 << 20);
    if (status == PARA_OK) status = para_checkpoint_open(&e->checkpoint, path);
    if (status == PARA_OK) status = para_weights_open(&e->weights);
    if (status == PARA_OK) {
        para_llama_model_weights(e->model, e->weights, e->checkpoint);
        status = para_weights_load(e->weights, device, e->checkpoint, PARA_F32);
    }
    return status;
}

static void encoder_close(encoder *e) {
    para_weights_close(&e->weights);
    para_checkpoint_close(&e->checkpoint);
    para_llama_model_close(&e->model);
    para_rank_close(&e->rank);
}

/* Embeddings of a prompt's valid tokens, in `dtype`, as floats: *values is to be freed. */
static para_status embed(encoder *e, const para_tokenizer *t, const para_prompt_template *template, const char *prompt,
                         int length, para_dtype dtype, float **values, int *valid) {
    para_prompt_tokens tokens;
    para_device *dev = e->rank.device;
    para_tensor out, plain;
    PARA_TRY(para_hunyuan_tokenize(t, template, prompt, length, &tokens));
    *valid = tokens.used - tokens.crop_start;
    int64_t dim = para_llama_model_hidden_size(e->model);
    size_t mark = para_arena_mark(&dev->arena);
    *values = malloc((size_t)(*valid * dim) * sizeof **values);
    para_status status = PARA_NEW(dev, &out, dtype, *valid, dim);
    if (status == PARA_OK) status = PARA_NEW(dev, &plain, PARA_F32, *valid, dim);
    if (status == PARA_OK)
        status = para_llama_model_encode(e->model, &e->rank, tokens.ids, tokens.used, tokens.crop_start, out);
    if (status == PARA_OK) status = dev->ops->copy(dev, plain, out);
    if (status == PARA_OK) status = dev->ops->download(dev, *values, &plain);
    para_arena_release(&dev->arena, mark);
    para_free(tokens.ids);
    if (status != PARA_OK) free(*values);
    return status;
}

static int64_t number(const json_t *request, const char *key, int64_t fallback) {
    const json_t *value = json_object_get(request, key);
    return value ? json_integer_value(value) : fallback;
}

/* One request of a case: float32 within the bound of all golden stages; squares of the errors in bfloat16, ours and torch's, are added to `half`. */
static void check_request(golden_run *g, const char *folder, int index, const json_t *request, double half[2]) {
    encoder e;
    model_copy m;
    para_tokenizer *t;
    char stage[32];
    const char *text = golden_text(g, "template"), *prompt = json_string_value(json_object_get(request, "prompt"));
    para_prompt_template own = {text, -1};
    const para_prompt_template *template = text ? &own : &para_hunyuan_template;
    int length = (int)number(request, "max_sequence_length", 0), valid;
    model_copy_open(&m, folder, "model");
    if (json_object_get(request, "model_max_length")) {
        char config[128];
        int n = snprintf(config, sizeof config,
                         "{\"padding_side\": \"right\", \"pad_token\": \"<pad>\", \"model_max_length\": %d}",
                         (int)number(request, "model_max_length", 0));
        model_copy_write(&m, "tokenizer/tokenizer_config.json", config, (size_t)n);
    }
    assert_ok(para_llama_tokenizer_open(&t, model_path(&m, "tokenizer")));
    assert_ok(encoder_open(&e, folder, (int)number(request, "num_hidden_layers_to_skip", PARA_HUNYUAN_LAYERS_TO_SKIP)));
    float *values;
    snprintf(stage, sizeof stage, "embeds.%d", index);
    assert_ok(embed(&e, t, template, prompt, length, PARA_F32, &values, &valid));
    assert_int_equal(valid, number(request, "mask", -1));
    golden_compare(g, stage, values, valid * para_llama_model_hidden_size(e.model));
    free(values);
    assert_ok(embed(&e, t, template, prompt, length, PARA_BF16, &values, &valid));
    para_tensor wanted = para_safetensors_tensor(g->reference, para_safetensors_find(g->reference, stage));
    double error = golden_relative_l2(values, wanted.data, para_tensor_count(&wanted));
    double theirs = json_number_value(json_object_get(request, "bf16"));
    print_message("    %-34s %.2e in bfloat16, torch's %.2e\n", stage, error, theirs);
    half[0] += error * error;
    half[1] += theirs * theirs;
    free(values);
    encoder_close(&e);
    para_tokenizer_close(&t);
    model_copy_close(&m);
}

static void check(const char *name) {
    char folder[512];
    snprintf(folder, sizeof folder, "%s/tests/golden/%s", PARA_SOURCE_DIR, name);
    golden_run g;
    double half[2] = {0, 0};
    golden_open(&g, folder, true);
    print_message("%s, relative L2 of each request:\n", name);
    const json_t *requests = json_object_get(g.settings.root, "requests");
    assert_int_equal(json_array_size(requests), para_safetensors_count(g.reference));
    for (size_t i = 0; i < json_array_size(requests); i++)
        check_request(&g, folder, (int)i, json_array_get(requests, i), half);
    double ratio = sqrt(half[0] / half[1]);
    print_message("%s: in bfloat16 %.3f of torch's error\n", name, ratio);
    assert_true(ratio <= bf16_bound && ratio >= bf16_least);
    for (int64_t i = 0; i < para_safetensors_count(g.reference); i++) {
        para_tensor t = para_safetensors_tensor(g.reference, i);
        assert_int_equal(g.visited[i], para_tensor_count(&t));
    }
    assert_int_equal(g.failures, 0);
    golden_close(&g);
}

static void default_template(void **state) {
    (void)state;
    check("llama-default");
}
static void scaled_rope_and_biases(void **state) {
    (void)state;
    check("llama-scaled");
}

#define DEFAULT PARA_SOURCE_DIR "/tests/golden/llama-default"

static void prompts_and_templates(void **state) {
    (void)state;
    para_tokenizer *t;
    para_prompt_tokens tokens;
    assert_ok(para_llama_tokenizer_open(&t, DEFAULT "/tokenizer"));
    assert_ok(para_hunyuan_tokenize(t, &para_hunyuan_template, "a red heart {} }", 5,
                                    &tokens)); /* a prompt's braces are text */
    assert_int_equal(tokens.crop_start, 95);
    assert_int_equal(tokens.used, 100);
    assert_true(tokens.dropped > 0);
    para_free(tokens.ids);
    assert_ok(para_hunyuan_tokenize(t, &(para_prompt_template){"{}", 0}, "a", 5, &tokens));
    assert_int_equal(tokens.used, 2); /* the token that opens every text is in front */
    assert_int_equal(tokens.dropped, 0);
    para_free(tokens.ids);
    static const char *const wrong[] = {"{} {}", "{0}", "{a}", "a { b {}", "} {}", "{}}"};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++)
        assert_fails(PARA_ERR_ARGUMENT, "a brace other than one {}",
                     para_hunyuan_tokenize(t, &(para_prompt_template){wrong[i], 0}, "a", 5, &tokens));
    assert_fails(PARA_ERR_ARGUMENT, "has no {}",
                 para_hunyuan_tokenize(t, &(para_prompt_template){"a {{}}", 0}, "a", 5, &tokens));
    assert_fails(PARA_ERR_ARGUMENT, "crop_start 50 leaves none",
                 para_hunyuan_tokenize(t, &(para_prompt_template){"{}", 50}, "a", 5, &tokens));
    assert_fails(PARA_ERR_ARGUMENT, "max_sequence_length is 0",
                 para_hunyuan_tokenize(t, &para_hunyuan_template, "a", 0, &tokens));
    assert_fails(PARA_ERR_ARGUMENT, "not UTF-8", para_hunyuan_tokenize(t, &para_hunyuan_template, "a\xFF", 9, &tokens));
    para_tokenizer_close(&t);
}

static para_status open_config(const char *key, const char *value, int skip) {
    para_config config;
    para_llama_model *model = NULL;
    char text[512];
    snprintf(text, sizeof text,
             "{\"num_hidden_layers\": 4, \"hidden_size\": 32, \"num_attention_heads\": 4, \"%s\": %s}", key, value);
    assert_ok(para_config_parse(&config, text, strlen(text), "memory"));
    para_status status = para_llama_model_open(&model, &config, skip);
    para_config_close(&config);
    para_llama_model_close(&model);
    return status;
}

static void configs_that_are_refused(void **state) {
    (void)state;
    static const struct {
        const char *key, *value, *sentence;
    } cases[] = {
        {"hidden_size", "33", "hidden_size 33 is not a multiple of num_attention_heads 4"},
        {"num_key_value_heads", "3", "num_attention_heads 4 is not a multiple of num_key_value_heads 3"},
        {"head_dim", "7", "head_dim 7 is odd"},
        {"hidden_act", "\"mish\"", "hidden_act \"mish\""},
        {"mlp_bias", "1", "\"mlp_bias\" must be true or false"},
        {"rope_theta", "0", "rope_theta must be above 0"},
        {"rope_scaling", "{\"type\": \"linear\", \"factor\": 2}", "rope_type \"linear\" is not supported"},
        {"rope_parameters", "{\"rope_type\": \"yarn\"}", "rope_type \"yarn\" is not supported"},
        {"rope_parameters", "{\"partial_rotary_factor\": 0.5}", "partial_rotary_factor 0.5"},
        {"rope_scaling", "{\"rope_type\": \"llama3\", \"factor\": 8, \"low_freq_factor\": 4, \"high_freq_factor\": 4}",
         "high_freq_factor above"},
        {"rope_scaling",
         "{\"rope_type\": \"llama3\", \"factor\": 0.5, \"low_freq_factor\": 1, \"high_freq_factor\": 4}",
         "factor of 1 or more"},
    };
    assert_ok(open_config("vocab_size", "100", 2));
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        assert_fails(PARA_ERR_CONFIG, cases[i].sentence, open_config(cases[i].key, cases[i].value, 2));
    assert_fails(PARA_ERR_CONFIG, "num_hidden_layers is 4, of which the last 5 cannot be left out",
                 open_config("vocab_size", "100", 5));
}

static void ids_outside_the_vocabulary(void **state) {
    (void)state;
    encoder e;
    para_tensor out;
    assert_ok(encoder_open(&e, DEFAULT, 2));
    assert_ok(PARA_NEW(e.rank.device, &out, PARA_F32, 1, 32));
    assert_fails(PARA_ERR_CONFIG, "token id 424 is outside",
                 para_llama_model_encode(e.model, &e.rank, (int32_t[]){1, 424}, 2, 1, out));
    encoder_close(&e);
}

/* A dry device counts for the real text encoder of HunyuanVideo, a Llama 3 8B, what its sizes say: 30 of 32 layers. */
static void the_real_config_on_a_dry_device(void **state) {
    (void)state;
    static const char text[] =
        "{\"vocab_size\": 128320, \"hidden_size\": 4096, \"intermediate_size\": 14336, \"num_hidden_layers\": 32,"
        "\"num_attention_heads\": 32, \"num_key_value_heads\": 8, \"rope_theta\": 500000.0}";
    enum { TOKENS = 351, FIRST = 95 };
    static int32_t ids[TOKENS];
    int64_t matrices = 30 * (2 * 4096 * 4096 + 2 * 1024 * 4096 + (int64_t)3 * 14336 * 4096),
            rest = (int64_t)128320 * 4096 + 30 * 2 * 4096;
    para_config config;
    para_device *dry;
    para_tensor out;
    encoder e = {0};
    assert_ok(para_config_parse(&config, text, sizeof text - 1, "memory"));
    assert_ok(para_llama_model_open(&e.model, &config, PARA_HUNYUAN_LAYERS_TO_SKIP));
    para_config_close(&config);
    assert_ok(para_dry_open(&dry));
    assert_ok(para_rank_open(&e.rank, dry, NULL));
    assert_ok(para_weights_open(&e.weights));
    para_llama_model_weights(e.model, e.weights, NULL);
    assert_ok(para_weights_load(e.weights, dry, NULL, PARA_BF16));
    assert_int_equal(para_weights_parameters(e.weights), matrices + rest);
    assert_ok(PARA_NEW(dry, &out, PARA_BF16, TOKENS - FIRST, 4096));
    assert_ok(para_llama_model_encode(e.model, &e.rank, ids, TOKENS, FIRST, out));
    assert_true(para_dry_counts(dry)->matmul_flops == 2.0 * TOKENS * (double)matrices);
    assert_true(para_dry_counts(dry)->attention_flops == 30 * 4.0 * 32 * 128 * TOKENS * TOKENS);
    print_message("Llama 3 8B, 351 tokens: %.2f TFLOP, activations %.1f MB\n",
                  1e-12 * (para_dry_counts(dry)->matmul_flops + para_dry_counts(dry)->attention_flops),
                  1e-6 * (double)dry->arena.peak);
    assert_true(dry->arena.peak < 64e6);
    encoder_close(&e);
}

static para_status whole_run(void) {
    encoder e;
    para_tokenizer *t = NULL;
    float *values;
    int valid;
    para_status status = encoder_open(&e, DEFAULT, 2);
    if (status == PARA_OK) status = para_llama_tokenizer_open(&t, DEFAULT "/tokenizer");
    if (status == PARA_OK) status = embed(&e, t, &para_hunyuan_template, "a red heart", 16, PARA_F32, &values, &valid);
    if (status == PARA_OK) free(values);
    para_tokenizer_close(&t);
    encoder_close(&e);
    return status;
}

static void survives_failed_allocations(void **state) {
    (void)state;
    assert_survives_alloc_failure(100, whole_run());
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(default_template),
        cmocka_unit_test(scaled_rope_and_biases),
        cmocka_unit_test(prompts_and_templates),
        cmocka_unit_test(configs_that_are_refused),
        cmocka_unit_test(ids_outside_the_vocabulary),
        cmocka_unit_test(the_real_config_on_a_dry_device),
        cmocka_unit_test(survives_failed_allocations),
    };
    return cmocka_run_group_tests(tests, temp_folder_setup, temp_folder_teardown);
}
