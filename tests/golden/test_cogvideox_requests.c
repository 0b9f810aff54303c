/* CogVideoX's requests: what is rounded, refused and warned of; given embeddings; configs; memory; random weights. SPDX-License-Identifier: Apache-2.0 */
#include "video_requests.h"

#define MODEL  PARA_SOURCE_DIR "/tests/golden/cogvideox-video"
#define ROTARY PARA_SOURCE_DIR "/tests/golden/cogvideox-video-dpm"

enum { TEXT = 14 }; /* all that the model's positions take */

static para_pipeline *cogvideox;

static int setup(void **state) {
    return open_requests(state, &cogvideox, MODEL);
}

static int teardown(void **state) {
    return close_requests(state, &cogvideox);
}

static para_request request(void) {
    para_request r = PARA_REQUEST_INIT;
    r.prompt = "a red heart moving left";
    r.height = 32;
    r.width = 16;
    r.num_frames = 9;
    r.num_inference_steps = 2;
    r.max_sequence_length = TEXT;
    r.latents_only = true;
    return r;
}

/* ---- sizes */

static void own_values(void **state) {
    (void)state;
    para_request r = PARA_REQUEST_INIT, filled;
    para_plan plan;
    r.prompt = "";
    assert_ok(para_pipeline_fill_in(cogvideox, &r, &filled));
    assert_true(filled.height == 48 && filled.width == 32 && filled.num_frames == 9); /* of the transformer's sample */
    assert_true(filled.num_inference_steps == 50 && filled.guidance_scale == 6 && filled.max_sequence_length == 226);
    assert_fails(PARA_ERR_ARGUMENT, "takes exactly 14 text tokens", para_pipeline_plan(cogvideox, &filled, &plan));
    filled.max_sequence_length = TEXT;
    assert_ok(para_pipeline_plan(cogvideox, &filled, &plan));
    assert_true(plan.num_frames == 9 && plan.image_tokens == 3 * 3 * 2 && plan.text_tokens == TEXT && plan.items == 2);
}

/* The VAE makes 8 frames of two of latents, and 9 of three. */
static void rounded_and_refused(void **state) {
    (void)state;
    static const struct {
        int asked, frames, latents;
    } rounded[] = {{1, 1, 1}, {4, 1, 1}, {5, 8, 2}, {9, 9, 3}, {12, 9, 3}, {13, 16, 4}};
    para_result *result;
    for (size_t i = 0; i < sizeof rounded / sizeof *rounded; i++) {
        para_request r = request();
        r.num_frames = rounded[i].asked;
        result = generate(cogvideox, &r);
        assert_int_equal(result->num_frames, rounded[i].frames);
        assert_int_equal(result->latents.dim[1], rounded[i].latents);
        assert_int_equal(strstr(said, "the video gets") != NULL, rounded[i].asked != rounded[i].frames);
        para_result_close(&result);
    }
    para_request r = request();
    r.height = 36;
    assert_fails(PARA_ERR_ARGUMENT, "height (--height) is 36; a CogVideoXPipeline needs a multiple of 8, such as 40",
                 para_generate(cogvideox, &r, &result));
    r.height = 40; /* which diffusers takes, and then fails on */
    assert_fails(PARA_ERR_ARGUMENT, "give a --width and --height that 16 divides",
                 para_generate(cogvideox, &r, &result));
    r = request();
    r.sigmas = (double[]){1, 0.5};
    assert_fails(PARA_ERR_ARGUMENT, "sigmas (--sigmas) are given, but a CogVideoXPipeline has none",
                 para_generate(cogvideox, &r, &result));
    r = request();
    r.num_inference_steps = 61;
    assert_fails(PARA_ERR_ARGUMENT, "with 61 denoising steps", para_generate(cogvideox, &r, &result));
    r = request();
    r.max_sequence_length = 13;
    assert_fails(PARA_ERR_ARGUMENT, "exactly 14 text tokens", para_generate(cogvideox, &r, &result));
}

/* Latents that fill a patch in time are drawn and given back, and not decoded. Any number of text tokens; no more rows than the model has positions for. */
static void rotary_positions(void **state) {
    (void)state;
    para_pipeline *pipe;
    para_result *result;
    para_request r = request();
    assert_ok(para_pipeline_open(&pipe, world, ROTARY, NULL));
    r.max_sequence_length = 5;
    r.latents_only = false;
    result = generate(pipe, &r);
    assert_true(result->latents.dim[1] == 4 && result->images.dim[1] == 9 && result->num_frames == 9);
    para_result_close(&result);
    r.height = 96;
    assert_fails(PARA_ERR_ARGUMENT, "has positions for 5 x 6 tokens; a video of 6 x 1",
                 para_generate(pipe, &r, &result));
    para_pipeline_close(&pipe);
}

static void warned_of(void **state) {
    (void)state;
    para_request r = request();
    r.prompt_2 = "nobody reads this";
    r.negative_prompt = "blurred";
    r.true_cfg_scale = 2;
    r.guidance_scale = 1;
    r.prompt = "a red heart moving left on a white background, and a golden star";
    para_result *result = generate(cogvideox, &r);
    assert_non_null(strstr(said, "prompt_2 (--prompt-2) has no effect: a CogVideoXPipeline encodes one prompt"));
    assert_non_null(strstr(said, "the negative prompt has no effect with guidance_scale 1"));
    assert_non_null(strstr(said, "true_cfg_scale 2 has no effect"));
    assert_non_null(strstr(said, "the prompt is too long for the T5 text encoder"));
    para_result_close(&result);
}

/* NULL is "", dynamic guidance another, and none another still. */
static void guidance(void **state) {
    (void)state;
    para_request r = request();
    para_result *first = generate(cogvideox, &r), *other;
    r.negative_prompt = "";
    other = generate(cogvideox, &r);
    assert_true(same_latents(first, other));
    para_result_close(&other);
    r.use_dynamic_cfg = true;
    other = generate(cogvideox, &r);
    assert_true(!same_latents(first, other));
    para_result_close(&other);
    r.use_dynamic_cfg = false;
    r.guidance_scale = 1;
    other = generate(cogvideox, &r);
    assert_true(!same_latents(first, other));
    para_result_close(&other);
    para_result_close(&first);
}

/* ---- configs that do not belong together */

static void disagreements_are_refused(void **state) {
    (void)state;
    static const struct {
        const char *file, *key, *value, *says;
    } bad[] = {
        {"transformer/config.json", "text_embed_dim", "24", "text_embed_dim 24 is not the text encoder's d_model 32"},
        {"transformer/config.json", "in_channels", "8", "out_channels is 4 but in_channels is 8"},
        {"vae/config.json", "latent_channels", "8", "in_channels 4 is not the VAE's latent_channels 8"},
        {"vae/config.json", "out_channels", "4", "out_channels is 4"},
        {"scheduler/scheduler_config.json", "_class_name", "\"DDIMScheduler\"",
         "it must be CogVideoXDDIMScheduler or CogVideoXDPMScheduler"},
        {"scheduler/scheduler_config.json", "timestep_spacing", "\"even\"", "\"timestep_spacing\" is 'even'"},
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        model_copy copy;
        para_pipeline *pipe;
        model_copy_open(&copy, MODEL, "bad");
        model_copy_set(&copy, bad[i].file, bad[i].key, json_loads(bad[i].value, JSON_DECODE_ANY, NULL));
        assert_fails(PARA_ERR_CONFIG, bad[i].says, para_pipeline_open(&pipe, world, copy.folder, NULL));
        model_copy_close(&copy);
    }
}

/* The scheduler is the one that its config names. */
static void either_scheduler(void **state) {
    (void)state;
    model_copy copy;
    para_pipeline *pipe;
    para_request r = request();
    para_result *ddim = generate(cogvideox, &r), *dpm;
    model_copy_open(&copy, MODEL, "other");
    model_copy_set(&copy, "scheduler/scheduler_config.json", "_class_name", json_string("CogVideoXDPMScheduler"));
    assert_ok(para_pipeline_open(&pipe, world, copy.folder, NULL));
    dpm = generate(pipe, &r);
    assert_true(!same_latents(ddim, dpm));
    para_result_close(&dpm);
    para_result_close(&ddim);
    para_pipeline_close(&pipe);
    model_copy_close(&copy);
}

/* ---- memory and random weights */

static void planned_memory(void **state) {
    (void)state;
    static const char *const models[] = {MODEL, ROTARY};
    for (size_t i = 0; i < 2; i++) {
        para_pipeline *pipe;
        para_plan plan;
        para_request r = request();
        r.latents_only = false;
        assert_ok(para_pipeline_open(&pipe, world, models[i], NULL));
        assert_ok(para_pipeline_plan(pipe, &r, &plan));
        para_result *result = generate(pipe, &r);
        assert_int_equal(result->arena_bytes, plan.arena_bytes);
        assert_int_equal(result->weight_bytes, plan.weight_bytes);
        para_result_close(&result);
        para_pipeline_close(&pipe);
    }
}

static void check_random(const para_result *first, const para_bench_inputs *in) {
    (void)first;
    assert_true(in->latents.dim[1] == 3 && in->latents.dim[2] == 4 && in->negative_prompt_embeds.data);
}

static void random_weights(void **state) {
    (void)state;
    generate_on_random_weights(MODEL, request(), TEXT, check_random);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(own_values),       cmocka_unit_test(rounded_and_refused),
        cmocka_unit_test(rotary_positions), cmocka_unit_test(warned_of),
        cmocka_unit_test(guidance),         cmocka_unit_test(disagreements_are_refused),
        cmocka_unit_test(either_scheduler), cmocka_unit_test(planned_memory),
        cmocka_unit_test(random_weights),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
