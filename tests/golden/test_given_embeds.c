/* Requests whose text is given as embeddings, for latents alone, and on random weights: what is computed, what is loaded, what is refused.
 * SPDX-License-Identifier: Apache-2.0 */
#include <math.h>

#include <paraattn/paraattn.h>

#include "pipeline/pipeline_state.h"
#include "unit/io_checks.h"

#define DEV PARA_SOURCE_DIR "/tests/golden/flux-dev"

static para_world *world;
static para_pipeline *flux;

static para_pipeline *open_flux(bool random_weights) {
    para_pipeline *pipe;
    para_pipeline_options o = PARA_PIPELINE_OPTIONS_INIT;
    o.random_weights = random_weights;
    assert_ok(para_pipeline_open(&pipe, world, DEV, &o));
    return pipe;
}

static int setup(void **state) {
    (void)state;
    para_world_options w = PARA_WORLD_OPTIONS_INIT;
    w.threads = 2;
    assert_ok(para_world_open(&world, &w));
    flux = open_flux(false);
    return 0;
}

static int teardown(void **state) {
    (void)state;
    para_pipeline_close(&flux);
    para_world_close(&world);
    return 0;
}

static para_request request(void) {
    para_request r = PARA_REQUEST_INIT;
    r.prompt = "a red heart";
    r.height = 32;
    r.width = 48;
    r.num_inference_steps = 2;
    r.max_sequence_length = 8;
    return r;
}

static void assert_same(const para_tensor *a, const para_tensor *b) {
    assert_int_equal(para_tensor_count(a), para_tensor_count(b));
    assert_memory_equal(a->data, b->data, (size_t)para_tensor_count(a) * sizeof(float));
}

/* What the text encoders gave: copies of stages of the trace. */
typedef struct texts {
    para_tensor clip, t5;
} texts;

static para_status keep_text(void *user, const char *name, const para_tensor *t) {
    texts *kept = user;
    para_tensor *to = strcmp(name, "text.clip") == 0 ? &kept->clip : strcmp(name, "text.t5") == 0 ? &kept->t5 : NULL;
    if (!to) return PARA_OK;
    assert_true(para_tensor_contiguous(t) && t->dtype == PARA_F32);
    *to = *t;
    to->data = malloc((size_t)para_tensor_count(t) * sizeof(float));
    memcpy(to->data, t->data, (size_t)para_tensor_count(t) * sizeof(float));
    return PARA_OK;
}

static bool loaded(const para_pipeline *pipe, int i) {
    return pipe->holder->instance[i].model != NULL;
}

/* The encoders' own results, given, are the picture of the prompt; only the transformer is loaded for its latents, then the VAE for its pixels. */
static void embeds_in_the_place_of_text(void **state) {
    (void)state;
    texts kept = {0};
    const para_trace trace = {keep_text, &kept};
    para_request r = request();
    para_result *wanted, *result;
    flux->trace = &trace;
    assert_ok(para_generate(flux, &r, &wanted));
    flux->trace = NULL;
    assert_int_equal(kept.t5.dim[0], 8);

    para_pipeline *fresh = open_flux(false);
    r.prompt = NULL;
    r.prompt_embeds = &kept.t5;
    r.pooled_prompt_embeds = &kept.clip;
    r.max_sequence_length = 512; /* counts for nothing */
    r.latents_only = true;
    assert_ok(para_generate(fresh, &r, &result));
    assert_same(&result->latents, &wanted->latents);
    assert_null(result->images.data);
    assert_true(loaded(fresh, fresh->family->transformer));
    for (int i = 0; i < fresh->num_components; i++)
        assert_int_equal(loaded(fresh, i), fresh->family->components[i].stage == PARA_STAGE_DENOISE);
    size_t bytes = result->weight_bytes;
    assert_true(bytes > 0 && bytes < wanted->weight_bytes);
    para_result_close(&result);

    r.latents_only = false;
    assert_ok(para_generate(fresh, &r, &result));
    assert_same(&result->images, &wanted->images);
    assert_true(result->weight_bytes > bytes && result->weight_bytes < wanted->weight_bytes);
    para_result_close(&result);

    para_request text = request();
    assert_ok(para_generate(fresh, &text, &result));
    assert_same(&result->images, &wanted->images);
    para_result_close(&result);
    para_pipeline_close(&fresh);
    para_result_close(&wanted);
    free(kept.clip.data);
    free(kept.t5.data);
}

static void wrong_embeds(void **state) {
    (void)state;
    para_request sized = request();
    para_bench_inputs in;
    para_result *result;
    assert_ok(para_bench_inputs_random(flux, &sized, 5, 0, &in));
    assert_int_equal(in.prompt_embeds.dim[0], 5);
    assert_int_equal(in.latents.dim[1], 2 * 3);
    para_request good = request();
    good.prompt_embeds = &in.prompt_embeds;
    good.pooled_prompt_embeds = &in.pooled_prompt_embeds;

    para_request r = good;
    r.pooled_prompt_embeds = NULL;
    assert_fails(PARA_ERR_ARGUMENT, "pooled_prompt_embeds beside", para_generate(flux, &r, &result));
    r = good;
    r.pooled_prompt_embeds = &in.prompt_embeds;
    assert_fails(PARA_ERR_SHAPE, "pooled_prompt_embeds must be contiguous [1, ", para_generate(flux, &r, &result));
    r = good;
    r.prompt_embeds = &in.latents;
    assert_fails(PARA_ERR_SHAPE, "prompt_embeds must be contiguous [", para_generate(flux, &r, &result));
    r = good;
    r.negative_prompt = "blurred";
    r.true_cfg_scale = 2;
    assert_fails(PARA_ERR_ARGUMENT, "without a negative half", para_generate(flux, &r, &result));
    para_tensor ids = in.prompt_embeds;
    ids.dtype = PARA_I32;
    r = good;
    r.prompt_embeds = &ids;
    assert_fails(PARA_ERR_SHAPE, "prompt_embeds are I32; give F32", para_generate(flux, &r, &result));
    uint16_t *first = in.prompt_embeds.data, kept = *first;
    *first = 0x7f80; /* infinity */
    assert_fails(PARA_ERR_NAN, "the given prompt_embeds", para_generate(flux, &good, &result));
    *first = kept;
    assert_ok(para_generate(flux, &good, &result));
    para_result_close(&result);
    para_bench_inputs_free(&in);
    assert_fails(PARA_ERR_ARGUMENT, "--text-tokens", para_bench_inputs_random(flux, &sized, 0, 0, &in));
    para_bench_inputs_free(&in);
}

/* Of one step from sigma 1 to 0: latents - prediction = result. */
static void the_first_prediction(void **state) {
    (void)state;
    para_request r = request();
    para_bench_inputs in;
    para_tensor prediction;
    para_result *result;
    assert_ok(para_bench_inputs_random(flux, &r, 7, 3, &in));
    r.latents = &in.latents;
    r.prompt_embeds = &in.prompt_embeds;
    r.pooled_prompt_embeds = &in.pooled_prompt_embeds;
    assert_ok(para_bench_prediction(flux, &r, &prediction));
    r.num_inference_steps = 1;
    r.latents_only = true;
    assert_ok(para_generate(flux, &r, &result));
    assert_int_equal(prediction.dtype, PARA_F32);
    assert_int_equal(para_tensor_count(&prediction), para_tensor_count(&result->latents));
    const uint16_t *noise = in.latents.data;
    const float *p = prediction.data, *l = result->latents.data;
    for (int64_t i = 0; i < para_tensor_count(&prediction); i++) {
        uint32_t bits = (uint32_t)noise[i] << 16;
        float from;
        memcpy(&from, &bits, sizeof from);
        assert_true(l[i] == from - p[i]);
    }
    para_result_close(&result);
    para_tensor_free(&prediction);
    para_bench_inputs_free(&in);
}

/* The same pictures each time, finite, and of another model than the folder's. */
static void random_weights(void **state) {
    (void)state;
    para_request r = request();
    para_result *own, *first, *second;
    assert_ok(para_generate(flux, &r, &own));
    para_pipeline *a = open_flux(true), *b = open_flux(true);
    assert_ok(para_generate(a, &r, &first));
    r.prompt = "another prompt, which counts for nothing";
    assert_ok(para_generate(b, &r, &second));
    assert_same(&first->images, &second->images);
    assert_memory_not_equal(first->images.data, own->images.data, sizeof(float) * 3 * 32 * 48);
    for (int64_t i = 0; i < para_tensor_count(&first->images); i++)
        assert_true(isfinite(((float *)first->images.data)[i]));
    para_result_close(&own);
    para_result_close(&first);
    para_result_close(&second);
    para_pipeline_close(&a);
    para_pipeline_close(&b);
}

static para_status whole_life(void) {
    para_pipeline_options o = PARA_PIPELINE_OPTIONS_INIT;
    para_pipeline *pipe;
    para_bench_inputs in = {0};
    para_tensor prediction = {0};
    para_request r = request();
    o.random_weights = true;
    para_status status = para_pipeline_open(&pipe, world, DEV, &o);
    if (status == PARA_OK) status = para_bench_inputs_random(pipe, &r, 4, 0, &in);
    r.latents = &in.latents;
    r.prompt_embeds = &in.prompt_embeds;
    r.pooled_prompt_embeds = &in.pooled_prompt_embeds;
    if (status == PARA_OK) status = para_bench_prediction(pipe, &r, &prediction);
    para_tensor_free(&prediction);
    para_bench_inputs_free(&in);
    para_pipeline_close(&pipe);
    return status;
}

/* Every 7th allocation; the first life is without, for what is made once. */
static void memory_runs_out(void **state) {
    (void)state;
    assert_ok(whole_life());
    long failed = 0;
    for (long i = 1;; i += 7) {
        para_alloc_fail_after(i);
        para_status status = whole_life();
        bool reached = para_alloc_count() >= i;
        para_alloc_fail_after(0);
        if (status != (reached ? PARA_ERR_MEMORY : PARA_OK))
            fail_msg("allocation %ld: status %d, %s", i, status, para_last_error());
        if (!reached) break;
        failed++;
    }
    assert_true(failed > 30);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(embeds_in_the_place_of_text),
        cmocka_unit_test(wrong_embeds),
        cmocka_unit_test(the_first_prediction),
        cmocka_unit_test(random_weights),
        cmocka_unit_test(memory_runs_out),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
