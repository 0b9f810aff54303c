/* What parts of a model give: one prediction of the transformer; text encoders and VAE without it. SPDX-License-Identifier: Apache-2.0 */
#include <paraattn/bench.h>
#include <paraattn/output.h>

#include <string.h>

#include "core/alloc.h"
#include "core/error.h"
#include "pipeline/pipeline_state.h"

/* Stages to keep, and where. */
typedef struct wanted {
    para_device *dev;
    int count;
    struct {
        const char *name;
        para_tensor *out;
    } stage[4];
} wanted;

static para_status keep(para_device *dev, para_tensor *out, const para_tensor *t) {
    size_t bytes = (size_t)para_tensor_count(t) * para_dtype_size(t->dtype);
    *out = para_tensor_make(para_alloc(bytes, 1), t->dtype, t->rank, t->dim);
    return out->data ? dev->ops->download(dev, out->data, t) : PARA_ERR_MEMORY;
}

static para_status keep_wanted(void *user, const char *name, const para_tensor *t) {
    const wanted *w = user;
    for (int i = 0; i < w->count; i++)
        if (strcmp(name, w->stage[i].name) == 0) return keep(w->dev, w->stage[i].out, t);
    return PARA_OK;
}

/* para_generate with a trace that keeps the wanted; after a failure there are none. */
static para_status generate_keeping(para_pipeline *pipe, const para_request *request, wanted *w, para_result **result) {
    const para_trace trace = {keep_wanted, w}, *before = pipe->trace;
    w->dev = pipe->world->worker[0].rank.device;
    pipe->trace = &trace;
    para_status status = para_generate(pipe, request, result);
    pipe->trace = before;
    for (int i = 0; i < w->count && status != PARA_OK; i++) para_tensor_free(w->stage[i].out);
    return status;
}

para_status para_bench_prediction(para_pipeline *pipe, const para_request *request, para_tensor *out) {
    if (!pipe || !request || !out)
        return para_fail(PARA_ERR_ARGUMENT, "para_bench_prediction: pipeline, request and out must not be NULL");
    *out = (para_tensor){0};
    wanted w = {.count = 1, .stage = {{"head", out}}};
    para_request one = *request;
    para_result *result = NULL;
    one.num_inference_steps = 1;
    one.latents_only = true;
    para_status status = generate_keeping(pipe, &one, &w, &result);
    para_result_close(&result);
    return status;
}

para_status para_bench_text_and_vae(para_pipeline *pipe, const para_request *request, para_bench_outputs *out) {
    if (!pipe || !request || !out)
        return para_fail(PARA_ERR_ARGUMENT, "para_bench_text_and_vae: pipeline, request and out must not be NULL");
    *out = (para_bench_outputs){0};
    if (!request->latents || request->prompt_embeds || request->latents_only || request->on_frame)
        return para_fail(PARA_ERR_ARGUMENT, "para_bench_text_and_vae: the request needs a prompt as text, and latents, and keeps its images");
    wanted w = {.count = 3,
                .stage = {{"text.t5", &out->prompt_embeds}, {"text.llama", &out->prompt_embeds}, {"text.clip", &out->pooled_prompt_embeds}}};
    para_result *result = NULL;
    pipe->no_steps = true;
    para_status status = generate_keeping(pipe, request, &w, &result);
    pipe->no_steps = false;
    if (status == PARA_OK && result) {
        out->images = result->images; /* is the caller's now */
        result->images.data = NULL;
    }
    para_result_close(&result);
    return status;
}

void para_bench_outputs_free(para_bench_outputs *outputs) {
    para_tensor_free(&outputs->prompt_embeds);
    para_tensor_free(&outputs->pooled_prompt_embeds);
    para_tensor_free(&outputs->images);
}
