/* What the tests of each video family's requests share: a world whose log is kept, a pipeline, and requests on random weights. SPDX-License-Identifier:
 * Apache-2.0 */
#ifndef PARA_TESTS_VIDEO_REQUESTS_H
#define PARA_TESTS_VIDEO_REQUESTS_H

#include <paraattn/paraattn.h>

#include "pipeline/pipeline_state.h"
#include "unit/io_checks.h"

#include "model_copy.h"

static para_world *world;
static char said[4096]; /* what was logged since the last generate() */

static inline void keep_log(void *user, para_log_level level, const char *message) {
    (void)user;
    (void)level;
    snprintf(said + strlen(said), sizeof said - strlen(said), "%s\n", message);
}

/* A test group's setup: the world, with a temporary folder, and the model in it. */
static inline int open_requests(void **state, para_pipeline **pipe, const char *model) {
    para_world_options w = PARA_WORLD_OPTIONS_INIT;
    w.threads = 2;
    w.log = keep_log;
    assert_ok(para_world_open(&world, &w));
    assert_ok(para_pipeline_open(pipe, world, model, NULL));
    return temp_folder_setup(state);
}

static inline int close_requests(void **state, para_pipeline **pipe) {
    para_pipeline_close(pipe);
    para_world_close(&world);
    return temp_folder_teardown(state);
}

static inline para_result *generate(para_pipeline *pipe, const para_request *r) {
    para_result *result = NULL;
    said[0] = '\0';
    assert_ok(para_generate(pipe, r, &result));
    return result;
}

static inline bool same_latents(const para_result *a, const para_result *b) {
    int64_t n = para_tensor_count(&a->latents);
    assert_int_equal(n, para_tensor_count(&b->latents));
    return memcmp(a->latents.data, b->latents.data, (size_t)n * sizeof(float)) == 0;
}

/* The request, then one on random latents and embeddings of so many tokens, all in bfloat16 on random weights. check: what those are like. */
static inline void generate_on_random_weights(const char *model, para_request r, int tokens,
                                              void (*check)(const para_result *first, const para_bench_inputs *in)) {
    para_pipeline_options o = PARA_PIPELINE_OPTIONS_INIT;
    para_pipeline *pipe;
    para_bench_inputs in;
    para_result *result;
    o.random_weights = true;
    o.dtype = PARA_BF16;
    assert_ok(para_pipeline_open(&pipe, world, model, &o));
    assert_ok(para_generate(pipe, &r, &result));
    assert_ok(para_bench_inputs_random(pipe, &r, tokens, 1, &in));
    assert_true(in.latents.rank == 5 && in.prompt_embeds.dim[0] == tokens);
    check(result, &in);
    para_result_close(&result);
    r.latents = &in.latents;
    r.prompt_embeds = &in.prompt_embeds;
    if (in.pooled_prompt_embeds.data) r.pooled_prompt_embeds = &in.pooled_prompt_embeds;
    if (in.negative_prompt_embeds.data) r.negative_prompt_embeds = &in.negative_prompt_embeds;
    r.latents_only = true;
    assert_ok(para_generate(pipe, &r, &result));
    para_result_close(&result);
    para_bench_inputs_free(&in);
    para_pipeline_close(&pipe);
}

#endif
