/* HunyuanVideo's requests: what is rounded, refused and warned of; given latents and embeddings; frames one by one; random weights.
 * SPDX-License-Identifier: Apache-2.0 */
#include "core/rng.h"
#include "video_requests.h"

#define MODEL PARA_SOURCE_DIR "/tests/golden/hunyuan-video"

static para_pipeline *hunyuan;

static int setup(void **state) {
    return open_requests(state, &hunyuan, MODEL);
}

static int teardown(void **state) {
    return close_requests(state, &hunyuan);
}

static para_request request(void) {
    para_request r = PARA_REQUEST_INIT;
    r.prompt = "a red heart moving left";
    r.height = 32;
    r.width = 48;
    r.num_frames = 5;
    r.num_inference_steps = 2;
    r.max_sequence_length = 24;
    return r;
}

static void assert_same(const para_tensor *a, const para_tensor *b) {
    assert_int_equal(a->rank, b->rank);
    for (int i = 0; i < a->rank; i++) assert_int_equal(a->dim[i], b->dim[i]);
    assert_memory_equal(a->data, b->data, (size_t)para_tensor_count(a) * sizeof(float));
}

/* ---- sizes, as HunyuanVideoPipeline has them */

static void own_values(void **state) {
    (void)state;
    para_request r = PARA_REQUEST_INIT, filled;
    para_plan plan;
    int height, width, num_frames;
    r.prompt = "";
    assert_ok(para_pipeline_fill_in(hunyuan, &r, &filled));
    assert_true(filled.height == 720 && filled.width == 1280 && filled.num_frames == 129 &&
                filled.num_inference_steps == 50);
    assert_true(filled.guidance_scale == 6.0f && filled.max_sequence_length == 256);
    filled.num_inference_steps = 1;
    assert_ok(para_pipeline_plan(hunyuan, &filled, &plan));
    assert_true(plan.num_frames == 129 && plan.image_tokens == 33 * 45 * 80 && plan.text_tokens == 256 &&
                plan.items == 1);
    assert_int_equal(plan.result_bytes, 4ll * (129ll * 3 * 720 * 1280 + 2ll * 33 * 90 * 160 * 4));
    r.num_frames = 66;
    said[0] = '\0';
    assert_ok(para_pipeline_size(hunyuan, &r, &height, &width, &num_frames));
    assert_true(height == 720 && width == 1280 && num_frames == 65 && said[0] == '\0');
    assert_true(para_pipeline_makes_videos(hunyuan));
}

/* A model of another size says so in its VAE's config. */
static void own_values_of_a_small_model(void **state) {
    (void)state;
    static const char config[] = "vae/config.json";
    model_copy small;
    para_pipeline *pipe;
    para_request r = PARA_REQUEST_INIT, filled;
    r.prompt = "";
    model_copy_open(&small, MODEL, "small");
    model_copy_set(&small, config, "_sample_height", json_integer(64));
    model_copy_set(&small, config, "_sample_width", json_integer(96));
    model_copy_set(&small, config, "_sample_frames", json_integer(13));
    assert_ok(para_pipeline_open(&pipe, world, small.folder, NULL));
    assert_ok(para_pipeline_fill_in(pipe, &r, &filled));
    assert_true(filled.height == 64 && filled.width == 96 && filled.num_frames == 13);
    para_pipeline_close(&pipe);
    model_copy_set(&small, config, "_sample_frames", json_integer(0));
    assert_fails(PARA_ERR_CONFIG, "_sample_frames", para_pipeline_open(&pipe, world, small.folder, NULL));
    model_copy_close(&small);
}

static void rounded_and_refused(void **state) {
    (void)state;
    static const struct { int asked, frames; } rounded[] = {{1, 1}, {2, 1}, {4, 1}, {6, 5}, {8, 5}, {9, 9}};
    for (size_t i = 0; i < sizeof rounded / sizeof *rounded; i++) {
        para_request r = request();
        r.num_frames = rounded[i].asked;
        r.latents_only = true;
        para_result *result = generate(hunyuan, &r);
        assert_int_equal(result->num_frames, rounded[i].frames);
        assert_int_equal(result->latents.dim[2], (rounded[i].frames - 1) / 4 + 1);
        assert_int_equal(strstr(said, "the video gets") != NULL, rounded[i].asked != rounded[i].frames);
        para_result_close(&result);
    }
    para_result *result;
    para_request r = request();
    r.height = 40;
    assert_fails(PARA_ERR_ARGUMENT,
                 "height (--height) is 40; a HunyuanVideoPipeline needs a multiple of 16, such as 48",
                 para_generate(hunyuan, &r, &result));
    r = request();
    r.width = 50;
    assert_fails(PARA_ERR_ARGUMENT, "width (--width) is 50", para_generate(hunyuan, &r, &result));
    r = request();
    r.num_frames = -1;
    assert_fails(PARA_ERR_ARGUMENT, "num_frames (--frames) is -1", para_generate(hunyuan, &r, &result));
    r = request();
    r.prompt = "a\xff";
    assert_fails(PARA_ERR_ARGUMENT, "the prompt is not UTF-8 (byte 1)", para_generate(hunyuan, &r, &result));
    r = request();
    r.max_sequence_length = 1025;
    assert_fails(PARA_ERR_ARGUMENT, "give 1 to 1024", para_generate(hunyuan, &r, &result));
}

static void warned_of(void **state) {
    (void)state;
    para_request r = request();
    r.prompt_2 = "nobody reads this";
    r.negative_prompt = "blurred";
    r.max_sequence_length = 3;
    para_result *result = generate(hunyuan, &r);
    assert_non_null(strstr(said, "prompt_2 (--prompt-2) has no effect: a HunyuanVideoPipeline encodes one prompt"));
    assert_non_null(strstr(said, "the negative prompt has no effect with true_cfg_scale 1"));
    assert_non_null(strstr(said, "the prompt is too long for the Llama text encoder"));
    para_result_close(&result);
}

/* ---- given latents and embeddings */

typedef struct texts {
    para_tensor llama[2], clip[2]; /* of both halves */
} texts;

static para_status keep_text(void *user, const char *name, const para_tensor *t) {
    texts *kept = user;
    int half = strstr(name, ".negative") != NULL;
    para_tensor *to = strncmp(name, "text.clip", 9) == 0     ? &kept->clip[half]
                      : strncmp(name, "text.llama", 10) == 0 ? &kept->llama[half]
                                                             : NULL;
    if (!to) return PARA_OK;
    assert_true(para_tensor_contiguous(t) && t->dtype == PARA_F32);
    *to = *t;
    to->data = malloc((size_t)para_tensor_count(t) * sizeof(float));
    memcpy(to->data, t->data, (size_t)para_tensor_count(t) * sizeof(float));
    return PARA_OK;
}

static void given_embeds(void **state) {
    (void)state;
    texts kept = {0};
    const para_trace trace = {keep_text, &kept};
    para_request r = request();
    r.negative_prompt = "x";
    r.true_cfg_scale = 3;
    hunyuan->trace = &trace;
    para_result *wanted = generate(hunyuan, &r);
    hunyuan->trace = NULL;
    assert_true(kept.llama[0].dim[0] > kept.llama[1].dim[0]); /* no padding */
    r.prompt = r.negative_prompt = NULL;
    r.prompt_embeds = &kept.llama[0];
    r.pooled_prompt_embeds = &kept.clip[0];
    r.negative_prompt_embeds = &kept.llama[1];
    r.negative_pooled_prompt_embeds = &kept.clip[1];
    para_result *result = generate(hunyuan, &r), *none;
    assert_same(&result->images, &wanted->images);
    para_result_close(&result);
    para_result_close(&wanted);
    r.negative_pooled_prompt_embeds = NULL;
    assert_fails(PARA_ERR_ARGUMENT, "negative_prompt_embeds need negative_pooled_prompt_embeds",
                 para_generate(hunyuan, &r, &none));
    r.negative_pooled_prompt_embeds = &kept.clip[1];
    r.negative_prompt_embeds = &kept.clip[1];
    assert_fails(PARA_ERR_SHAPE, "negative_prompt_embeds must be contiguous [1, 32]",
                 para_generate(hunyuan, &r, &none));
    r.negative_prompt_embeds = NULL;
    r.negative_prompt = "x";
    assert_fails(PARA_ERR_ARGUMENT, "without a negative half", para_generate(hunyuan, &r, &none));
    r.prompt_embeds = NULL;
    r.prompt = "x";
    assert_fails(PARA_ERR_ARGUMENT, "go with prompt_embeds", para_generate(hunyuan, &r, &none));
    for (int i = 0; i < 2; i++) free(kept.llama[i].data), free(kept.clip[i].data);
}

/* The noise that is drawn, given; and what comes out, in the form that goes in. */
static void given_latents(void **state) {
    (void)state;
    static float noise[2 * 4 * 2 * 4 * 6];
    para_rng rng;
    para_rng_seed(&rng, PARA_RNG_CPU, 9);
    para_rng_normal(&rng, noise, PARA_F32, sizeof noise / sizeof *noise);
    para_tensor given = para_tensor_make(noise, PARA_F32, 5, (int64_t[]){2, 4, 2, 4, 6});
    para_request r = request();
    r.seed = 9;
    r.num_images = 2;
    para_result *wanted = generate(hunyuan, &r), *result;
    r.seed = 0;
    r.latents = &given;
    result = generate(hunyuan, &r);
    assert_same(&result->images, &wanted->images);
    assert_same(&result->latents, &wanted->latents);
    for (int i = 0; i < 5; i++) assert_int_equal(result->latents.dim[i], given.dim[i]);
    assert_true(result->images.rank == 5 && result->images.dim[0] == 2 && result->images.dim[1] == 5 &&
                result->images.dim[4] == 48);
    para_result_close(&result);
    para_result_close(&wanted);
    given.dim[2] = 1;
    assert_fails(PARA_ERR_SHAPE,
                 "latents (--latents) must be contiguous [2, 4, 2, 4, 6] for 5 frames of 48 x 32 pixels",
                 para_generate(hunyuan, &r, &result));
}

/* ---- frames one by one */

typedef struct frames {
    const para_result *wanted; /* NULL: only counted */
    int count, fail_at;
} frames;

static para_status on_frame(void *user, int image, int frame, const para_tensor *pixels) {
    frames *f = user;
    assert_int_equal(image, f->count / 5);
    assert_int_equal(frame, f->count % 5);
    assert_true(pixels->rank == 3 && pixels->dim[0] == 3 && pixels->dim[1] == 32 && pixels->dim[2] == 48);
    size_t values = (size_t)para_tensor_count(pixels);
    if (f->wanted)
        assert_memory_equal(pixels->data, (float *)f->wanted->images.data + (size_t)f->count * values,
                            values * sizeof(float));
    if (++f->count == f->fail_at) return PARA_ERR_IO;
    return PARA_OK;
}

static void frames_as_they_come(void **state) {
    (void)state;
    para_request r = request();
    r.num_images = 2;
    para_result *wanted = generate(hunyuan, &r), *result;
    frames f = {.wanted = wanted};
    r.on_frame = on_frame;
    r.user = &f;
    result = generate(hunyuan, &r);
    assert_int_equal(f.count, 10);
    assert_null(result->images.data);
    assert_true(result->num_frames == 5 && result->height == 32 && result->width == 48);
    assert_same(&result->latents, &wanted->latents);
    para_result_close(&result);
    f.count = 0;
    f.fail_at = 7;
    assert_int_equal(para_generate(hunyuan, &r, &result), PARA_ERR_IO);
    assert_int_equal(f.count, 7);
    f = (frames){0};
    r.latents_only = true; /* there are none */
    result = generate(hunyuan, &r);
    assert_int_equal(f.count, 0);
    para_result_close(&result);
    para_result_close(&wanted);
}

/* ---- memory and random weights */

/* A prompt shorter than what was planned for takes no more; one that fills its room takes exactly that. */
static void planned_memory(void **state) {
    (void)state;
    para_request r = request();
    para_plan plan;
    assert_ok(para_pipeline_plan(hunyuan, &r, &plan));
    para_result *result = generate(hunyuan, &r);
    assert_true(result->arena_bytes <= (size_t)plan.arena_bytes && result->weight_bytes == (size_t)plan.weight_bytes);
    para_result_close(&result);
    r.max_sequence_length = 4;
    assert_ok(para_pipeline_plan(hunyuan, &r, &plan));
    result = generate(hunyuan, &r);
    assert_int_equal(result->arena_bytes, plan.arena_bytes);
    para_result_close(&result);
}

static void check_random(const para_result *first, const para_bench_inputs *in) {
    assert_int_equal(first->images.dim[1], 5);
    assert_true(in->latents.dim[1] == 4 && !in->negative_prompt_embeds.data);
    assert_non_null(in->pooled_prompt_embeds.data);
}

static void random_weights(void **state) {
    (void)state;
    generate_on_random_weights(MODEL, request(), 7, check_random);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(own_values),          cmocka_unit_test(own_values_of_a_small_model),
        cmocka_unit_test(rounded_and_refused), cmocka_unit_test(warned_of),
        cmocka_unit_test(given_embeds),        cmocka_unit_test(given_latents),
        cmocka_unit_test(frames_as_they_come), cmocka_unit_test(planned_memory),
        cmocka_unit_test(random_weights),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
