/* The public interface around a run: threads, cancel, repeated requests, wrong arguments. SPDX-License-Identifier: Apache-2.0 */
#include <pthread.h>
#include <stdbool.h>

#include <paraattn/paraattn.h>

#include "core/float.h"
#include "core/rng.h"
#include "unit/io_checks.h"

#define DEV     PARA_SOURCE_DIR "/tests/golden/flux-dev"
#define SCHNELL PARA_SOURCE_DIR "/tests/golden/flux-schnell"

static para_world *world;
static para_pipeline *flux;

static int setup(void **state) {
    (void)state;
    para_world_options w = PARA_WORLD_OPTIONS_INIT;
    w.threads = 2;
    assert_ok(para_world_open(&world, &w));
    assert_ok(para_pipeline_open(&flux, world, DEV, NULL));
    return 0;
}

static int teardown(void **state) {
    (void)state;
    para_pipeline_close(&flux);
    para_world_close(&world);
    return 0;
}

static para_request request(const char *prompt, uint64_t seed) {
    para_request r = PARA_REQUEST_INIT;
    r.prompt = prompt;
    r.seed = seed;
    r.height = 32;
    r.width = 48;
    r.num_inference_steps = 2;
    r.max_sequence_length = 8;
    return r;
}

static para_result *generate(para_pipeline *p, const para_request *r) {
    para_result *result = NULL;
    assert_ok(para_generate(p, r, &result));
    return result;
}

static bool same(const para_tensor *a, const para_tensor *b) {
    return para_tensor_count(a) == para_tensor_count(b) &&
           memcmp(a->data, b->data, (size_t)para_tensor_count(a) * sizeof(float)) == 0;
}

/* ---- other threads */

typedef struct call {
    para_pipeline *pipe;
    const para_request *request;
    para_status status;
    char said[1024];
} call;

static void *generate_there(void *user) {
    call *c = user;
    para_result *result = NULL;
    c->status = para_generate(c->pipe, c->request, &result);
    snprintf(c->said, sizeof c->said, "%s", para_last_error());
    para_result_close(&result);
    return NULL;
}

static void *cancel_there(void *user) {
    para_cancel(user);
    return NULL;
}

static void in_another_thread(void *(*body)(void *), void *user) {
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, body, user), 0);
    assert_int_equal(pthread_join(thread, NULL), 0);
}

static para_pipeline *other;
static int refused;

static void try_another(void *user, const para_progress *progress) {
    (void)user;
    (void)progress;
    para_request r = request("a second request", 1);
    call calls[] = {{flux, &r, PARA_OK, ""}, {other, &r, PARA_OK, ""}};
    for (int i = 0; i < 2; i++) {
        in_another_thread(generate_there, &calls[i]);
        assert_int_equal(calls[i].status, PARA_ERR_BUSY);
        assert_non_null(strstr(calls[i].said, "busy"));
        assert_fails(PARA_ERR_BUSY, "busy", para_pipeline_load(calls[i].pipe));
        refused++;
    }
}

static void one_request_at_a_time(void **state) {
    (void)state;
    assert_ok(para_pipeline_open(&other, world, SCHNELL, NULL));
    para_request r = request("a red heart", 1), quiet = r;
    para_result *alone = generate(flux, &r);
    r.on_progress = try_another;
    para_result *disturbed = generate(flux, &r);
    assert_true(refused >= 2 * 6); /* load, text, steps, decode */
    assert_true(same(&alone->images, &disturbed->images));
    para_result_close(&alone);
    para_result_close(&disturbed);
    alone = generate(other, &quiet); /* free again */
    para_result_close(&alone);
    para_pipeline_close(&other);
}

/* ---- cancel */

typedef struct cancel_plan {
    const char *stage;
    int done;
    bool asked;
} cancel_plan;

static void cancel_when_there(void *user, const para_progress *progress) {
    cancel_plan *c = user;
    if (c->asked) fail_msg("%s %d/%d came after the cancel", progress->stage, progress->done, progress->total);
    if (strcmp(progress->stage, c->stage) != 0 || progress->done != c->done) return;
    in_another_thread(cancel_there, flux);
    c->asked = true;
}

static void cancel_from_another_thread(void **state) {
    (void)state;
    para_request plain = request("a red heart", 3);
    para_result *wanted = generate(flux, &plain);
    static const cancel_plan plans[] = {
        {"load", 0, false}, {"text", 0, false}, {"denoise", 0, false}, {"denoise", 1, false}, {"decode", 0, false}};
    for (size_t i = 0; i < sizeof plans / sizeof *plans; i++) {
        cancel_plan c = plans[i];
        para_request r = plain;
        r.on_progress = cancel_when_there;
        r.user = &c;
        para_result *result = (para_result *)&c;
        assert_fails(PARA_ERR_CANCELLED, "cancelled", para_generate(flux, &r, &result));
        assert_true(c.asked);
        assert_null(result);
        result = generate(flux, &plain); /* the cancel is used up */
        assert_true(same(&wanted->images, &result->images));
        para_result_close(&result);
    }
    para_cancel(flux); /* before the request */
    para_result *result;
    assert_fails(PARA_ERR_CANCELLED, "cancelled", para_generate(flux, &plain, &result));
    result = generate(flux, &plain);
    para_result_close(&result);
    para_cancel(flux);
    assert_fails(PARA_ERR_CANCELLED, "cancelled", para_pipeline_load(flux)); /* also where all is loaded */
    assert_ok(para_pipeline_load(flux));
    para_result_close(&wanted);
    para_cancel(NULL);
}

/* ---- requests one after another */

static void a_b_a(void **state) {
    (void)state;
    para_request a = request("a red heart", 7), b = request("two golden stars on a green background, small", 8);
    b.height = 64;
    b.num_images = 2;
    b.guidance_scale = 1;
    b.negative_prompt = "blur";
    b.true_cfg_scale = 2;
    b.num_inference_steps = 3;
    b.max_sequence_length = 24;
    para_result *first = generate(flux, &a), *between = generate(flux, &b), *again = generate(flux, &a);
    assert_true(same(&first->images, &again->images));
    assert_true(same(&first->latents, &again->latents));
    assert_false(same(&first->images, &between->images));
    assert_true(first->arena_bytes == again->arena_bytes && first->weight_bytes == again->weight_bytes);
    para_result_close(&first);
    para_result_close(&between);
    para_result_close(&again);
}

static void two_pipelines_take_turns(void **state) {
    (void)state;
    para_request r = request("a red heart", 7);
    para_result *alone = generate(flux, &r);
    assert_ok(para_pipeline_open(&other, world, SCHNELL, NULL));
    para_result *schnell = generate(other, &r), *between = generate(flux, &r), *schnell_again = generate(other, &r);
    assert_true(same(&alone->images, &between->images));
    assert_true(same(&schnell->images, &schnell_again->images));
    para_pipeline_close(&other);
    para_result *after = generate(flux, &r);
    assert_true(same(&alone->images, &after->images));
    para_result *all[] = {alone, schnell, between, schnell_again, after};
    for (int i = 0; i < 5; i++) para_result_close(&all[i]);
}

/* A picture of a batch is the picture of that noise alone. */
static void pictures_of_a_batch(void **state) {
    (void)state;
    para_request r = request("a red heart", 11);
    r.num_images = 3;
    enum { TOKENS = 2 * 3, CHANNELS = 16, ONE = TOKENS * CHANNELS };
    float noise[3 * ONE];
    for (int i = 0; i < 3 * ONE; i++) noise[i] = 0.01f * (float)(i * 37 % 211 - 105);
    para_tensor given = para_tensor_make(noise, PARA_F32, 3, (int64_t[]){3, TOKENS, CHANNELS});
    r.latents = &given;
    para_result *batch = generate(flux, &r);
    assert_true(batch->images.rank == 4 && batch->images.dim[0] == 3 && batch->images.dim[1] == 3 &&
                batch->images.dim[2] == 32 && batch->images.dim[3] == 48);
    r.num_images = 1;
    for (int i = 0; i < 3; i++) {
        para_tensor one = para_tensor_make(noise + i * ONE, PARA_F32, 3, (int64_t[]){1, TOKENS, CHANNELS});
        r.latents = &one;
        para_result *alone = generate(flux, &r);
        assert_memory_equal((float *)batch->images.data + i * 3 * 32 * 48, alone->images.data,
                            3 * 32 * 48 * sizeof(float));
        para_result_close(&alone);
    }
    para_result_close(&batch);
}

/* Noise as the seed draws it, [n, channels, height, width], packed by hand as FluxPipeline._pack_latents. */
static void latents_given_equal_the_seeds(void **state) {
    (void)state;
    enum { N = 2, C = 4, H = 4, W = 6 };
    para_request r = request("a red heart", 99);
    r.num_images = N;
    para_result *seeded = generate(flux, &r);
    static para_rng rng;
    static float noise[N * C * H * W], packed[N * C * H * W];
    para_rng_seed(&rng, PARA_RNG_CPU, 99);
    para_rng_normal(&rng, noise, PARA_F32, N * C * H * W);
    float *to = packed;
    for (int n = 0; n < N; n++)
        for (int y = 0; y < H / 2; y++)
            for (int x = 0; x < W / 2; x++)
                for (int c = 0; c < C; c++)
                    for (int k = 0; k < 4; k++) *to++ = noise[((n * C + c) * H + 2 * y + k / 2) * W + 2 * x + k % 2];
    para_tensor given = para_tensor_make(packed, PARA_F32, 3, (int64_t[]){N, H / 2 * (W / 2), C * 4});
    r.latents = &given;
    r.seed = 0;
    para_result *from_latents = generate(flux, &r);
    assert_true(same(&seeded->images, &from_latents->images));
    /* The same in bfloat16, with values that it holds exactly. */
    static uint16_t half[N * C * H * W];
    for (int i = 0; i < N * C * H * W; i++) packed[i] = 0.25f * (float)(i % 17 - 8);
    para_floats_from_f32(half, PARA_BF16, packed, N * C * H * W);
    para_result *f32 = generate(flux, &r);
    given = para_tensor_make(half, PARA_BF16, 3, (int64_t[]){N, H / 2 * (W / 2), C * 4});
    para_result *bf16 = generate(flux, &r);
    assert_true(same(&f32->images, &bf16->images));
    para_result *all[] = {seeded, from_latents, f32, bf16};
    for (int i = 0; i < 4; i++) para_result_close(&all[i]);
}

/* ---- wrong calls */

static void wrong_structs(void **state) {
    (void)state;
    para_world *w = (para_world *)&w;
    para_world_options wo = PARA_WORLD_OPTIONS_INIT;
    wo.size--;
    assert_fails(PARA_ERR_ARGUMENT, "PARA_WORLD_OPTIONS_INIT", para_world_open(&w, &wo));
    assert_null(w);
    wo = (para_world_options)PARA_WORLD_OPTIONS_INIT;
    wo.threads = -2;
    assert_fails(PARA_ERR_ARGUMENT, "threads", para_world_open(&w, &wo));
    wo = (para_world_options)PARA_WORLD_OPTIONS_INIT;
    wo.device = (para_device_kind)77;
    assert_fails(PARA_ERR_DEVICE, "77", para_world_open(&w, &wo));
    para_pipeline *p = (para_pipeline *)&p;
    para_pipeline_options po = PARA_PIPELINE_OPTIONS_INIT;
    po.size = 0;
    assert_fails(PARA_ERR_ARGUMENT, "PARA_PIPELINE_OPTIONS_INIT", para_pipeline_open(&p, world, DEV, &po));
    assert_null(p);
    po = (para_pipeline_options)PARA_PIPELINE_OPTIONS_INIT;
    po.dtype = PARA_I32;
    assert_fails(PARA_ERR_ARGUMENT, "dtype", para_pipeline_open(&p, world, DEV, &po));
    para_request r = request("x", 0);
    r.size += 8;
    para_result *result;
    para_plan plan;
    assert_fails(PARA_ERR_ARGUMENT, "PARA_REQUEST_INIT", para_generate(flux, &r, &result));
    assert_fails(PARA_ERR_ARGUMENT, "PARA_REQUEST_INIT", para_pipeline_plan(flux, &r, &plan));
}

static void null_arguments(void **state) {
    (void)state;
    para_request r = request("x", 0);
    para_result *result;
    para_plan plan;
    para_tensor t;
    para_component_info info;
    assert_fails(PARA_ERR_ARGUMENT, "NULL", para_world_open(NULL, NULL));
    assert_fails(PARA_ERR_ARGUMENT, "NULL", para_pipeline_open(NULL, world, DEV, NULL));
    assert_fails(PARA_ERR_ARGUMENT, "NULL", para_pipeline_open(&other, NULL, DEV, NULL));
    assert_fails(PARA_ERR_ARGUMENT, "NULL", para_pipeline_open(&other, world, NULL, NULL));
    assert_fails(PARA_ERR_ARGUMENT, "NULL", para_pipeline_load(NULL));
    assert_fails(PARA_ERR_ARGUMENT, "NULL", para_generate(NULL, &r, &result));
    assert_fails(PARA_ERR_ARGUMENT, "NULL", para_generate(flux, NULL, &result));
    assert_fails(PARA_ERR_ARGUMENT, "NULL", para_generate(flux, &r, NULL));
    assert_fails(PARA_ERR_ARGUMENT, "NULL", para_pipeline_plan(NULL, &r, &plan));
    assert_fails(PARA_ERR_ARGUMENT, "NULL", para_pipeline_plan(flux, NULL, &plan));
    assert_fails(PARA_ERR_ARGUMENT, "NULL", para_pipeline_plan(flux, &r, NULL));
    assert_fails(PARA_ERR_ARGUMENT, "component", para_pipeline_component(flux, -1, &info));
    assert_fails(PARA_ERR_ARGUMENT, "component", para_pipeline_component(flux, 4, &info));
    assert_fails(PARA_ERR_ARGUMENT, "component", para_pipeline_component(flux, 0, NULL));
    assert_fails(PARA_ERR_ARGUMENT, "", para_pipeline_component(NULL, 0, &info));
    assert_int_equal(para_pipeline_components(NULL), 0);
    assert_fails(PARA_ERR_ARGUMENT, "no images", para_save_images(NULL, "x.png", NULL));
    assert_fails(PARA_ERR_ARGUMENT, "", para_save_tensor(NULL, "x", "x"));
    assert_fails(PARA_ERR_ARGUMENT, "NULL", para_load_tensor(NULL, "x", "x"));
    assert_fails(PARA_ERR_ARGUMENT, "NULL", para_load_tensor(&t, NULL, "x"));
    assert_fails(PARA_ERR_ARGUMENT, "", para_save_check(NULL));
    assert_fails(PARA_ERR_ARGUMENT, "", para_save_check_folder(NULL));
    assert_fails(PARA_ERR_ARGUMENT, "", para_save_bytes(NULL, "x", 1));
    assert_fails(PARA_ERR_ARGUMENT, "", para_save_bytes("x", NULL, 1));
    r.prompt = NULL;
    assert_fails(PARA_ERR_ARGUMENT, "prompt", para_generate(flux, &r, &result));
    assert_null(result);
}

static void closing_twice(void **state) {
    (void)state;
    para_request r = request("x", 0);
    para_result *result = generate(flux, &r);
    para_result_close(&result);
    assert_null(result);
    para_result_close(&result);
    para_result_close(NULL);
    para_pipeline *p = NULL;
    para_world *w = NULL;
    para_pipeline_close(&p);
    para_pipeline_close(NULL);
    para_world_close(&w);
    para_world_close(NULL);
    para_tensor none = {0};
    para_tensor_free(&none);
    para_tensor_free(NULL);
}

/* What the dry run foresees is what the run takes. */
static void plan_and_run_agree(void **state) {
    (void)state;
    para_request r = request("x", 0);
    r.num_images = 2;
    para_plan plan;
    assert_ok(para_pipeline_plan(flux, &r, &plan));
    para_result *result = generate(flux, &r);
    assert_int_equal(plan.arena_bytes, result->arena_bytes);
    assert_int_equal(plan.weight_bytes, result->weight_bytes);
    assert_int_equal(plan.image_tokens, 6);
    assert_int_equal(plan.text_tokens, 8);
    assert_int_equal(plan.items, 2);
    para_result_close(&result);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_request_at_a_time),
        cmocka_unit_test(cancel_from_another_thread),
        cmocka_unit_test(a_b_a),
        cmocka_unit_test(two_pipelines_take_turns),
        cmocka_unit_test(pictures_of_a_batch),
        cmocka_unit_test(latents_given_equal_the_seeds),
        cmocka_unit_test(wrong_structs),
        cmocka_unit_test(null_arguments),
        cmocka_unit_test(closing_twice),
        cmocka_unit_test(plan_and_run_agree),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
