/* Choosing the First Block Cache's threshold for a quality. SPDX-License-Identifier: Apache-2.0 */
#include <paraattn/quality.h>

#include <math.h>
#include <string.h>

#include "core/alloc.h"
#include "core/clock.h"
#include "core/error.h"
#include "pipeline/call.h"

/* How the pictures of a threshold came out: process 0 finds it, all get it. */
typedef struct verdict {
    double psnr; /* of the worst picture or frame */
    double speed_up;
    double hit_part; /* of all steps */
} verdict;

typedef struct calibration {
    para_pipeline *pipe;
    const para_cache_calibration_options *options;
    para_cache_options cache; /* that is tried */
    para_request request;     /* of the pictures to compare */
    para_tensor latents;      /* its, where it has some */
    para_result *uncached;    /* process 0's */
} calibration;

/* Draws the pictures with the cache, and without a word. */
static para_status draw(calibration *c, const para_cache_options *cache, para_result **out) {
    c->pipe->muted = true;
    para_status status = para_apply_first_block_cache(c->pipe, cache);
    if (status == PARA_OK) status = para_generate(c->pipe, &c->request, out);
    c->pipe->muted = false;
    return status;
}

static para_status worst_psnr(const para_result *cached, const para_result *uncached, double *out) {
    *out = INFINITY;
    int64_t size[] = {3, cached->height, cached->width}, pixels = size[0] * size[1] * size[2];
    for (int64_t at = 0; at < para_tensor_count(&cached->images); at += pixels) {
        para_quality q;
        para_tensor a = para_tensor_make((float *)cached->images.data + at, PARA_F32, 3, size);
        para_tensor b = para_tensor_make((float *)uncached->images.data + at, PARA_F32, 3, size);
        PARA_TRY(para_compare_pictures(&a, &b, &q));
        *out = fmin(*out, q.psnr);
    }
    return PARA_OK;
}

static para_status judge(const calibration *c, const para_result *cached, verdict *out) {
    if (!cached) return PARA_OK; /* process 0 does */
    out->hit_part = (double)cached->cache_hits / cached->num_cache_steps;
    out->speed_up = 1 / (1 - out->hit_part * (1 - cached->hit_step_flops / cached->step_flops));
    return worst_psnr(cached, c->uncached, &out->psnr);
}

/* Every process gets process 0's. */
static para_status share(para_pipeline *pipe, verdict *v) {
    if (para_world_processes(pipe->world) == 1) return PARA_OK;
    void *bytes = v;
    size_t size = sizeof *v;
    PARA_TRY(para_world_take(pipe->world, NULL));
    para_status status = para_world_broadcast(pipe->world, &bytes, &size);
    para_world_release(pipe->world);
    if (status != PARA_OK || bytes == v) return status;
    memcpy(v, bytes, sizeof *v);
    para_free(bytes);
    return PARA_OK;
}

static para_status try_threshold(calibration *c, float threshold, verdict *out) {
    para_result *cached = NULL;
    *out = (verdict){0};
    c->cache.residual_diff_threshold = threshold;
    PARA_TRY(draw(c, &c->cache, &cached));
    para_status status = para_call_agree(c->pipe, judge(c, cached, out));
    para_result_close(&cached);
    return status == PARA_OK ? share(c->pipe, out) : status;
}

/* Three digits, so that what is logged is what was tried. */
static float between(double low, double high) {
    double t = sqrt(low * high), digit = pow(10, floor(log10(t)) - 2);
    return (float)(round(t / digit) * digit);
}

static void say_trial(const calibration *c, float threshold, const verdict *v) {
    if (v->hit_part == 0) para_pipeline_log(c->pipe, PARA_LOG_INFO, "threshold %.3g: no step hits", (double)threshold);
    else
        para_pipeline_log(c->pipe, PARA_LOG_INFO,
                          "threshold %.3g: %.0f %% of the steps hit, %.2f times less to compute; the worst picture has "
                          "%.2f dB%s",
                          (double)threshold, 100 * v->hit_part, v->speed_up, v->psnr,
                          v->psnr < c->options->psnr ? ", which is too little" : "");
}

/* Halves the range of thresholds until the pictures are good enough by little. */
static para_status search(calibration *c, para_cache_calibration *out) {
    double low = 0.01, high = 1, spare = INFINITY;
    while (out->trials < c->options->trials && !(spare >= 0 && spare < 0.5)) {
        float threshold = between(low, high);
        verdict v;
        PARA_TRY(try_threshold(c, threshold, &v));
        spare = v.psnr - c->options->psnr; /* infinite without a hit */
        say_trial(c, threshold, &v);
        out->trials++;
        *(spare < 0 ? &high : &low) = (double)threshold;
        if (spare < 0 || v.hit_part == 0) continue;
        out->residual_diff_threshold = threshold;
        out->psnr = v.psnr;
        out->speed_up = v.speed_up;
    }
    return PARA_OK;
}

/* What the cache does to the picture without hitting stays. */
static para_cache_options without_hits(const para_cache_options *o) {
    para_cache_options off = PARA_CACHE_OPTIONS_INIT;
    off.residual_diff_threshold = 0;
    off.skip_layers = o->skip_layers;
    off.num_skip_layers = o->num_skip_layers;
    off.skip_start = o->skip_start;
    off.skip_end = o->skip_end;
    return off;
}

static void say_choice(const calibration *c, const para_cache_calibration *out) {
    const para_cache_calibration_options *o = c->options;
    if (out->residual_diff_threshold > 0)
        para_pipeline_log(c->pipe, PARA_LOG_INFO,
                          "chosen: residual_diff_threshold (--cache) %.3g, worst picture %.2f dB, expected speed-up of "
                          "denoising %.2f; "
                          "the calibration took %.1f s, which --cache %.3g saves the next time",
                          (double)out->residual_diff_threshold, out->psnr, out->speed_up, out->seconds,
                          (double)out->residual_diff_threshold);
    else
        para_pipeline_log(c->pipe, PARA_LOG_WARNING,
                          "no threshold that was tried hits and gives %g dB: there will be no cache; ask for less "
                          "(--cache-psnr), or extrapolate (--cache-taylorseer 1)",
                          o->psnr);
}

static para_status calibrate(calibration *c, para_cache_calibration *out) {
    const para_cache_options off = without_hits(&c->cache);
    double start = para_seconds();
    *out = (para_cache_calibration){.psnr = INFINITY, .speed_up = 1};
    PARA_TRY(draw(c, &off, &c->uncached));
    para_pipeline_log(c->pipe, PARA_LOG_INFO, "calibrating the cache for %g dB: %d %s without it in %.1f s",
                      c->options->psnr, c->request.num_images, c->request.num_images == 1 ? "picture" : "pictures",
                      para_seconds() - start);
    PARA_TRY(search(c, out));
    c->cache.residual_diff_threshold = out->residual_diff_threshold;
    PARA_TRY(para_apply_first_block_cache(c->pipe, out->residual_diff_threshold > 0 ? &c->cache : &off));
    out->seconds = para_seconds() - start;
    say_choice(c, out);
    return PARA_OK;
}

/* The request's first pictures, or more of its noise. */
static void take_request(calibration *c, const para_request *request) {
    c->request = *request;
    c->request.num_images = c->options->pictures;
    c->request.latents_only = false;
    c->request.on_frame = NULL;
    if (!request->latents || request->latents->dim[0] < 1) return;
    c->latents = *request->latents;
    if (c->latents.dim[0] < c->request.num_images) c->request.num_images = (int)c->latents.dim[0];
    c->latents.dim[0] = c->request.num_images;
    c->request.latents = &c->latents;
}

static para_status check(const para_pipeline *pipe, const para_request *request,
                         const para_cache_calibration_options *o, const para_cache_calibration *out) {
    if (!pipe || !request || !out)
        return para_fail(PARA_ERR_ARGUMENT,
                         "para_calibrate_first_block_cache: the pipeline, the request and out must not be NULL");
    PARA_TRY(para_check_size(o->size, sizeof *o, "para_calibrate_first_block_cache: options",
                             "PARA_CACHE_CALIBRATION_OPTIONS_INIT"));
    if (!(o->psnr > 0 && o->psnr <= 200))
        return para_fail(PARA_ERR_ARGUMENT, "psnr (--cache-psnr) is %g; give dB above 0, such as 32", o->psnr);
    if (o->pictures < 1 || o->trials < 1)
        return para_fail(PARA_ERR_ARGUMENT, "pictures is %d and trials %d; a calibration needs 1 or more of both",
                         o->pictures, o->trials);
    return PARA_OK;
}

para_status para_calibrate_first_block_cache(para_pipeline *pipe, const para_request *request,
                                             const para_cache_calibration_options *options,
                                             para_cache_calibration *out) {
    para_cache_calibration_options o = PARA_CACHE_CALIBRATION_OPTIONS_INIT;
    if (options) o = *options;
    PARA_TRY(check(pipe, request, &o, out));
    calibration c = {.pipe = pipe, .options = &o, .cache = PARA_CACHE_OPTIONS_INIT};
    if (o.cache) c.cache = *o.cache;
    c.cache.residual_diff_threshold = 0.1f;
    PARA_TRY(para_cache_options_check(&c.cache));
    para_request filled;
    PARA_TRY(para_pipeline_fill_in(pipe, request, &filled));
    PARA_TRY(para_cache_check_steps(&c.cache, filled.num_inference_steps));
    take_request(&c, &filled);
    const para_cache_options before = pipe->cache;
    pipe->cache = (para_cache_options){0}; /* its list stays with `before` */
    para_status status = calibrate(&c, out);
    para_result_close(&c.uncached);
    if (status == PARA_OK) {
        para_free((void *)before.skip_layers);
        return PARA_OK;
    }
    para_free((void *)pipe->cache.skip_layers);
    pipe->cache = before;
    return status;
}
