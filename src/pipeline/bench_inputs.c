/* Random inputs of a transformer. SPDX-License-Identifier: Apache-2.0 */
#include <paraattn/bench.h>
#include <paraattn/output.h>

#include "core/alloc.h"
#include "core/error.h"
#include "core/rng.h"
#include "pipeline/latents.h"
#include "pipeline/plan.h"

const char *para_world_device_name(const para_world *world) {
    const para_device *dev = world && world->worker ? world->worker[0].rank.device : NULL;
    return dev && dev->name[0] ? dev->name : "CPU";
}

static para_status draw(para_rng *rng, para_tensor *out, int rank, const int64_t *dim) {
    *out = para_tensor_make(NULL, PARA_BF16, rank, dim);
    int64_t n = para_tensor_count(out);
    if (n == 0) return PARA_OK;
    if (!(out->data = para_alloc((size_t)n, para_dtype_size(out->dtype)))) return PARA_ERR_MEMORY;
    para_rng_normal(rng, out->data, out->dtype, n);
    return PARA_OK;
}

/* Sizes of embeddings, which the transformer's config has. */
static para_status draw_all(const para_pipeline *pipe, const para_plan_subject *s, int text_tokens, para_rng *rng,
                            para_bench_inputs *out) {
    const para_component *c = &pipe->component[pipe->family->transformer];
    const para_geometry *g = &s->geometry;
    void *model = NULL;
    PARA_TRY(c->kind->open(&model, &c->config));
    const para_transformer *t = model;
    int64_t latents[5];
    int rank = para_latents_shape(pipe->family, g, s->request.num_images, latents);
    int64_t embeds[] = {text_tokens, t->joint_attention_dim}, pooled[] = {1, t->pooled_projection_dim};
    c->kind->close(&model);
    PARA_TRY(draw(rng, &out->latents, rank, latents));
    PARA_TRY(draw(rng, &out->prompt_embeds, 2, embeds));
    PARA_TRY(draw(rng, &out->pooled_prompt_embeds, 2, pooled));
    if (para_request_halves(pipe, &s->request) == 1) return PARA_OK;
    return draw(rng, &out->negative_prompt_embeds, 2, embeds);
}

para_status para_bench_inputs_random(para_pipeline *pipe, const para_request *request, int text_tokens, uint64_t seed,
                                     para_bench_inputs *out) {
    if (!pipe || !request || !out)
        return para_fail(PARA_ERR_ARGUMENT, "para_bench_inputs_random: pipeline, request and out must not be NULL");
    *out = (para_bench_inputs){0};
    if (text_tokens < 1 || text_tokens > 1 << 20)
        return para_fail(PARA_ERR_ARGUMENT, "text_tokens (--text-tokens) is %d; give 1 or more", text_tokens);
    para_plan_subject s;
    para_request sized = *request;
    if (!sized.prompt) sized.prompt = "";
    PARA_TRY(para_plan_subject_open(pipe, &sized, &s));
    para_rng *rng = para_alloc(1, sizeof *rng);
    if (!rng) return PARA_ERR_MEMORY;
    para_rng_seed(rng, PARA_RNG_CPU, seed);
    para_status status = draw_all(pipe, &s, text_tokens, rng, out);
    para_free(rng);
    if (status != PARA_OK) para_bench_inputs_free(out);
    return status;
}

void para_bench_inputs_free(para_bench_inputs *inputs) {
    if (!inputs) return;
    para_tensor_free(&inputs->latents);
    para_tensor_free(&inputs->prompt_embeds);
    para_tensor_free(&inputs->pooled_prompt_embeds);
    para_tensor_free(&inputs->negative_prompt_embeds);
}
