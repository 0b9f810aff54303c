/* FLUX on 1 to 8 ranks and every mesh of them: each stage as diffusers has it, the pixels those of one rank.
 * SPDX-License-Identifier: Apache-2.0 */
#include <paraattn/paraattn.h>

#include "golden_meshes.h"

#define TINY  PARA_SOURCE_DIR "/models/tiny-flux"
#define DRAWN PARA_SOURCE_DIR "/tests/golden/tiny-flux"

static const double tiny_latents_bound = 1e-5; /* against diffusers, as on one rank; measured: 2.3e-6 */

/* ---- golden models: all stages */

static void golden_on_all_meshes(const char *name, int items) {
    golden_on_meshes(name, name, items, 2, false);
}

static void dev(void **state) {
    (void)state;
    golden_on_all_meshes("flux-dev", 1);
}
static void schnell(void **state) {
    (void)state;
    golden_on_all_meshes("flux-schnell", 2);
}
static void odd(void **state) {
    (void)state;
    golden_on_all_meshes("flux-odd", 1);
}
static void long_prompt(void **state) {
    (void)state;
    golden_on_all_meshes("flux-long", 1);
}
static void true_cfg(void **state) {
    (void)state;
    golden_on_all_meshes("flux-cfg", 2);
}

/* ---- pixels alone: sizes, batches, and the model that ships */

static para_result *generate_on(const char *model, const para_parallel_options *mesh, const para_request *r) {
    para_world_options w = PARA_WORLD_OPTIONS_INIT;
    para_world *world;
    para_pipeline *pipe;
    para_result *result = NULL;
    w.ranks = w.threads = mesh ? ranks_of(mesh) : 1;
    test_choose_device(&w);
    if (para_world_open(&world, &w) || para_pipeline_open(&pipe, world, model, NULL) ||
        (mesh && para_parallelize(pipe, mesh)) || para_generate(pipe, r, &result))
        fail_msg("%s", para_last_error());
    if (mesh)
        assert_true(result->ranks == ranks_of(mesh) && result->batch == mesh->batch && result->ring == mesh->ring &&
                    result->ulysses == mesh->ulysses);
    para_pipeline_close(&pipe);
    para_world_close(&world);
    return result;
}

static void pixels_on_meshes(const char *what, const char *model, const para_request *r, int each_th) {
    para_parallel_options mesh[MOST_MESHES];
    double worst = 0;
    int items = r->num_images * (para_true_cfg.has_negative(r) ? 2 : 1), n = list_meshes(mesh, items, sample_each(each_th));
    para_result *alone = generate_on(model, NULL, r);
    for (int i = 0; i < n; i++) {
        para_result *result = generate_on(model, &mesh[i], r);
        double d = largest_difference(&result->images, &alone->images);
        if (!(d <= pixel_bound))
            fail_msg("%s on %d x %d x %d: pixels differ by %.1e", what, mesh[i].batch, mesh[i].ring, mesh[i].ulysses, d);
        worst = fmax(worst, d);
        para_result_close(&result);
    }
    para_result_close(&alone);
    print_message("%s on %d meshes: pixels within %.1e of one rank\n", what, n, worst);
}

static para_request request(int height, int width, int text_tokens) {
    para_request r = PARA_REQUEST_INIT;
    r.prompt = "a red heart on a blue background";
    r.seed = 5;
    r.height = height;
    r.width = width;
    r.num_inference_steps = 2;
    r.max_sequence_length = text_tokens;
    return r;
}

#define DEV PARA_SOURCE_DIR "/tests/golden/flux-dev"

/* Six image tokens and one of text: most ranks hold one or the other or nothing. */
static void hardly_any_tokens(void **state) {
    (void)state;
    para_request r = request(32, 48, 1);
    pixels_on_meshes("6 + 1 tokens", DEV, &r, 2);
    r = request(16, 16, 1);
    pixels_on_meshes("1 + 1 tokens", DEV, &r, 2);
}

/* 35 and 9 tokens; three pictures, with and without guidance: batch groups that have less to do than others in the last wave. */
static void batch_of_three(void **state) {
    (void)state;
    para_request r = request(80, 112, 9);
    r.num_images = 3;
    pixels_on_meshes("3 pictures of 35 + 9 tokens", DEV, &r, 2);
    r.negative_prompt = "blurred";
    r.true_cfg_scale = 2;
    pixels_on_meshes("3 pictures with CFG", DEV, &r, 3);
}

static void tiny_flux(void **state) {
    (void)state;
    para_request r = request(208, 176, 64); /* 143 tokens */
    r.negative_prompt = "a pink background";
    r.true_cfg_scale = 1.5f;
    pixels_on_meshes("tiny-flux with CFG", TINY, &r, 4);
}

/* The pictures of test_tiny_flux: latents after all steps against diffusers'. */
static void tiny_flux_is_that_of_diffusers(void **state) {
    (void)state;
    para_config all = {0};
    para_safetensors *finals;
    assert_int_equal(para_config_read(&all, DRAWN "/case.json"), PARA_OK);
    assert_int_equal(para_safetensors_open(&finals, DRAWN "/latents.safetensors"), PARA_OK);
    golden_run g = {.settings = {.root = json_object_get(all.root, "crabs"), .path = all.path}};
    para_request r = golden_request(&g);
    para_tensor want = para_safetensors_tensor(finals, para_safetensors_find(finals, "crabs"));
    para_parallel_options mesh[MOST_MESHES];
    int n = list_meshes(mesh, 2, 1);
    double worst = 0;
    for (int i = 0; i < n; i++) {
        bool sampled = mesh[i].ring == 2 && mesh[i].ulysses == 2; /* with and without a batch axis */
        if (!sampled && !getenv("PARA_FULL")) continue;
        para_result *result = generate_on(TINY, &mesh[i], &r);
        double error = golden_relative_l2(result->latents.data, want.data, para_tensor_count(&want));
        worst = fmax(worst, error);
        assert_true(error <= tiny_latents_bound);
        para_result_close(&result);
    }
    print_message("tiny-flux' crabs: latents' relative L2 to diffusers' at most %.2e (bound %.0e)\n", worst,
                  tiny_latents_bound);
    para_safetensors_close(&finals);
    para_config_close(&all);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(dev),
        cmocka_unit_test(schnell),
        cmocka_unit_test(odd),
        cmocka_unit_test(long_prompt),
        cmocka_unit_test(true_cfg),
        cmocka_unit_test(hardly_any_tokens),
        cmocka_unit_test(batch_of_three),
        cmocka_unit_test(tiny_flux),
        cmocka_unit_test(tiny_flux_is_that_of_diffusers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
