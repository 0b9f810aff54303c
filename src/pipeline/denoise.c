/* The denoising loop over the items of a request, shared out over batch groups and, inside them, by tokens. SPDX-License-Identifier: Apache-2.0 */
#include "backend/profile.h"
#include "comm/idle_transport.h"
#include "core/alloc.h"
#include "core/error.h"
#include "parallel/gather.h"
#include "pipeline/latents.h"
#include "pipeline/loop_cache.h"
#include "pipeline/residency.h"

/* Item i is half i % halves of picture i / halves. A wave is as many items as there are batch groups: group g computes the g-th, then all get all. */
typedef struct denoiser {
    para_run *run;
    para_transformer *transformer;
    para_device *dev;
    para_comm batch; /* the ranks that hold the same tokens */
    int halves;
    int64_t items;
    para_layout *layout[PARA_HALVES];
    para_shard shard[PARA_HALVES]; /* the same image tokens */
    para_conditioning conditioning[PARA_HALVES];
    para_item item[PARA_HALVES]; /* those that this group computes */
    para_recorded recorded[PARA_HALVES];
    para_schedule schedule;
    para_tensor latents;     /* F32 [n, tokens of the rank, channels] */
    para_tensor model_input; /* [tokens of the rank, in_channels] */
    para_tensor *output;     /* host [batch groups], views of [tokens of the rank, out_channels]: of a wave */
    para_loop_cache cache;
    para_tensor prediction; /* F32 [n, tokens of the rank, channels]: guided */
} denoiser;

/* Whether this group computes the half of some picture. */
static bool has_half(const denoiser *d, int half) {
    for (int64_t i = d->batch.index; i < d->items; i += d->batch.size)
        if (i % d->halves == half) return true;
    return false;
}

/* Rows of a picture in a tensor [n, tokens, channels]. */
static para_tensor picture_of(para_tensor all, int64_t picture) {
    return PARA_RESHAPE(para_rows(all, picture, 1), all.dim[1], all.dim[2]);
}

/* The rank's tokens of all pictures: a view. */
static para_tensor own_tokens(const denoiser *d, para_tensor whole) {
    const para_shard *shard = &d->shard[PARA_COND];
    return para_slice(whole, 1, shard->first[PARA_IMAGE], shard->tokens[PARA_IMAGE]);
}

/* The schedule, and the noise: whole [n, tokens, channels] on every rank, its own rows in latents. */
static para_status open_latents(denoiser *d, para_tensor whole) {
    const para_run *run = d->run;
    const para_shard *shard = &d->shard[PARA_COND];
    PARA_TRY(run->pipe->family->schedule(run->pipe, run->request, &run->geometry, &d->schedule));
    PARA_TRY(para_latents_begin(d->run, whole));
    PARA_TRY(para_trace_stage(d->dev, &whole, "latents"));
    d->latents = whole;
    if (para_mesh_size(&run->mesh, PARA_AXIS_TOKENS) == 1) return PARA_OK;
    PARA_TRY(PARA_NEW(d->dev, &d->latents, PARA_F32, whole.dim[0], shard->tokens[PARA_IMAGE], whole.dim[2]));
    return d->dev->ops->copy(d->dev, d->latents, own_tokens(d, whole));
}

static para_status open_shard(denoiser *d, int half, int64_t image_tokens, int64_t text_tokens) {
    const para_run *run = d->run;
    para_layout_options o = PARA_LAYOUT_OPTIONS_INIT;
    o.tokens[PARA_IMAGE] = image_tokens;
    o.tokens[PARA_TEXT] = text_tokens;
    PARA_TRY(para_layout_open(&d->layout[half], &run->mesh, &o));
    d->shard[half] =
        para_shard_of(&run->mesh, d->layout[half], para_mesh_comm(run->rank, &run->mesh, PARA_AXIS_TOKENS).index);
    d->shard[half].head_groups = run->pipe->head_groups;
    d->shard[half].exchange = run->pipe->exchange;
    return PARA_OK;
}

/* What the half's items share, and room for one of them. */
static para_status open_half(denoiser *d, int half, para_conditioning_inputs *in) {
    const para_request *r = d->run->request;
    const para_geometry *g = &d->run->geometry;
    para_transformer *t = d->transformer;
    in->guidance_scale = r->guidance_scale;
    in->steps = d->schedule.steps;
    in->timesteps = d->schedule.timesteps;
    in->frames = g->frames;
    in->height = g->grid_h;
    in->width = g->grid_w;
    in->dtype = d->run->pipe->options.dtype;
    in->shard = d->shard[half];
    PARA_TRY(t->table->prepare(t, d->run->rank, in, &d->conditioning[half]));
    para_recorded *recorded = para_pipeline_records(d->run->pipe, &d->shard[half]) ? &d->recorded[half] : NULL;
    return para_item_open(d->run->rank, t, &d->conditioning[half], recorded, &d->item[half]);
}

static para_status open_buffers(denoiser *d) {
    const para_transformer *t = d->transformer;
    para_dtype dtype = d->run->pipe->options.dtype;
    int64_t tokens = d->latents.dim[1], groups = d->batch.size;
    para_tensor outputs;
    PARA_TRY(PARA_NEW(d->dev, &d->model_input, dtype, tokens, t->in_channels));
    PARA_TRY(PARA_NEW(d->dev, &outputs, dtype, groups, tokens, t->out_channels));
    PARA_TRY(PARA_NEW(d->dev, &d->prediction, PARA_F32, d->latents.dim[0], tokens, t->out_channels));
    if (!(d->output = para_alloc((size_t)groups, sizeof *d->output))) return PARA_ERR_MEMORY;
    for (int64_t i = 0; i < groups; i++) d->output[i] = picture_of(outputs, i);
    return PARA_OK;
}

/* The prediction of one item: [tokens, channels] in the activations' type. Only the first item is traced. */
static para_status compute(denoiser *d, int step, int64_t index, para_tensor output) {
    const para_trace *trace = d->dev->trace;
    para_item *item = &d->item[index % d->halves];
    PARA_TRY(d->dev->ops->copy(d->dev, d->model_input, picture_of(d->latents, index / d->halves)));
    PARA_TRY(para_item_go_to(d->run->rank, item, step));
    if (step > 0 || index > 0) d->dev->trace = NULL;
    para_status status = d->cache.on
                             ? para_loop_cache_forward(&d->cache, index, item, d->model_input, output)
                             : para_transformer_forward(d->transformer, d->run->rank, item, d->model_input, output);
    d->dev->trace = trace;
    return status;
}

/* Takes an item's prediction into its picture's. */
static para_status take(denoiser *d, int step, int64_t index, para_tensor output) {
    const para_ops *ops = d->dev->ops;
    int64_t picture = index / d->halves, half = index % d->halves;
    para_tensor prediction = picture_of(d->prediction, picture);
    if (half == PARA_COND) return ops->copy(d->dev, prediction, output);
    /* uncond + scale · (cond - uncond) */
    float scale = d->run->pipe->family->guidance->scale(d->run->request, d->schedule.timesteps[step]);
    if (step == 0 && picture == 0)
        PARA_TRY(para_trace_tokens(d->run->rank, &d->shard[half], PARA_IMAGE, 0, output, "uncond.head"));
    return ops->combine(d->dev, prediction, 2, (para_tensor[]){output, prediction}, (float[]){1.0f - scale, scale});
}

/* New noise for the rank's tokens of all pictures, which diffusers draws for the latents as a whole: out F32 [n, tokens, channels]. */
static para_status more_noise(void *user, para_tensor out) {
    denoiser *d = user;
    size_t mark = para_arena_mark(&d->dev->arena);
    para_tensor whole;
    PARA_TRY(PARA_NEW(d->dev, &whole, PARA_F32, out.dim[0], para_geometry_tokens(&d->run->geometry), out.dim[2]));
    PARA_TRY(para_latents_draw(d->run, d->run->pipe->options.dtype, whole));
    PARA_TRY(d->dev->ops->copy(d->dev, out, own_tokens(d, whole)));
    para_arena_release(&d->dev->arena, mark);
    return PARA_OK;
}

/* The items from `first` on, one for each group; the last wave may be short. */
static para_status wave(denoiser *d, int step, int64_t first) {
    int count = d->items - first < d->batch.size ? (int)(d->items - first) : d->batch.size;
    para_tensor *output = d->output;
    for (int i = 0; i < d->batch.size; i++) output[i].dim[0] = i < count ? d->latents.dim[1] : 0;
    if (d->batch.index < count) PARA_TRY(compute(d, step, first + d->batch.index, output[d->batch.index]));
    para_exchange x;
    PARA_TRY(para_comm_all_gather(d->batch, output[d->batch.index], output, &x));
    PARA_TRY(para_comm_wait(&x));
    for (int i = 0; i < count; i++) PARA_TRY(take(d, step, first + i, output[i]));
    return PARA_OK;
}

static para_status one_step(denoiser *d, int step) {
    para_run *run = d->run;
    PARA_TRY(para_loop_cache_begin_step(&d->cache, step, d->latents, d->model_input));
    for (int64_t first = 0; first < d->items; first += d->batch.size) PARA_TRY(wave(d, step, first));
    const para_schedule_step at = {step, d->prediction, d->latents, more_noise, d};
    PARA_TRY(d->schedule.table->step(&d->schedule, d->dev, &at));
    PARA_TRY(
        para_run_check_finite(run, d->latents, "denoising step %d of %d", step + 1, run->request->num_inference_steps));
    return para_trace_tokens(run->rank, &d->shard[PARA_COND], PARA_IMAGE, 1, d->latents, "step.%d.latents", step);
}

static para_status profiled_step(denoiser *d, int step) {
    para_result *result = d->run->result;
    para_op_time *ops = NULL;
    para_profile *profile = NULL;
    PARA_TRY(para_profile_open(d->dev, &profile));
    para_status status = one_step(d, step);
    para_status closed = para_profile_close(d->dev, &profile, status == PARA_OK ? &ops : NULL, &result->num_step_ops);
    result->step_ops = ops;
    return status == PARA_OK ? closed : status;
}

static para_status all_steps(denoiser *d) {
    para_run *run = d->run;
    int steps = run->request->num_inference_steps;
    for (int step = 0; step < steps; step++) {
        bool profiled = run->request->profile && run->result && step == steps - 1;
        para_run_progress(run, PARA_STAGE_DENOISE, step, steps);
        PARA_TRY(profiled ? profiled_step(d, step) : one_step(d, step));
    }
    para_run_progress(run, PARA_STAGE_DENOISE, steps, steps);
    return PARA_OK;
}

/* For benchmarks. */
static para_status all_steps_alone(denoiser *d) {
    para_idle idle;
    para_idle_begin(&idle, d->run->rank->endpoint);
    para_status status = all_steps(d);
    para_idle_end(&idle);
    return status;
}

static para_status denoise(denoiser *d, para_conditioning_inputs *inputs, para_tensor whole) {
    for (int half = 0; half < d->halves; half++)
        PARA_TRY(open_shard(d, half, whole.dim[1], inputs[half].encoder_hidden_states.dim[0]));
    PARA_TRY(open_latents(d, whole));
    for (int half = 0; half < d->halves; half++)
        if (has_half(d, half)) PARA_TRY(open_half(d, half, &inputs[half]));
    PARA_TRY(open_buffers(d));
    if (d->schedule.table->begin) PARA_TRY(d->schedule.table->begin(&d->schedule, d->dev, d->latents));
    PARA_TRY(para_loop_cache_open(&d->cache, d->run, d->batch, d->conditioning));
    const para_endpoint none = {0}, *way = d->run->rank->endpoint ? d->run->rank->endpoint : &none, before = *way;
    PARA_TRY(d->run->pipe->leaves_out_exchange && !d->run->dry ? all_steps_alone(d) : all_steps(d));
    PARA_TRY(para_loop_cache_report(&d->cache));
    d->run->exchanged_bytes = way->bytes_sent - before.bytes_sent;
    d->run->between_hosts_bytes = way->bytes_between_hosts - before.bytes_between_hosts;
    d->run->waited = (int64_t)(1e9 * (way->waited - before.waited));
    if (para_mesh_size(&d->run->mesh, PARA_AXIS_TOKENS) == 1) return PARA_OK;
    return para_gather_tokens(d->run->rank, &d->shard[PARA_COND], PARA_IMAGE, 1, d->latents, whole);
}

/* The request's generator, the same on all ranks. */
static para_status seed(para_run *run) {
    const para_request *r = run->request;
    if (!(run->rng = para_alloc(1, sizeof *run->rng))) return PARA_ERR_MEMORY;
    para_rng_seed(run->rng, r->rng == PARA_SEED_CUDA ? PARA_RNG_CUDA : PARA_RNG_CPU, r->seed);
    return PARA_OK;
}

para_status para_run_denoise(para_run *run, para_conditioning_inputs *inputs, para_tensor *latents) {
    const para_geometry *g = &run->geometry;
    PARA_TRY(para_run_enter(run, PARA_STAGE_DENOISE));
    denoiser d = {.run = run,
                  .transformer = para_run_transformer(run),
                  .dev = run->rank->device,
                  .batch = para_mesh_comm(run->rank, &run->mesh, PARA_AXIS_BATCH),
                  .halves = para_request_halves(run->pipe, run->request),
                  .items = para_request_items(run->pipe, run->request)};
    para_run_begin(run);
    PARA_TRY(PARA_NEW(d.dev, latents, PARA_F32, run->request->num_images, para_geometry_tokens(g), g->channels));
    size_t mark = para_arena_mark(&d.dev->arena);
    para_status status = run->dry ? PARA_OK : seed(run);
    if (status == PARA_OK) status = denoise(&d, inputs, *latents);
    para_arena_release(&d.dev->arena, mark);
    for (int half = 0; half < PARA_HALVES; half++) {
        para_layout_close(&d.layout[half]);
        para_recorded_close(&d.recorded[half], d.dev);
    }
    para_loop_cache_close(&d.cache);
    para_free(d.output);
    para_schedule_close(&d.schedule);
    para_free(run->rng);
    run->rng = NULL;
    PARA_TRY(status);
    return para_run_end(run, PARA_STAGE_DENOISE);
}
