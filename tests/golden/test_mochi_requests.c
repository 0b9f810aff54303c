/* Mochi's requests: what is rounded, refused and warned of; empty prompts; given embeddings; memory; random weights. SPDX-License-Identifier: Apache-2.0 */
#include "video_requests.h"

#define MODEL PARA_SOURCE_DIR "/tests/golden/mochi-video"

static para_pipeline *mochi;

static int setup(void **state) {
    return open_requests(state, &mochi, MODEL);
}

static int teardown(void **state) {
    return close_requests(state, &mochi);
}

static para_request request(void) {
    para_request r = PARA_REQUEST_INIT;
    r.prompt = "a red heart moving left";
    r.height = 32;
    r.width = 48;
    r.num_frames = 7;
    r.num_inference_steps = 2;
    r.max_sequence_length = 24;
    r.latents_only = true;
    return r;
}

/* ---- sizes, as MochiPipeline has them */

static void own_values(void **state) {
    (void)state;
    para_request r = PARA_REQUEST_INIT, filled;
    para_plan plan;
    int height, width, num_frames;
    r.prompt = "";
    assert_ok(para_pipeline_fill_in(mochi, &r, &filled));
    assert_true(filled.height == 480 && filled.width == 848 && filled.num_frames == 19);
    assert_true(filled.num_inference_steps == 64 && filled.guidance_scale == 4.5f && filled.max_sequence_length == 256);
    filled.num_inference_steps = 1;
    filled.latents_only = true;
    assert_ok(para_pipeline_plan(mochi, &filled, &plan));
    assert_true(plan.num_frames == 19 && plan.image_tokens == 4 * 30 * 53 && plan.text_tokens == 256 &&
                plan.items == 2);
    r.num_frames = 30;
    said[0] = '\0';
    assert_ok(para_pipeline_size(mochi, &r, &height, &width, &num_frames));
    assert_true(height == 480 && width == 848 && num_frames == 25 && said[0] == '\0');
}

static void rounded_and_refused(void **state) {
    (void)state;
    static const struct { int asked, frames; } rounded[] = {{1, 1}, {6, 1}, {7, 7}, {12, 7}, {13, 13}};
    para_result *result;
    for (size_t i = 0; i < sizeof rounded / sizeof *rounded; i++) {
        para_request r = request();
        r.num_frames = rounded[i].asked;
        result = generate(mochi, &r);
        assert_int_equal(result->num_frames, rounded[i].frames);
        assert_int_equal(result->latents.dim[2], (rounded[i].frames - 1) / 6 + 1);
        assert_int_equal(strstr(said, "the video gets") != NULL, rounded[i].asked != rounded[i].frames);
        para_result_close(&result);
    }
    para_request r = request();
    r.height = 36;
    assert_fails(PARA_ERR_ARGUMENT, "height (--height) is 36; a MochiPipeline needs a multiple of 8, such as 48",
                 para_generate(mochi, &r, &result));
    r.height = 40; /* which diffusers takes, and then fails on */
    assert_fails(PARA_ERR_ARGUMENT, "give a --width and --height that 16 divides", para_generate(mochi, &r, &result));
    r = request();
    r.width = -8;
    assert_fails(PARA_ERR_ARGUMENT, "is not possible", para_generate(mochi, &r, &result));
}

/* A batch axis of 2 has nothing to do where there is one half. */
static void halves_for_groups(void **state) {
    (void)state;
    para_world_options w = PARA_WORLD_OPTIONS_INIT;
    para_parallel_options p = PARA_PARALLEL_OPTIONS_INIT;
    para_world *two;
    para_pipeline *pipe;
    para_result *result;
    para_request r = request();
    w.ranks = w.threads = p.batch = 2;
    assert_ok(para_world_open(&two, &w));
    assert_ok(para_pipeline_open(&pipe, two, MODEL, NULL));
    assert_ok(para_parallelize(pipe, &p));
    r.guidance_scale = 1;
    assert_fails(PARA_ERR_ARGUMENT, "batch", para_generate(pipe, &r, &result));
    r.guidance_scale = 1.5f;
    assert_ok(para_generate(pipe, &r, &result));
    para_result_close(&result);
    para_pipeline_close(&pipe);
    para_world_close(&two);
}

static void warned_of(void **state) {
    (void)state;
    para_request r = request();
    r.prompt_2 = "nobody reads this";
    r.negative_prompt = "blurred";
    r.true_cfg_scale = 2;
    r.guidance_scale = 1;
    r.max_sequence_length = 3;
    para_result *result = generate(mochi, &r);
    assert_non_null(strstr(said, "prompt_2 (--prompt-2) has no effect: a MochiPipeline encodes one prompt"));
    assert_non_null(strstr(said, "the negative prompt has no effect with guidance_scale 1"));
    assert_non_null(strstr(said, "true_cfg_scale 2 has no effect"));
    assert_non_null(strstr(said, "the prompt is too long for the T5 text encoder"));
    para_result_close(&result);
}

/* ---- prompts */

typedef struct texts {
    para_tensor t5[2]; /* of both halves; data NULL: there was none */
} texts;

static para_status keep_text(void *user, const char *name, const para_tensor *t) {
    texts *kept = user;
    if (strncmp(name, "text.t5", 7) != 0) return PARA_OK;
    para_tensor *to = &kept->t5[strstr(name, ".negative") != NULL];
    assert_true(para_tensor_contiguous(t) && t->dtype == PARA_F32);
    *to = *t;
    to->data = malloc((size_t)para_tensor_count(t) * sizeof(float));
    memcpy(to->data, t->data, (size_t)para_tensor_count(t) * sizeof(float));
    return PARA_OK;
}

static para_result *traced(para_pipeline *pipe, const para_request *r, texts *kept) {
    const para_trace trace = {keep_text, kept};
    *kept = (texts){0};
    pipe->trace = &trace;
    para_result *result = generate(pipe, r);
    pipe->trace = NULL;
    return result;
}

static void drop(texts *kept) {
    for (int i = 0; i < 2; i++) free(kept->t5[i].data);
}

/* What an empty prompt is, model_index.json says: no token, or the one that ends every prompt. */
static void empty_prompts(void **state) {
    (void)state;
    texts forced, plain;
    model_copy copy;
    para_pipeline *pipe;
    para_request r = request();
    para_result *none = traced(mochi, &r, &forced);
    r.negative_prompt = "";
    para_result *empty = generate(mochi, &r);
    assert_true(same_latents(none, empty)); /* NULL is "" */
    assert_true(forced.t5[0].data && !forced.t5[1].data);

    model_copy_open(&copy, MODEL, "plain");
    model_copy_set(&copy, "model_index.json", "force_zeros_for_empty_prompt", NULL);
    assert_ok(para_pipeline_open(&pipe, world, copy.folder, NULL));
    para_result *ended = traced(pipe, &r, &plain);
    assert_int_equal(plain.t5[1].dim[0], 1);
    assert_true(!same_latents(none, ended));
    para_result_close(&ended);
    para_pipeline_close(&pipe);
    model_copy_set(&copy, "model_index.json", "force_zeros_for_empty_prompt", json_string("yes"));
    assert_fails(PARA_ERR_CONFIG, "force_zeros_for_empty_prompt", para_pipeline_open(&pipe, world, copy.folder, NULL));
    model_copy_close(&copy);

    r.prompt = ""; /* neither half has a token */
    para_result *silent = generate(mochi, &r);
    assert_true(!same_latents(none, silent));
    para_result_close(&silent);
    para_result_close(&none);
    para_result_close(&empty);
    drop(&forced);
    drop(&plain);
}

static void given_embeds(void **state) {
    (void)state;
    texts kept;
    para_request r = request();
    r.negative_prompt = "x";
    para_result *wanted = traced(mochi, &r, &kept), *result;
    assert_true(kept.t5[0].dim[0] > kept.t5[1].dim[0] && kept.t5[0].dim[0] < 24); /* no padding */
    r.prompt = r.negative_prompt = NULL;
    r.prompt_embeds = &kept.t5[0];
    r.negative_prompt_embeds = &kept.t5[1];
    result = generate(mochi, &r);
    assert_true(same_latents(result, wanted));
    para_result_close(&result);
    para_result_close(&wanted);
    para_tensor none = kept.t5[1]; /* what an empty prompt is */
    none.dim[0] = 0;
    r.negative_prompt_embeds = &none;
    result = generate(mochi, &r);
    r.prompt_embeds = r.negative_prompt_embeds = NULL;
    r.prompt = "a red heart moving left";
    wanted = generate(mochi, &r);
    assert_true(same_latents(result, wanted));
    para_result_close(&result);
    para_result_close(&wanted);
    r.prompt = NULL;
    r.prompt_embeds = &kept.t5[0];
    assert_fails(PARA_ERR_ARGUMENT, "without a negative half", para_generate(mochi, &r, &result));
    r.guidance_scale = 1; /* has none */
    result = generate(mochi, &r);
    para_result_close(&result);
    drop(&kept);
}

/* ---- configs that do not belong together */

static void disagreements_are_refused(void **state) {
    (void)state;
    static const struct {
        const char *file, *key, *value, *says;
    } bad[] = {
        {"transformer/config.json", "in_channels", "10", "in_channels 10 is not the VAE's latent_channels 12"},
        {"transformer/config.json", "text_embed_dim", "32", "text_embed_dim 32 is not the text encoder's d_model 24"},
        {"vae/config.json", "temporal_expansions", "[1, 2, 2]", "multiply to 8 and 4; a MochiPipeline needs 8 and 6"},
        {"vae/config.json", "out_channels", "4", "out_channels is 4"},
        {"scheduler/scheduler_config.json", "use_dynamic_shifting", "true", "use_dynamic_shifting is true"},
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        model_copy copy;
        para_pipeline *pipe;
        model_copy_open(&copy, MODEL, "bad");
        model_copy_set(&copy, bad[i].file, bad[i].key, json_loads(bad[i].value, JSON_DECODE_ANY, NULL));
        if (strstr(bad[i].key, "in_channels")) model_copy_set(&copy, bad[i].file, "out_channels", NULL);
        assert_fails(PARA_ERR_CONFIG, bad[i].says, para_pipeline_open(&pipe, world, copy.folder, NULL));
        model_copy_close(&copy);
    }
}

/* ---- memory and random weights */

/* A prompt shorter than what was planned for takes no more; prompts that fill their room take exactly that. */
static void planned_memory(void **state) {
    (void)state;
    para_request r = request();
    para_plan plan;
    r.latents_only = false;
    assert_ok(para_pipeline_plan(mochi, &r, &plan));
    para_result *result = generate(mochi, &r);
    assert_true(result->arena_bytes <= (size_t)plan.arena_bytes && result->weight_bytes == (size_t)plan.weight_bytes);
    assert_true(result->images.rank == 5 && result->images.dim[1] == 7 && result->images.dim[4] == 48);
    para_result_close(&result);
    r.max_sequence_length = 3;
    r.negative_prompt = r.prompt;
    assert_ok(para_pipeline_plan(mochi, &r, &plan));
    result = generate(mochi, &r);
    assert_int_equal(result->arena_bytes, plan.arena_bytes);
    para_result_close(&result);
}

static void check_random(const para_result *first, const para_bench_inputs *in) {
    (void)first;
    assert_true(in->latents.dim[1] == 12 && in->negative_prompt_embeds.data);
}

static void random_weights(void **state) {
    (void)state;
    generate_on_random_weights(MODEL, request(), 7, check_random);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(own_values),
        cmocka_unit_test(rounded_and_refused),
        cmocka_unit_test(halves_for_groups),
        cmocka_unit_test(warned_of),
        cmocka_unit_test(empty_prompts),
        cmocka_unit_test(given_embeds),
        cmocka_unit_test(planned_memory),
        cmocka_unit_test(random_weights),
        cmocka_unit_test(disagreements_are_refused),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
