/* Checks of a request. SPDX-License-Identifier: Apache-2.0 */
#include <math.h>

#include "core/error.h"
#include "pipeline/pipeline_state.h"

enum { MAX_STEPS = 10000, MAX_EDGE = 65536, MAX_IMAGES = 4096, MAX_TEXT = 512 };

int para_request_halves(const para_request *r) {
    return r->negative_prompt && r->true_cfg_scale > 1 ? PARA_HALVES : 1;
}

int64_t para_request_items(const para_request *r) {
    return (int64_t)r->num_images * para_request_halves(r);
}

bool para_request_needs(const para_pipeline *pipe, const para_request *r, int i) {
    switch (pipe->family->components[i].stage) {
    case PARA_STAGE_TEXT: return !r->prompt_embeds;
    case PARA_STAGE_DECODE: return !r->latents_only;
    default: return true;
    }
}

static para_status check_numbers(const para_request *r) {
    if (r->num_inference_steps < 1 || r->num_inference_steps > MAX_STEPS)
        return para_fail(PARA_ERR_ARGUMENT, "num_inference_steps (--steps) is %d; give 1 to %d", r->num_inference_steps,
                         (int)MAX_STEPS);
    if (r->height < 0 || r->width < 0 || r->height > MAX_EDGE || r->width > MAX_EDGE)
        return para_fail(PARA_ERR_ARGUMENT,
                         "the size %d x %d is not possible; give --width and --height of 1 to %d pixels", r->width,
                         r->height, (int)MAX_EDGE);
    if (r->num_images < 1 || r->num_images > MAX_IMAGES)
        return para_fail(PARA_ERR_ARGUMENT, "num_images (--num-images) is %d; give 1 to %d", r->num_images,
                         (int)MAX_IMAGES);
    if (r->max_sequence_length < 1 || r->max_sequence_length > MAX_TEXT)
        return para_fail(PARA_ERR_ARGUMENT, "max_sequence_length (--max-sequence-length) is %d; give 1 to %d",
                         r->max_sequence_length, (int)MAX_TEXT);
    if (!isfinite(r->guidance_scale))
        return para_fail(PARA_ERR_ARGUMENT, "guidance_scale (--guidance) is not a finite number");
    if (!isfinite(r->true_cfg_scale))
        return para_fail(PARA_ERR_ARGUMENT, "true_cfg_scale (--true-cfg) is not a finite number");
    if (r->rng != PARA_SEED_CPU && r->rng != PARA_SEED_CUDA)
        return para_fail(PARA_ERR_ARGUMENT, "rng (--rng) is %d; give PARA_SEED_CPU or PARA_SEED_CUDA", (int)r->rng);
    for (int i = 0; r->sigmas && i < r->num_inference_steps; i++) {
        double sigma = r->sigmas[i], before = i ? r->sigmas[i - 1] : 1.0;
        if (!(sigma > 0 && sigma <= before))
            return para_fail(PARA_ERR_ARGUMENT,
                             "sigmas[%d] (--sigmas) is %g; they must fall from at most 1 and stay above 0", i, sigma);
    }
    return PARA_OK;
}

para_status para_request_check(const para_pipeline *pipe, const para_request *r) {
    if (!pipe) return para_fail(PARA_ERR_ARGUMENT, "the pipeline is NULL");
    if (!r) return para_fail(PARA_ERR_ARGUMENT, "the request is NULL");
    PARA_TRY(para_check_size(r->size, sizeof *r, "request", "PARA_REQUEST_INIT"));
    if (!r->prompt && !r->prompt_embeds) return para_fail(PARA_ERR_ARGUMENT, "the request has no prompt (--prompt)");
    if (r->prompt_embeds && para_request_halves(r) > 1)
        return para_fail(PARA_ERR_ARGUMENT, "prompt_embeds come without a negative half; leave out negative_prompt, or "
                                            "give the prompts as text");
    PARA_TRY(check_numbers(r));
    return para_cache_check_steps(&pipe->cache, r->num_inference_steps);
}

void para_request_warn(const para_pipeline *pipe, const para_request *r) {
    if (r->true_cfg_scale > 1 && !r->negative_prompt)
        para_pipeline_log(pipe, PARA_LOG_WARNING,
                          "true_cfg_scale %g has no effect without a negative prompt (--negative-prompt)",
                          (double)r->true_cfg_scale);
    if (r->negative_prompt && r->true_cfg_scale <= 1)
        para_pipeline_log(pipe, PARA_LOG_WARNING,
                          "the negative prompt has no effect with true_cfg_scale %g; give --true-cfg above 1",
                          (double)r->true_cfg_scale);
    const para_cache_options *c = &pipe->cache;
    if (para_request_halves(r) == 1 && (c->joint || c->num_skip_layers > 0 || c->negative_residual_diff_threshold > 0))
        para_pipeline_log(pipe, PARA_LOG_WARNING,
                          "what the cache does with the negative half of CFG (--cache-joint, --cache-negative, "
                          "--cache-skip-layers) has no effect without a negative prompt and --true-cfg above 1");
}
