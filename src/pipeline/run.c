/* A request on its way: text, denoising loop, decoding. SPDX-License-Identifier: Apache-2.0 */
#include <stdarg.h>
#include <stdio.h>

#include "core/alloc.h"
#include "core/clock.h"
#include "core/error.h"
#include "pipeline/pipeline_state.h"

static const char *const stage_names[PARA_STAGES] = {"load", "text", "denoise", "decode"};

/* The halves of classifier-free guidance; without it only the first. */
enum { COND, UNCOND, HALVES };

/* What the stages hand on. */
typedef struct run_state {
    int halves;
    para_conditioning_inputs inputs[HALVES];
    para_conditioning conditioning[HALVES];
    float *sigmas, *timesteps; /* host [steps + 1], [steps] */
    para_tensor latents;       /* F32 [n, tokens, channels] */
} run_state;

void para_run_progress(const para_run *run, para_stage stage, int done, int total) {
    if (run->dry || !run->request->on_progress) return;
    para_progress p = {stage_names[stage], done, total, para_seconds() - run->stage_start};
    run->request->on_progress(run->request->user, &p);
}

para_status para_run_check_finite(const para_run *run, para_tensor x, const char *format, ...) {
    bool finite;
    PARA_TRY(run->rank->device->ops->all_finite(run->rank->device, x, &finite));
    if (finite) return PARA_OK;
    char stage[128];
    va_list args;
    va_start(args, format);
    vsnprintf(stage, sizeof stage, format, args);
    va_end(args);
    return para_fail(PARA_ERR_NAN,
                     "not-a-number or infinity after %s; the weights of %s may be damaged, or the size or guidance too "
                     "far from what it was trained for",
                     stage, run->pipe->folder);
}

static void begin(para_run *run) {
    run->stage_start = para_seconds();
}

static para_status end(para_run *run, para_stage stage) {
    if (run->stage_done) run->stage_done(run, stage);
    return para_rank_check(run->rank);
}

static para_transformer *transformer_of(const para_run *run) {
    return run->instance[run->pipe->family->transformer].model;
}

static para_status text_stage(para_run *run, run_state *s) {
    const para_request *r = run->request;
    const para_family *family = run->pipe->family;
    begin(run);
    s->halves = r->negative_prompt && r->true_cfg_scale > 1 ? HALVES : 1;
    para_run_progress(run, PARA_STAGE_TEXT, 0, s->halves);
    PARA_TRY(family->encode(run, r->prompt, r->prompt_2 ? r->prompt_2 : r->prompt, "", &s->inputs[COND]));
    para_run_progress(run, PARA_STAGE_TEXT, 1, s->halves);
    if (s->halves == HALVES) {
        const char *second = r->negative_prompt_2 ? r->negative_prompt_2 : r->negative_prompt;
        PARA_TRY(family->encode(run, r->negative_prompt, second, ".negative", &s->inputs[UNCOND]));
        para_run_progress(run, PARA_STAGE_TEXT, 2, s->halves);
    }
    return end(run, PARA_STAGE_TEXT);
}

static para_status prepare(para_run *run, run_state *s) {
    const para_request *r = run->request;
    const para_geometry *g = &run->geometry;
    para_transformer *t = transformer_of(run);
    s->sigmas = para_alloc((size_t)r->num_inference_steps + 1, sizeof *s->sigmas);
    s->timesteps = para_alloc((size_t)r->num_inference_steps, sizeof *s->timesteps);
    if (!s->sigmas || !s->timesteps) return PARA_ERR_MEMORY;
    PARA_TRY(run->pipe->family->schedule(run->pipe, r, g, s->sigmas, s->timesteps));
    PARA_TRY(PARA_NEW(run->rank->device, &s->latents, PARA_F32, r->num_images, g->frames * g->grid_h * g->grid_w,
                      g->channels));
    PARA_TRY(run->pipe->family->noise(run, s->latents));
    PARA_TRY(para_trace_stage(run->rank->device, &s->latents, "latents"));
    for (int half = 0; half < s->halves; half++) {
        para_conditioning_inputs *in = &s->inputs[half];
        in->guidance_scale = r->guidance_scale;
        in->steps = r->num_inference_steps;
        in->timesteps = s->timesteps;
        in->frames = g->frames;
        in->height = g->grid_h;
        in->width = g->grid_w;
        in->dtype = run->pipe->options.dtype;
        in->shard = para_shard_whole(s->latents.dim[1], in->encoder_hidden_states.dim[0]);
        PARA_TRY(t->table->prepare(t, run->rank, in, &s->conditioning[half]));
    }
    return PARA_OK;
}

/* The prediction of one picture: [tokens, channels] F32. Only the first picture's first half is traced. */
static para_status predict(para_run *run, run_state *s, int step, int picture, para_item *items,
                           para_tensor model_input, para_tensor output, para_tensor prediction) {
    para_device *dev = run->rank->device;
    para_transformer *t = transformer_of(run);
    const para_trace *trace = dev->trace;
    para_tensor latents = PARA_RESHAPE(para_rows(s->latents, picture, 1), s->latents.dim[1], s->latents.dim[2]);
    PARA_TRY(dev->ops->copy(dev, model_input, latents));
    for (int half = s->halves - 1; half >= 0; half--) {
        dev->trace = step == 0 && picture == 0 && half == COND ? trace : NULL;
        items[half].step = step;
        para_status status = para_transformer_forward(t, run->rank, &items[half], model_input, output);
        dev->trace = trace;
        PARA_TRY(status);
        if (half == UNCOND && step == 0 && picture == 0) PARA_TRY(para_trace_stage(dev, &output, "uncond.head"));
        if (half == UNCOND || s->halves == 1) {
            PARA_TRY(dev->ops->copy(dev, prediction, output));
        } else { /* uncond + scale · (cond - uncond) */
            float scale = run->request->true_cfg_scale;
            PARA_TRY(dev->ops->combine(dev, prediction, 2, (para_tensor[]){prediction, output},
                                       (float[]){1.0f - scale, scale}));
        }
    }
    return PARA_OK;
}

static para_status denoise_stage(para_run *run, run_state *s) {
    para_device *dev = run->rank->device;
    const para_transformer *t = transformer_of(run);
    const para_request *r = run->request;
    begin(run);
    PARA_TRY(prepare(run, s));
    size_t mark = para_arena_mark(&dev->arena);
    para_item items[HALVES];
    para_tensor model_input, output, prediction;
    int64_t tokens = s->latents.dim[1];
    PARA_TRY(PARA_NEW(dev, &model_input, run->pipe->options.dtype, tokens, t->in_channels));
    PARA_TRY(PARA_NEW(dev, &output, run->pipe->options.dtype, tokens, t->out_channels));
    PARA_TRY(PARA_NEW(dev, &prediction, PARA_F32, tokens, t->out_channels));
    for (int half = 0; half < s->halves; half++)
        PARA_TRY(para_item_open(run->rank, t, &s->conditioning[half], &items[half]));
    for (int step = 0; step < r->num_inference_steps; step++) {
        para_run_progress(run, PARA_STAGE_DENOISE, step, r->num_inference_steps);
        float dt = s->sigmas[step + 1] - s->sigmas[step];
        for (int picture = 0; picture < r->num_images; picture++) {
            para_tensor latents = PARA_RESHAPE(para_rows(s->latents, picture, 1), tokens, s->latents.dim[2]);
            PARA_TRY(predict(run, s, step, picture, items, model_input, output, prediction));
            PARA_TRY(dev->ops->combine(dev, latents, 2, (para_tensor[]){latents, prediction}, (float[]){1.0f, dt}));
        }
        PARA_TRY(para_run_check_finite(run, s->latents, "denoising step %d of %d", step + 1, r->num_inference_steps));
        PARA_TRY(para_trace_stage(dev, &s->latents, "step.%d.latents", step));
    }
    para_run_progress(run, PARA_STAGE_DENOISE, r->num_inference_steps, r->num_inference_steps);
    para_arena_release(&dev->arena, mark);
    return end(run, PARA_STAGE_DENOISE);
}

/* The result's pixels [n, 3, H, W] and latents, on the host. */
static para_status open_result(para_run *run, const run_state *s) {
    const para_geometry *g = &run->geometry;
    para_result *out = run->result;
    int64_t n = run->request->num_images, pixels[] = {n, 3, g->height, g->width};
    out->images = para_tensor_make(NULL, PARA_F32, 4, pixels);
    out->latents = para_tensor_make(NULL, PARA_F32, 3, s->latents.dim);
    out->images.data = para_alloc((size_t)para_tensor_count(&out->images), sizeof(float));
    out->latents.data = para_alloc((size_t)para_tensor_count(&out->latents), sizeof(float));
    if (!out->images.data || !out->latents.data) return PARA_ERR_MEMORY;
    return run->rank->device->ops->download(run->rank->device, out->latents.data, &s->latents);
}

static para_status decode_stage(para_run *run, run_state *s) {
    para_device *dev = run->rank->device;
    const para_geometry *g = &run->geometry;
    int n = run->request->num_images;
    begin(run);
    if (!run->dry) PARA_TRY(open_result(run, s));
    para_run_progress(run, PARA_STAGE_DECODE, 0, n);
    for (int i = 0; i < n; i++) {
        size_t mark = para_arena_mark(&dev->arena);
        para_tensor image, latents = PARA_RESHAPE(para_rows(s->latents, i, 1), s->latents.dim[1], s->latents.dim[2]);
        PARA_TRY(PARA_NEW(dev, &image, PARA_F32, 3, g->height, g->width));
        PARA_TRY(run->pipe->family->decode(run, latents, image));
        PARA_TRY(para_run_check_finite(run, image, "decoding picture %d", i + 1));
        if (!run->dry) {
            float *host = (float *)run->result->images.data + (int64_t)i * para_tensor_count(&image);
            PARA_TRY(dev->ops->download(dev, host, &image));
        }
        para_arena_release(&dev->arena, mark);
        para_run_progress(run, PARA_STAGE_DECODE, i + 1, n);
    }
    return end(run, PARA_STAGE_DECODE);
}

para_status para_run_all(para_run *run) {
    para_device *dev = run->rank->device;
    run_state s = {0};
    size_t mark = para_arena_mark(&dev->arena);
    dev->arena.peak = dev->arena.used;
    PARA_TRY(para_rank_check(run->rank));
    para_status status = text_stage(run, &s);
    if (status == PARA_OK) status = denoise_stage(run, &s);
    if (status == PARA_OK) status = decode_stage(run, &s);
    para_arena_release(&dev->arena, mark);
    para_free(s.sigmas);
    para_free(s.timesteps);
    return status;
}
