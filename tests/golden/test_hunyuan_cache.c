/* First Block Cache with HunyuanVideo against ParaAttention's: how much each step differs, what is decided, and the latents. tools/reference/hunyuan_video_cache.py
 * ran it. SPDX-License-Identifier: Apache-2.0 */
#include "cache_case.h"

#include "io/safetensors.h"

#define FOLDER PARA_SOURCE_DIR "/tests/golden/cache-hunyuan"

/* Relative, of each step's d; and L2 of the latents. Measured: 1.4e-6 and 1.3e-6. */
static const double difference_bound = 1e-5, latents_bound = 1e-5;

static double relative_l2(const para_tensor *got, para_tensor want) {
    const float *a = got->data, *b = want.data;
    double difference = 0, norm = 0;
    assert_int_equal(para_tensor_count(got), para_tensor_count(&want));
    for (int64_t i = 0; i < para_tensor_count(got); i++) {
        difference += pow((double)a[i] - (double)b[i], 2);
        norm += pow((double)b[i], 2);
    }
    return sqrt(difference / norm);
}

/* The runs, on so many ranks. */
static void check(int ranks) {
    json_t *root = json_load_file(FOLDER "/case.json", 0, NULL), *runs = json_object_get(root, "runs"), *run;
    para_safetensors *latents;
    para_world_options w = PARA_WORLD_OPTIONS_INIT;
    para_world *world;
    para_pipeline *pipe;
    int failures = 0, hits = 0;
    size_t i;
    w.ranks = w.threads = ranks;
    test_choose_device(&w);
    OK(para_safetensors_open(&latents, FOLDER "/latents.safetensors"));
    OK(para_world_open(&world, &w));
    OK(para_pipeline_open(&pipe, world, PARA_SOURCE_DIR "/tests/golden/hunyuan-video", NULL));
    if (ranks > 1) OK(para_parallelize(pipe, NULL));
    json_array_foreach(runs, i, run) {
        const char *name = json_string_value(json_object_get(run, "name"));
        para_request request = request_of(json_object_get(run, "request"));
        int layers[MOST_LAYERS];
        para_cache_options cache = options_of(json_object_get(run, "options"), layers);
        para_result *got;
        double worst;
        request.latents_only = true;
        OK(para_apply_first_block_cache(pipe, &cache));
        OK(para_generate(pipe, &request, &got));
        bool same = same_steps(run, got, &worst);
        double error =
            relative_l2(&got->latents, para_safetensors_tensor(latents, para_safetensors_find(latents, name)));
        print_message("  %-14s %2d of %2d hits%s, d differs by %.1e, the latents by %.1e\n", name, got->cache_hits,
                      got->num_cache_steps, same ? "" : " (not the same steps)", worst, error);
        failures += !same || !(worst <= difference_bound) || !(error <= latents_bound);
        hits += got->cache_hits;
        para_result_close(&got);
    }
    assert_int_equal(failures, 0);
    assert_true(hits > 0 && json_array_size(runs) == 7);
    para_pipeline_close(&pipe);
    para_world_close(&world);
    para_safetensors_close(&latents);
    json_decref(root);
}

static void steps_are_those_of_para_attention(void **state) {
    (void)state;
    check(1);
}
static void on_four_ranks(void **state) {
    (void)state;
    check(4);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(steps_are_those_of_para_attention),
                                       cmocka_unit_test(on_four_ranks)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
