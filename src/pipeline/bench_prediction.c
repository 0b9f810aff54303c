/* One prediction of a transformer. SPDX-License-Identifier: Apache-2.0 */
#include <paraattn/bench.h>

#include <string.h>

#include "core/alloc.h"
#include "core/error.h"
#include "pipeline/pipeline_state.h"

typedef struct wanted {
    para_device *dev;
    para_tensor *out;
} wanted;

static para_status take_head(void *user, const char *name, const para_tensor *t) {
    const wanted *w = user;
    if (strcmp(name, "head") != 0) return PARA_OK;
    size_t bytes = (size_t)para_tensor_count(t) * para_dtype_size(t->dtype);
    *w->out = para_tensor_make(para_alloc(bytes, 1), t->dtype, t->rank, t->dim);
    return w->out->data ? w->dev->ops->download(w->dev, w->out->data, t) : PARA_ERR_MEMORY;
}

para_status para_bench_prediction(para_pipeline *pipe, const para_request *request, para_tensor *out) {
    if (!pipe || !request || !out)
        return para_fail(PARA_ERR_ARGUMENT, "para_bench_prediction: pipeline, request and out must not be NULL");
    *out = (para_tensor){0};
    wanted w = {pipe->world->worker[0].rank.device, out};
    const para_trace trace = {take_head, &w}, *before = pipe->trace;
    para_request one = *request;
    para_result *result = NULL;
    one.num_inference_steps = 1;
    one.latents_only = true;
    pipe->trace = &trace;
    para_status status = para_generate(pipe, &one, &result);
    pipe->trace = before;
    para_result_close(&result);
    if (status != PARA_OK) {
        para_free(out->data);
        *out = (para_tensor){0};
    }
    return status;
}
