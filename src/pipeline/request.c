/* Requests: what the model fills in, and checks. SPDX-License-Identifier: Apache-2.0 */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "core/error.h"
#include "pipeline/latents.h"

enum { MAX_STEPS = 10000, MAX_EDGE = 65536, MAX_IMAGES = 4096, MAX_FRAMES = 100000 };

int para_request_halves(const para_pipeline *pipe, const para_request *r) {
    return pipe->family->guidance->has_negative(r) ? PARA_HALVES : 1;
}

int64_t para_request_items(const para_pipeline *pipe, const para_request *r) {
    return (int64_t)r->num_images * para_request_halves(pipe, r);
}

bool para_request_needs(const para_pipeline *pipe, const para_request *r, int i) {
    switch (pipe->family->components[i].stage) {
    case PARA_STAGE_TEXT: return !r->prompt_embeds;
    case PARA_STAGE_DENOISE: return !pipe->no_steps;
    case PARA_STAGE_DECODE: return !r->latents_only;
    default: return true;
    }
}

/* Fields that are the model's own where they say so. */
static para_request fill_in(const para_pipeline *pipe, const para_request *request) {
    const para_request_defaults *own = &pipe->family->defaults;
    para_request r = *request;
    int height, width, num_frames;
    pipe->family->own_size(pipe, &height, &width, &num_frames);
    if (r.height == 0) r.height = height;
    if (r.width == 0) r.width = width;
    if (r.num_frames == 0) r.num_frames = num_frames;
    if (r.num_inference_steps == -1) r.num_inference_steps = own->num_inference_steps;
    if (r.guidance_scale < 0) r.guidance_scale = own->guidance_scale;
    if (r.max_sequence_length == -1) r.max_sequence_length = own->max_sequence_length;
    return r;
}

static para_status check_numbers(const para_pipeline *pipe, const para_request *r) {
    if (r->num_inference_steps < 1 || r->num_inference_steps > MAX_STEPS)
        return para_fail(PARA_ERR_ARGUMENT, "num_inference_steps (--steps) is %d; give 1 to %d", r->num_inference_steps,
                         (int)MAX_STEPS);
    if (r->height < 0 || r->width < 0 || r->height > MAX_EDGE || r->width > MAX_EDGE)
        return para_fail(PARA_ERR_ARGUMENT,
                         "the size %d x %d is not possible; give --width and --height of 1 to %d pixels", r->width,
                         r->height, (int)MAX_EDGE);
    if (r->num_frames < 0 || r->num_frames > MAX_FRAMES)
        return para_fail(PARA_ERR_ARGUMENT, "num_frames (--frames) is %d; give 1 to %d", r->num_frames,
                         (int)MAX_FRAMES);
    if (!pipe->family->makes_videos && r->num_frames != 1)
        return para_fail(PARA_ERR_ARGUMENT, "num_frames (--frames) is %d, but a %s makes pictures; leave it out",
                         r->num_frames, pipe->family->class_name);
    if (r->num_images < 1 || r->num_images > MAX_IMAGES)
        return para_fail(PARA_ERR_ARGUMENT, "num_images (--num-images) is %d; give 1 to %d", r->num_images,
                         (int)MAX_IMAGES);
    int most = pipe->family->defaults.most_sequence_length;
    if (r->max_sequence_length < 1 || r->max_sequence_length > most)
        return para_fail(PARA_ERR_ARGUMENT, "max_sequence_length (--max-sequence-length) is %d; give 1 to %d",
                         r->max_sequence_length, most);
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

/* Embeddings come for all halves or for none. */
static para_status check_halves(const para_pipeline *pipe, const para_request *r) {
    if (!r->prompt && !r->prompt_embeds) return para_fail(PARA_ERR_ARGUMENT, "the request has no prompt (--prompt)");
    if (!r->prompt_embeds && (r->negative_prompt_embeds || r->pooled_prompt_embeds || r->negative_pooled_prompt_embeds))
        return para_fail(PARA_ERR_ARGUMENT, "pooled_prompt_embeds, negative_prompt_embeds and "
                                            "negative_pooled_prompt_embeds go with prompt_embeds; give these, too");
    if (r->prompt_embeds && !r->negative_prompt_embeds && para_request_halves(pipe, r) > 1)
        return para_fail(PARA_ERR_ARGUMENT, "prompt_embeds come without a negative half; give negative_prompt_embeds, "
                                            "turn classifier-free guidance off, or give the prompts as text");
    return PARA_OK;
}

para_status para_request_take(const para_pipeline *pipe, const para_request *request, para_request *out) {
    if (!pipe) return para_fail(PARA_ERR_ARGUMENT, "the pipeline is NULL");
    if (!request) return para_fail(PARA_ERR_ARGUMENT, "the request is NULL");
    PARA_TRY(para_check_size(request->size, sizeof *request, "request", "PARA_REQUEST_INIT"));
    if (request->sigmas && request->num_inference_steps < 1)
        return para_fail(PARA_ERR_ARGUMENT,
                         "num_inference_steps (--steps) is %d; with sigmas it must say how many these are",
                         request->num_inference_steps);
    *out = fill_in(pipe, request);
    PARA_TRY(check_halves(pipe, out));
    PARA_TRY(check_numbers(pipe, out));
    return para_cache_check_steps(&pipe->cache, out->num_inference_steps);
}

para_status para_pipeline_fill_in(const para_pipeline *pipe, const para_request *request, para_request *out) {
    if (!pipe || !request || !out)
        return para_fail(PARA_ERR_ARGUMENT, "para_pipeline_fill_in: pipeline, request and out must not be NULL");
    PARA_TRY(para_check_size(request->size, sizeof *request, "request", "PARA_REQUEST_INIT"));
    *out = fill_in(pipe, request);
    return PARA_OK;
}

para_status para_pipeline_size(para_pipeline *pipe, const para_request *request, int *height, int *width,
                               int *num_frames) {
    para_request r;
    para_geometry g;
    if (!height || !width || !num_frames)
        return para_fail(PARA_ERR_ARGUMENT, "para_pipeline_size: height, width and num_frames must not be NULL");
    PARA_TRY(para_request_take(pipe, request, &r));
    bool muted = pipe->muted;
    pipe->muted = true;
    para_status status = para_request_geometry(pipe, &r, &g);
    pipe->muted = muted;
    PARA_TRY(status);
    *height = g.height;
    *width = g.width;
    *num_frames = g.num_frames;
    return PARA_OK;
}

para_status para_request_check_tensor(const para_tensor *t, int rank, const int64_t *dim, const char *what,
                                      const char *of) {
    bool same = t->rank == rank && t->data && para_tensor_contiguous(t);
    char sizes[96] = "";
    for (int i = 0; i < rank; i++) {
        same = same && t->dim[i] == dim[i];
        snprintf(sizes + strlen(sizes), sizeof sizes - strlen(sizes), i ? ", %lld" : "%lld", (long long)dim[i]);
    }
    if (!same) return para_fail(PARA_ERR_SHAPE, "%s must be contiguous [%s] %s", what, sizes, of);
    if (t->dtype != PARA_F32 && t->dtype != PARA_F16 && t->dtype != PARA_BF16)
        return para_fail(PARA_ERR_SHAPE, "%s are %s; give F32, F16 or BF16", what, para_dtype_name(t->dtype));
    return PARA_OK;
}

static para_status check_half_embeds(const para_pipeline *pipe, const para_tensor *embeds, const para_tensor *pooled,
                                     int64_t width, int64_t pooled_width, const char *name, const char *pooled_name) {
    static const char of[] = "as the transformer takes";
    int64_t least = pipe->family->no_text ? 0 : 1, tokens = embeds->rank > 0 ? embeds->dim[0] : least;
    if (tokens < least) tokens = least;
    PARA_TRY(para_request_check_tensor(embeds, 2, (int64_t[]){tokens, width}, name, of));
    if (!pooled_width) return PARA_OK;
    if (!pooled) return para_fail(PARA_ERR_ARGUMENT, "%s need %s beside them", name, pooled_name);
    return para_request_check_tensor(pooled, 2, (int64_t[]){1, pooled_width}, pooled_name, of);
}

para_status para_request_check_embeds(const para_pipeline *pipe, const para_request *r, int64_t width,
                                      int64_t pooled_width) {
    if (!r->prompt_embeds) return PARA_OK;
    PARA_TRY(check_half_embeds(pipe, r->prompt_embeds, r->pooled_prompt_embeds, width, pooled_width, "prompt_embeds",
                               "pooled_prompt_embeds"));
    if (para_request_halves(pipe, r) == 1) return PARA_OK;
    return check_half_embeds(pipe, r->negative_prompt_embeds, r->negative_pooled_prompt_embeds, width, pooled_width,
                             "negative_prompt_embeds", "negative_pooled_prompt_embeds");
}

int64_t para_request_text_tokens(const para_request *r) {
    if (!r->prompt_embeds) return r->max_sequence_length;
    int64_t first = r->prompt_embeds->dim[0],
            second = r->negative_prompt_embeds ? r->negative_prompt_embeds->dim[0] : 0;
    return first > second ? first : second;
}

static para_status check_latents(const para_pipeline *pipe, const para_request *r, const para_geometry *g) {
    if (!r->latents) return PARA_OK;
    int64_t dim[5];
    char pixels[96];
    int rank = para_latents_shape(pipe->family, g, r->num_images, dim);
    if (pipe->family->makes_videos)
        snprintf(pixels, sizeof pixels, "for %d frames of %d x %d pixels", g->num_frames, g->width, g->height);
    else snprintf(pixels, sizeof pixels, "for %d x %d pixels", g->width, g->height);
    return para_request_check_tensor(r->latents, rank, dim, "latents (--latents)", pixels);
}

para_status para_request_geometry(const para_pipeline *pipe, const para_request *request, para_geometry *out) {
    *out = (para_geometry){0};
    PARA_TRY(pipe->family->geometry(pipe, request, out));
    return check_latents(pipe, request, out);
}

/* Guidance with a negative prompt has no effect where its scale is at most 1, and the other way round. */
static void warn_of_guidance(const para_pipeline *pipe, const para_request *r) {
    if (r->use_dynamic_cfg && pipe->family->guidance != &para_dynamic_cfg)
        para_pipeline_log(pipe, PARA_LOG_WARNING, "use_dynamic_cfg (--dynamic-cfg) has no effect on a %s",
                          pipe->family->class_name);
    if (pipe->family->guidance != &para_true_cfg) {
        if (r->true_cfg_scale > 1)
            para_pipeline_log(pipe, PARA_LOG_WARNING,
                              "true_cfg_scale %g has no effect: a %s is guided by guidance_scale (--guidance)",
                              (double)r->true_cfg_scale, pipe->family->class_name);
        if (r->negative_prompt && r->guidance_scale <= 1)
            para_pipeline_log(pipe, PARA_LOG_WARNING,
                              "the negative prompt has no effect with guidance_scale %g; give --guidance above 1",
                              (double)r->guidance_scale);
        return;
    }
    if (r->true_cfg_scale > 1 && !r->negative_prompt && !r->negative_prompt_embeds)
        para_pipeline_log(pipe, PARA_LOG_WARNING,
                          "true_cfg_scale %g has no effect without a negative prompt (--negative-prompt)",
                          (double)r->true_cfg_scale);
    if (r->negative_prompt && r->true_cfg_scale <= 1)
        para_pipeline_log(pipe, PARA_LOG_WARNING,
                          "the negative prompt has no effect with true_cfg_scale %g; give --true-cfg above 1",
                          (double)r->true_cfg_scale);
}

void para_request_warn(const para_pipeline *pipe, const para_request *r) {
    warn_of_guidance(pipe, r);
    if (pipe->family->one_prompt && (r->prompt_2 || r->negative_prompt_2))
        para_pipeline_log(pipe, PARA_LOG_WARNING, "prompt_2 (--prompt-2) has no effect: a %s encodes one prompt",
                          pipe->family->class_name);
    const para_cache_options *c = &pipe->cache;
    if (para_request_halves(pipe, r) == 1 &&
        (c->joint || c->num_skip_layers > 0 || c->negative_residual_diff_threshold > 0))
        para_pipeline_log(pipe, PARA_LOG_WARNING,
                          "what the cache does with the negative half of CFG (--cache-joint, --cache-negative, "
                          "--cache-skip-layers) has no effect without a negative prompt and --true-cfg above 1");
}
