/* Damaged and foreign model folders: sentence, exit status, nothing left behind. SPDX-License-Identifier: Apache-2.0 */
#include "program.h"

#define TRANSFORMER "transformer/diffusion_pytorch_model.safetensors"
#define VAE         "vae/diffusion_pytorch_model.safetensors"

typedef struct bad_model {
    const char *name, *source;
    void (*damage)(const model_copy *m);
    const char *words[5]; /* on standard error */
} bad_model;

static program p;

static void cut(const model_copy *m, const char *file, size_t keep) {
    size_t n;
    char *bytes = model_copy_read(m, file, &n);
    model_copy_write(m, file, bytes, keep < n ? keep : n - (size_t)(-(long)keep));
    free(bytes);
}

/* ---- files that are not there */
static void no_index(const model_copy *m) {
    model_copy_remove(m, "model_index.json");
}
static void no_config(const model_copy *m) {
    model_copy_remove(m, "transformer/config.json");
}
static void no_scheduler(const model_copy *m) {
    model_copy_remove(m, "scheduler/scheduler_config.json");
}
static void no_vocabulary(const model_copy *m) {
    model_copy_remove(m, "tokenizer/vocab.json");
}
static void no_weights(const model_copy *m) {
    model_copy_remove(m, VAE);
}
static void only_a_pickle(const model_copy *m) {
    model_copy_remove(m, VAE);
    model_copy_write(m, "vae/diffusion_pytorch_model.bin", "x", 1);
}
static void no_shard(const model_copy *m) {
    model_copy_remove(m, "transformer/diffusion_pytorch_model-00002-of-00003.safetensors");
}
static void dangling_link(const model_copy *m) {
    model_copy_remove(m, VAE);
    assert_int_equal(symlink("../../blobs/gone", model_path(m, VAE)), 0);
}
static void folder_for_file(const model_copy *m) {
    model_copy_remove(m, VAE);
    assert_int_equal(mkdir(model_path(m, VAE), 0777), 0);
}
static void pipe_for_file(const model_copy *m) {
    model_copy_remove(m, VAE);
    assert_int_equal(mkfifo(model_path(m, VAE), 0666), 0);
}

/* ---- damaged weight files */
static void last_byte_gone(const model_copy *m) {
    size_t n;
    free(model_copy_read(m, TRANSFORMER, &n));
    cut(m, TRANSFORMER, n - 1);
}
static void half_a_header(const model_copy *m) {
    cut(m, TRANSFORMER, 200);
}
static void four_bytes(const model_copy *m) {
    cut(m, TRANSFORMER, 4);
}
static void no_bytes(const model_copy *m) {
    model_copy_write(m, TRANSFORMER, "", 0);
}
static void lfs_pointer(const model_copy *m) {
    static const char text[] = "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n";
    model_copy_write(m, TRANSFORMER, text, sizeof text - 1);
}
static void long_header(const model_copy *m) {
    size_t n;
    char *bytes = model_copy_read(m, TRANSFORMER, &n);
    uint64_t length = n;
    memcpy(bytes, &length, 8);
    model_copy_write(m, TRANSFORMER, bytes, n);
    free(bytes);
}
static void endless_header(const model_copy *m) {
    size_t n;
    char *bytes = model_copy_read(m, TRANSFORMER, &n);
    memset(bytes, 0xff, 8);
    model_copy_write(m, TRANSFORMER, bytes, n);
    free(bytes);
}
static void header_is_no_json(const model_copy *m) {
    size_t n;
    char *bytes = model_copy_read(m, TRANSFORMER, &n);
    memset(bytes + 20, '}', 8);
    model_copy_write(m, TRANSFORMER, bytes, n);
    free(bytes);
}

static json_t *entry(json_t *header, const char *tensor) {
    json_t *e = json_object_get(header, tensor);
    assert_non_null(e);
    return e;
}
static void shift_range(json_t *header) { /* the same length, 4 bytes early */
    json_t *offsets = json_object_get(entry(header, "decoder.conv_in.weight"), "data_offsets");
    for (size_t i = 0; i < 2; i++)
        json_array_set_new(offsets, i,
                           json_integer(json_integer_value(json_array_get(offsets, i)) +
                                        (json_integer_value(json_array_get(offsets, 0)) ? -4 : 4)));
}
static void overlap(const model_copy *m) {
    model_copy_header(m, VAE, shift_range);
}
static void swap_sizes(json_t *header) {
    json_t *shape = json_object_get(entry(header, "decoder.conv_out.weight"), "shape");
    json_t *first = json_incref(json_array_get(shape, 0));
    json_array_set(shape, 0, json_array_get(shape, 1));
    json_array_set_new(shape, 1, first);
}
static void wrong_shape(const model_copy *m) {
    model_copy_header(m, VAE, swap_sizes);
}
static void grow_shape(json_t *header) {
    json_array_set_new(json_object_get(entry(header, "decoder.conv_out.weight"), "shape"), 0, json_integer(4));
}
static void shape_beyond_range(const model_copy *m) {
    model_copy_header(m, VAE, grow_shape);
}
static void huge_shape(json_t *header) {
    json_t *shape = json_object_get(entry(header, "decoder.conv_out.weight"), "shape");
    for (size_t i = 0; i < 3; i++) json_array_set_new(shape, i, json_integer(1LL << 40));
}
static void shape_overflow(const model_copy *m) {
    model_copy_header(m, VAE, huge_shape);
}
/* Another type of the same bytes: fewer elements where its own are larger. */
static void retype(json_t *header, const char *tensor, const char *type, int size) {
    json_t *e = entry(header, tensor), *shape = json_object_get(e, "shape");
    int old = strcmp(json_string_value(json_object_get(e, "dtype")), "F32") == 0 ? 4 : 2;
    json_array_set_new(shape, 0, json_integer(json_integer_value(json_array_get(shape, 0)) * old / size));
    json_object_set_new(e, "dtype", json_string(type));
}
static void make_i64(json_t *header) {
    retype(header, "decoder.conv_in.weight", "I64", 8);
}
static void wrong_type(const model_copy *m) {
    model_copy_header(m, VAE, make_i64);
}
static void make_i32(json_t *header) {
    retype(header, "decoder.conv_in.bias", "I32", 4);
}
static void whole_numbers(const model_copy *m) {
    model_copy_header(m, VAE, make_i32);
}
static void rename_tensor(json_t *header) {
    json_t *e = json_incref(entry(header, "decoder.conv_in.weight"));
    json_object_del(header, "decoder.conv_in.weight");
    json_object_set_new(header, "decoder.conv_in.wait", e);
}
static void no_tensor(const model_copy *m) {
    model_copy_header(m, VAE, rename_tensor);
}

/* ---- classes and values that are not supported */
static void other_pipeline(const model_copy *m) {
    model_copy_set(m, "model_index.json", "_class_name", json_string("StableDiffusionPipeline"));
}
static void no_pipeline(const model_copy *m) {
    model_copy_set(m, "model_index.json", "_class_name", NULL);
}
static void other_component(const model_copy *m) {
    model_copy_set(m, "model_index.json", "vae", json_pack("[s, s]", "diffusers", "AutoencoderTiny"));
}
static void no_component(const model_copy *m) {
    model_copy_set(m, "model_index.json", "text_encoder_2", json_pack("[n, n]"));
}
static void other_config(const model_copy *m) {
    model_copy_set(m, "transformer/config.json", "_class_name", json_string("SD3Transformer2DModel"));
}
static void other_scheduler(const model_copy *m) {
    model_copy_set(m, "model_index.json", "scheduler", json_pack("[s, s]", "diffusers", "DDIMScheduler"));
}
static void other_scheduler_config(const model_copy *m) {
    model_copy_set(m, "scheduler/scheduler_config.json", "_class_name", json_string("DDIMScheduler"));
}
static void other_tokenizer(const model_copy *m) {
    model_copy_set(m, "model_index.json", "tokenizer_2", json_pack("[s, s]", "transformers", "LlamaTokenizer"));
}
static void time_shift_type(const model_copy *m) {
    model_copy_set(m, "scheduler/scheduler_config.json", "time_shift_type", json_string("cosine"));
}
static void stochastic_sampling(const model_copy *m) {
    model_copy_set(m, "scheduler/scheduler_config.json", "stochastic_sampling", json_true());
}
static void shift_is_text(const model_copy *m) {
    model_copy_set(m, "scheduler/scheduler_config.json", "shift", json_string("three"));
}
static void two_schedules(const model_copy *m) {
    model_copy_set(m, "scheduler/scheduler_config.json", "use_karras_sigmas", json_true());
    model_copy_set(m, "scheduler/scheduler_config.json", "use_beta_sigmas", json_true());
}
static void layers_as_text(const model_copy *m) {
    model_copy_set(m, "transformer/config.json", "num_layers", json_string("two"));
}
static void no_heads(const model_copy *m) {
    model_copy_set(m, "transformer/config.json", "num_attention_heads", json_integer(0));
}
static void more_layers(const model_copy *m) {
    model_copy_set(m, "transformer/config.json", "num_layers", json_integer(3));
}
static void other_channels(const model_copy *m) {
    model_copy_set(m, "vae/config.json", "latent_channels", json_integer(16));
}
static void other_activation(const model_copy *m) {
    model_copy_set(m, "vae/config.json", "act_fn", json_string("softplus"));
}
static void other_text_activation(const model_copy *m) {
    model_copy_set(m, "text_encoder/config.json", "hidden_act", json_string("softplus"));
}
static void other_block(const model_copy *m) {
    model_copy_set(
        m, "vae/config.json", "up_block_types",
        json_pack("[s, s, s, s]", "UpDecoderBlock2D", "UpDecoderBlock2D", "UpDecoderBlock2D", "AttnUpDecoderBlock2D"));
}
static void broken_json(const model_copy *m) {
    model_copy_write(m, "vae/config.json", "{\"act_fn\": \"silu\",\n oops}", 24);
}
static void json_array_config(const model_copy *m) {
    model_copy_write(m, "vae/config.json", "[]", 2);
}

static const bad_model bad_models[] = {
    {"model_index.json is missing", "flux-dev", no_index, {"model_index.json", "does not exist", "check the path"}},
    {"a config is missing", "flux-dev", no_config, {"transformer/config.json", "does not exist"}},
    {"the scheduler's config is missing",
     "flux-dev",
     no_scheduler,
     {"scheduler/scheduler_config.json", "does not exist"}},
    {"a vocabulary is missing", "flux-dev", no_vocabulary, {"tokenizer", "vocab.json"}},
    {"a weight file is missing", "flux-dev", no_weights, {"/vae", "no weights", "download"}},
    {"weights as a pickle", "flux-dev", only_a_pickle, {"/vae", "pickle", "safetensors"}},
    {"a shard is missing", "flux-odd", no_shard, {"-00002-of-00003.safetensors", "missing", "download"}},
    {"a link into nowhere", "flux-dev", dangling_link, {VAE, "does not exist", "download"}},
    {"a folder in place of a file", "flux-dev", folder_for_file, {VAE, "is a folder"}},
    {"a pipe in place of a file", "flux-dev", pipe_for_file, {VAE, "a device or pipe"}},
    {"the last byte is missing", "flux-dev", last_byte_gone, {TRANSFORMER, "cut short: 1 byte", "download"}},
    {"cut within the header", "flux-dev", half_a_header, {TRANSFORMER, "cut short", "download"}},
    {"four bytes", "flux-dev", four_bytes, {TRANSFORMER, "cut short", "download"}},
    {"an empty file", "flux-dev", no_bytes, {TRANSFORMER, "cut short", "download"}},
    {"a Git LFS pointer", "flux-dev", lfs_pointer, {TRANSFORMER, "git lfs pull"}},
    {"header longer than the file",
     "flux-dev",
     long_header,
     {TRANSFORMER, "header is longer than the file", "download"}},
    {"header length of 2^64 - 1", "flux-dev", endless_header, {TRANSFORMER, "not a safetensors file"}},
    {"header that is no JSON", "flux-dev", header_is_no_json, {TRANSFORMER, "header is damaged", "download"}},
    {"overlapping ranges", "flux-dev", overlap, {VAE, "decoder.conv_in", "download"}},
    {"wrong shape", "flux-dev", wrong_shape, {VAE, "decoder.conv_out.weight", "shape [", "do not belong together"}},
    {"shape larger than the range",
     "flux-dev",
     shape_beyond_range,
     {VAE, "decoder.conv_out.weight", "does not fit its byte range"}},
    {"shape whose product overflows", "flux-dev", shape_overflow, {VAE, "decoder.conv_out.weight", "overflows"}},
    {"a matrix of type I64", "flux-dev", wrong_type, {VAE, "decoder.conv_in.weight", "I64", "supported are"}},
    {"a vector of type I32", "flux-dev", whole_numbers, {VAE, "decoder.conv_in.bias", "I32", "supported are"}},
    {"a tensor is missing", "flux-dev", no_tensor, {"/vae", "decoder.conv_in.weight", "do not belong together"}},
    {"unknown pipeline class",
     "flux-dev",
     other_pipeline,
     {"model_index.json", "StableDiffusionPipeline", "FluxPipeline"}},
    {"no pipeline class", "flux-dev", no_pipeline, {"model_index.json", "_class_name"}},
    {"unknown component class",
     "flux-dev",
     other_component,
     {"model_index.json", "vae", "AutoencoderTiny", "AutoencoderKL"}},
    {"a component left out", "flux-dev", no_component, {"model_index.json", "text_encoder_2", "download"}},
    {"unknown class in a config",
     "flux-dev",
     other_config,
     {"transformer/config.json", "SD3Transformer2DModel", "FluxTransformer2DModel"}},
    {"unknown scheduler class",
     "flux-dev",
     other_scheduler,
     {"model_index.json", "DDIMScheduler", "FlowMatchEulerDiscreteScheduler"}},
    {"unknown class in the scheduler's config",
     "flux-dev",
     other_scheduler_config,
     {"scheduler_config.json", "DDIMScheduler", "FlowMatchEulerDiscreteScheduler"}},
    {"unknown tokenizer class", "flux-dev", other_tokenizer, {"model_index.json", "LlamaTokenizer", "T5Tokenizer"}},
    {"unknown time_shift_type",
     "flux-dev",
     time_shift_type,
     {"scheduler_config.json", "time_shift_type", "cosine", "exponential or linear"}},
    {"stochastic sampling", "flux-dev", stochastic_sampling, {"scheduler", "stochastic_sampling", "set it to false"}},
    {"a shift that is no number", "flux-dev", shift_is_text, {"scheduler_config.json", "shift", "must be a number"}},
    {"two sigma schedules", "flux-dev", two_schedules, {"scheduler_config.json", "use_karras_sigmas", "only one"}},
    {"layers that are no number",
     "flux-dev",
     layers_as_text,
     {"transformer/config.json", "num_layers", "a whole number"}},
    {"no heads", "flux-dev", no_heads, {"transformer/config.json", "num_attention_heads", "0"}},
    {"more layers than the weights have",
     "flux-dev",
     more_layers,
     {"/transformer", "transformer_blocks.2.", "do not belong together"}},
    {"VAE and transformer that do not fit",
     "flux-dev",
     other_channels,
     {"config.json", "in_channels", "do not belong together"}},
    {"unknown activation of the VAE", "flux-dev", other_activation, {"vae/config.json", "act_fn", "softplus"}},
    {"unknown activation of a text encoder",
     "flux-dev",
     other_text_activation,
     {"text_encoder/config.json", "hidden_act", "softplus"}},
    {"unknown block of the VAE", "flux-dev", other_block, {"vae/config.json", "AttnUpDecoderBlock2D"}},
    {"JSON with a slip", "flux-dev", broken_json, {"vae/config.json", "line 2", "column"}},
    {"an array for a config", "flux-dev", json_array_config, {"vae/config.json", "an object"}},
};

static void damaged_models(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof bad_models / sizeof *bad_models; i++) {
        const bad_model *b = &bad_models[i];
        char source[512];
        snprintf(source, sizeof source, "%s/%s", GOLDEN("."), b->source);
        model_copy m;
        model_copy_open(&m, source, "model");
        b->damage(&m);
        print_message("  %s\n", b->name);
        program_run(&p, NULL, "generate", m.folder, QUICK, "-o", output_path("x.png"), "--report",
                    output_path("x.json"));
        program_expect_words(&p, 1, b->words);
        print_message("    %.*s", (int)p.length, p.said);
        if (strchr(p.said, '\n') != p.said + p.length - 1) fail_msg("more than one line: %s", p.said);
        expect_nothing_left();
        model_copy_close(&m);
    }
}

static void folder_that_is_not_there(void **state) {
    (void)state;
    static const char *const commands[] = {"info", "plan", NULL};
    program_run(&p, NULL, "generate", "no/such/model", QUICK, "-o", output_path("x.png"));
    program_expect(&p, 1, "no/such/model", "does not exist", "check the path");
    expect_nothing_left();
    for (int i = 0; commands[i]; i++) {
        program_run(&p, NULL, commands[i], "no/such/model");
        program_expect(&p, 1, "no/such/model", "does not exist", "check the path");
        assert_string_equal(p.out, "");
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(damaged_models),
        cmocka_unit_test(folder_that_is_not_there),
    };
    return cmocka_run_group_tests(tests, temp_folder_setup, temp_folder_teardown);
}
