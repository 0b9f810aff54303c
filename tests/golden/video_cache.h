/* First Block Cache of a small video pipeline against ParaAttention's: how much each step differs, what is decided by the halves together and by each
 * alone, and the latents. tools/reference/video_cache.py ran it. SPDX-License-Identifier: Apache-2.0 */
#ifndef PARA_TESTS_VIDEO_CACHE_H
#define PARA_TESTS_VIDEO_CACHE_H

#include "golden.h"
#include "paraattn/paraattn.h"

/* Relative, of each step's d, and of the latents' L2. */
static const double difference_bound = 1e-5, latents_bound = 1e-5;

static inline double number(const json_t *o, const char *key, double otherwise) {
    const json_t *v = json_object_get(o, key);
    return json_is_number(v) ? json_number_value(v) : otherwise;
}

static inline para_request request_of(const json_t *o) {
    para_request r = PARA_REQUEST_INIT;
    r.prompt = json_string_value(json_object_get(o, "prompt"));
    r.negative_prompt = json_string_value(json_object_get(o, "negative_prompt"));
    r.height = (int)number(o, "height", 0);
    r.width = (int)number(o, "width", 0);
    r.num_frames = (int)number(o, "num_frames", 0);
    r.num_inference_steps = (int)number(o, "num_inference_steps", 0);
    r.guidance_scale = (float)number(o, "guidance_scale", 0);
    r.max_sequence_length = (int)number(o, "max_sequence_length", 0);
    r.seed = (uint64_t)number(o, "seed", 0);
    r.latents_only = true;
    return r;
}

static inline para_cache_options options_of(const json_t *o, bool together) {
    para_cache_options c = PARA_CACHE_OPTIONS_INIT;
    c.residual_diff_threshold = (float)number(o, "residual_diff_threshold", 0);
    c.negative_residual_diff_threshold = (float)number(o, "alter_residual_diff_threshold", -1);
    c.warmup_steps = (int)number(o, "warmup_steps", 0);
    c.taylorseer_derivatives = (int)number(json_object_get(o, "taylorseer_kwargs"), "n_derivatives", 0);
    c.joint = together;
    return c;
}

/* ParaAttention has one call a step for both halves, or one for each; we have one item for each. The largest relative error of a d, INFINITY where
 * something was decided otherwise. */
static inline double compare_steps(const json_t *run, const para_result *got, bool together) {
    const json_t *d = json_object_get(run, "d"), *hit = json_object_get(run, "hit");
    double worst = 0;
    size_t items = together ? 2 : 1;
    if ((size_t)got->num_cache_steps != items * json_array_size(d)) return INFINITY;
    for (int i = 0; i < got->num_cache_steps; i++) {
        const para_cache_step *s = &got->cache_steps[i];
        const json_t *want = json_array_get(d, (size_t)i / items);
        if (s->hit != (json_integer_value(json_array_get(hit, (size_t)i / items)) != 0)) return INFINITY;
        if (isnan(s->difference) != json_is_null(want)) return INFINITY;
        if (!json_is_null(want)) worst = fmax(worst, fabs((double)s->difference / json_number_value(want) - 1));
    }
    return worst;
}

static inline double compare_latents(const para_safetensors *reference, const char *name, const para_result *got) {
    int64_t i = para_safetensors_find(reference, name);
    assert_true(i >= 0);
    para_tensor want = para_safetensors_tensor(reference, i);
    assert_int_equal(para_tensor_count(&want), para_tensor_count(&got->latents));
    return golden_relative_l2(got->latents.data, want.data, para_tensor_count(&want));
}

/* All runs of the case, with the model of another, on `ranks` of a mesh or on one. */
static inline void run_all(const char *of, const char *with, int ranks, para_parallel_options mesh, bool print) {
    char file[512], reference_file[512], model[512];
    snprintf(file, sizeof file, "%s/tests/golden/%s/case.json", PARA_SOURCE_DIR, of);
    snprintf(reference_file, sizeof reference_file, "%s/tests/golden/%s/latents.safetensors", PARA_SOURCE_DIR, of);
    snprintf(model, sizeof model, "%s/tests/golden/%s", PARA_SOURCE_DIR, with);
    json_t *root = json_load_file(file, 0, NULL), *run;
    para_world_options w = PARA_WORLD_OPTIONS_INIT;
    para_safetensors *reference;
    para_world *world;
    para_pipeline *pipe;
    size_t i;
    w.ranks = ranks;
    w.threads = ranks > 1 ? ranks : 2;
    test_choose_device(&w);
    assert_int_equal(para_safetensors_open(&reference, reference_file), PARA_OK);
    assert_int_equal(para_world_open(&world, &w), PARA_OK);
    assert_int_equal(para_pipeline_open(&pipe, world, model, NULL), PARA_OK);
    if (ranks > 1) assert_int_equal(para_parallelize(pipe, &mesh), PARA_OK);
    json_array_foreach(json_object_get(root, "runs"), i, run) {
        const char *name = json_string_value(json_object_get(run, "name"));
        bool together = json_is_true(json_object_get(run, "together"));
        para_request request = request_of(json_object_get(run, "request"));
        para_cache_options cache = options_of(json_object_get(run, "options"), together);
        para_result *got;
        if (request.guidance_scale <= 1 && mesh.batch > 1) continue; /* one half has no second group */
        assert_int_equal(para_apply_first_block_cache(pipe, &cache), PARA_OK);
        assert_int_equal(para_generate(pipe, &request, &got), PARA_OK);
        double d = compare_steps(run, got, together && request.guidance_scale > 1), latents = compare_latents(reference, name, got);
        if (print)
            print_message("  %-20s %2d of %2d hits, d differs by %.1e, the latents by %.1e\n", name, got->cache_hits,
                          got->num_cache_steps, d, latents);
        if (!(d <= difference_bound && latents <= latents_bound))
            fail_msg("%s on %d ranks: d differs by %.1e, the latents by %.1e", name, ranks, d, latents);
        para_result_close(&got);
    }
    assert_true(i >= 6);
    para_pipeline_close(&pipe);
    para_world_close(&world);
    para_safetensors_close(&reference);
    json_decref(root);
}

/* Halves in groups of their own, tokens shared out, and both. */
static inline void run_all_on_meshes(const char *of, const char *with) {
    static const int meshes[][3] = {{2, 1, 1}, {1, 2, 2}, {2, 1, 3}}; /* batch, ring, ulysses */
    for (size_t i = 0; i < sizeof meshes / sizeof *meshes; i++) {
        para_parallel_options mesh = PARA_PARALLEL_OPTIONS_INIT;
        mesh.batch = meshes[i][0];
        mesh.ring = meshes[i][1];
        mesh.ulysses = meshes[i][2];
        run_all(of, with, mesh.batch * mesh.ring * mesh.ulysses, mesh, false);
    }
}

#endif
