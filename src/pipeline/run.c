/* A request on its way: from text through the denoising loop to decoding. SPDX-License-Identifier: Apache-2.0 */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "core/alloc.h"
#include "core/clock.h"
#include "core/error.h"
#include "core/float.h"
#include "pipeline/latents.h"
#include "pipeline/residency.h"

static const char *const stage_names[PARA_STAGES] = {"load", "text", "denoise", "decode"};

void para_run_progress(const para_run *run, para_stage stage, int done, int total) {
    if (run->dry || !para_run_leads(run) || !run->request->on_progress) return;
    para_progress p = {stage_names[stage], done, total, para_seconds() - run->stage_start};
    run->request->on_progress(run->request->user, &p);
}

para_status para_run_check_finite(const para_run *run, para_tensor x, const char *format, ...) {
    bool finite;
    PARA_TRY(run->rank->device->ops->all_finite(run->rank->device, x, &finite));
    if (finite || run->pipe->leaves_out_exchange) return PARA_OK;
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

para_status para_run_upload(para_run *run, para_tensor to, const para_tensor *given, const char *stage) {
    if (run->dry) return PARA_OK;
    int64_t n = para_tensor_count(given);
    void *host = para_alloc((size_t)n, para_dtype_size(to.dtype));
    float *wide = to.dtype == PARA_F32 ? host : para_alloc((size_t)n, sizeof *wide);
    para_status status = host && wide ? PARA_OK : PARA_ERR_MEMORY;
    if (status == PARA_OK) {
        para_floats_to_f32(wide, given->data, given->dtype, n);
        if (to.dtype != PARA_F32) para_floats_from_f32(host, to.dtype, wide, n);
        status = run->rank->device->ops->upload(run->rank->device, to, host);
    }
    if (wide != host) para_free(wide);
    para_free(host);
    PARA_TRY(status);
    return para_run_check_finite(run, to, "%s", stage);
}

para_status para_run_share_length(para_run *run, int *length) {
    para_device *dev = run->rank->device;
    int64_t value = *length;
    size_t mark = para_arena_mark(&dev->arena);
    para_tensor shared; /* [1] */
    if (run->dry || para_mesh_ranks(&run->mesh) == 1) return PARA_OK;
    PARA_TRY(PARA_NEW(dev, &shared, PARA_I64, 1));
    PARA_TRY(dev->ops->upload(dev, shared, &value));
    PARA_TRY(para_comm_broadcast(para_world_comm(run->rank), 0, shared));
    PARA_TRY(dev->ops->download(dev, &value, &shared));
    para_arena_release(&dev->arena, mark);
    *length = (int)value;
    return PARA_OK;
}

para_status para_run_ones(para_run *run, para_tensor like, para_tensor *out) {
    para_device *dev = run->rank->device;
    int64_t n = para_tensor_count(&like);
    PARA_TRY(para_new(dev, out, PARA_F32, like.rank, like.dim));
    if (run->dry) return PARA_OK;
    float *host = para_alloc((size_t)n, sizeof *host);
    if (!host) return PARA_ERR_MEMORY;
    for (int64_t i = 0; i < n; i++) host[i] = 1.0f;
    para_status status = dev->ops->upload(dev, *out, host);
    para_free(host);
    return status;
}

para_status para_run_affine(para_run *run, para_tensor y, float scale, float c) {
    para_device *dev = run->rank->device;
    size_t mark = para_arena_mark(&dev->arena);
    para_tensor ones;
    PARA_TRY(para_run_ones(run, y, &ones));
    PARA_TRY(dev->ops->combine(dev, y, 2, (para_tensor[]){y, ones}, (float[]){scale, c}));
    para_arena_release(&dev->arena, mark);
    return PARA_OK;
}

void para_run_begin(para_run *run) {
    run->stage_start = para_seconds();
}

para_status para_run_end(para_run *run, para_stage stage) {
    if (run->stage_done) run->stage_done(run, stage);
    return para_rank_check(run->rank);
}

para_transformer *para_run_transformer(const para_run *run) {
    return run->instance[run->pipe->family->transformer].model;
}

int para_run_ranks(const para_pipeline *pipe, const para_mesh *mesh, para_stage stage) {
    switch (stage) {
    case PARA_STAGE_TEXT: return 1;
    case PARA_STAGE_DENOISE: return para_mesh_ranks(mesh);
    case PARA_STAGE_DECODE: return pipe->parallel_vae ? PARA_MAX_RANKS : 1;
    default: return pipe->parallel_vae ? PARA_MAX_RANKS : para_mesh_ranks(mesh);
    }
}

bool para_run_takes_part(const para_pipeline *pipe, const para_mesh *mesh, int index) {
    return index < para_run_ranks(pipe, mesh, PARA_STAGE_LOAD);
}

bool para_run_uses(const para_pipeline *pipe, const para_request *request, const para_mesh *mesh, int index, int i) {
    para_stage stage = pipe->family->components[i].stage;
    if (request && !para_request_needs(pipe, request, i)) return false;
    if (!request && stage == PARA_STAGE_DENOISE) return true; /* of any mesh */
    return index < para_run_ranks(pipe, mesh, stage);
}

/* Whether the others work on this request, too. */
static bool with_others(const para_run *run) {
    return run->rank->size > 1 && para_run_takes_part(run->pipe, &run->mesh, 1);
}

/* A half's embeddings that the request gave, which every rank has. */
static para_status take_embeds(para_run *run, const para_tensor *embeds, const para_tensor *pooled, const char *half,
                               para_conditioning_inputs *out) {
    para_device *dev = run->rank->device;
    para_dtype dtype = run->pipe->options.dtype;
    char stage[64];
    snprintf(stage, sizeof stage, "reading the given %sprompt_embeds", half);
    PARA_TRY(para_new(dev, &out->encoder_hidden_states, dtype, embeds->rank, embeds->dim));
    PARA_TRY(para_run_upload(run, out->encoder_hidden_states, embeds, stage));
    if (!pooled) return PARA_OK;
    snprintf(stage, sizeof stage, "reading the given %spooled_prompt_embeds", half);
    PARA_TRY(para_new(dev, &out->pooled_projections, dtype, pooled->rank, pooled->dim));
    return para_run_upload(run, out->pooled_projections, pooled, stage);
}

static para_status take_halves(para_run *run, para_conditioning_inputs *inputs) {
    const para_request *r = run->request;
    PARA_TRY(take_embeds(run, r->prompt_embeds, r->pooled_prompt_embeds, "", &inputs[PARA_COND]));
    if (para_request_halves(run->pipe, r) == 1) return PARA_OK;
    return take_embeds(run, r->negative_prompt_embeds, r->negative_pooled_prompt_embeds, "negative_",
                       &inputs[PARA_UNCOND]);
}

/* Embeddings of one half: computed by the leading rank, then everybody's. */
static para_status encode_half(para_run *run, const char *prompt, const char *prompt_2, const char *half,
                               para_conditioning_inputs *out) {
    PARA_TRY(run->pipe->family->encode(run, prompt, prompt_2, half, out));
    if (para_mesh_ranks(&run->mesh) == 1) return PARA_OK;
    para_comm all = para_world_comm(run->rank);
    PARA_TRY(para_comm_broadcast(all, 0, out->encoder_hidden_states));
    return out->pooled_projections.data ? para_comm_broadcast(all, 0, out->pooled_projections) : PARA_OK;
}

static para_status encode_halves(para_run *run, para_conditioning_inputs *inputs) {
    const para_request *r = run->request;
    int halves = para_request_halves(run->pipe, r);
    if (r->prompt_embeds) return take_halves(run, inputs);
    para_run_progress(run, PARA_STAGE_TEXT, 0, halves);
    PARA_TRY(encode_half(run, r->prompt, r->prompt_2 ? r->prompt_2 : r->prompt, "", &inputs[PARA_COND]));
    para_run_progress(run, PARA_STAGE_TEXT, 1, halves);
    if (halves == 1) return PARA_OK;
    const char *negative = r->negative_prompt ? r->negative_prompt : "";
    const char *second = r->negative_prompt_2 ? r->negative_prompt_2 : negative;
    PARA_TRY(encode_half(run, negative, second, ".negative", &inputs[PARA_UNCOND]));
    para_run_progress(run, PARA_STAGE_TEXT, 2, halves);
    return PARA_OK;
}

static para_status text_stage(para_run *run, para_conditioning_inputs *inputs) {
    PARA_TRY(para_run_enter(run, PARA_STAGE_TEXT));
    para_run_begin(run);
    para_rank_serial(run->rank, true); /* the others wait for rank 0 */
    PARA_TRY(encode_halves(run, inputs));
    para_rank_serial(run->rank, para_mesh_ranks(&run->mesh) == 1);
    return para_run_end(run, PARA_STAGE_TEXT);
}

/* What each rank tells the leading one in the end. */
typedef enum tally { EXCHANGED, BETWEEN_HOSTS, WAITED, ARENA, TALLIES } tally;

static void sum_up(para_result *out, int ranks, const int64_t (*of)[TALLIES]) {
    for (int i = 0; i < ranks; i++) {
        out->exchanged_bytes += of[i][EXCHANGED];
        out->between_hosts_bytes += of[i][BETWEEN_HOSTS];
        double waited = 1e-9 * (double)of[i][WAITED];
        if (waited > out->exchange_wait_seconds) out->exchange_wait_seconds = waited;
        if ((size_t)of[i][ARENA] > out->arena_bytes) out->arena_bytes = (size_t)of[i][ARENA];
    }
}

static para_status gather_tallies(para_run *run, const int64_t *own, int64_t (*all)[TALLIES], para_tensor *part) {
    para_device *dev = run->rank->device;
    para_tensor of;
    PARA_TRY(PARA_NEW(dev, &of, PARA_I64, run->rank->size, TALLIES));
    for (int i = 0; i < run->rank->size; i++) part[i] = para_rows(of, i, 1);
    PARA_TRY(dev->ops->upload(dev, part[run->rank->index], own));
    para_exchange x;
    PARA_TRY(para_comm_all_gather(para_world_comm(run->rank), part[run->rank->index], part, &x));
    PARA_TRY(para_comm_wait(&x));
    return dev->ops->download(dev, all, &of);
}

static para_status report(para_run *run) {
    int ranks = with_others(run) ? run->rank->size : 1;
    int64_t own[TALLIES] = {[EXCHANGED] = run->exchanged_bytes,
                            [BETWEEN_HOSTS] = run->between_hosts_bytes,
                            [WAITED] = run->waited,
                            [ARENA] = (int64_t)run->rank->device->arena.peak};
    int64_t(*all)[TALLIES] = para_alloc((size_t)ranks, sizeof *all);
    para_tensor *part = para_alloc((size_t)ranks, sizeof *part);
    para_status status = all && part ? PARA_OK : PARA_ERR_MEMORY;
    if (status == PARA_OK && ranks > 1) status = gather_tallies(run, own, all, part);
    else if (status == PARA_OK) memcpy(all[0], own, sizeof own);
    if (status == PARA_OK && run->result) {
        run->result->ranks = para_mesh_ranks(&run->mesh);
        run->result->batch = run->mesh.batch;
        run->result->ring = run->mesh.ring;
        run->result->ulysses = run->mesh.ulysses;
        sum_up(run->result, ranks, (const int64_t(*)[TALLIES])all);
    }
    para_free(all);
    para_free(part);
    return status;
}

/* Room for latents [n, tokens, channels]. */
static para_status new_latents(para_run *run, para_tensor *out) {
    const para_geometry *g = &run->geometry;
    return PARA_NEW(run->rank->device, out, PARA_F32, run->request->num_images, para_geometry_tokens(g), g->channels);
}

/* The request's own latents, as they are. */
static para_status take_latents(para_run *run, para_tensor *out) {
    PARA_TRY(new_latents(run, out));
    return para_latents_begin(run, *out);
}

static para_status all_stages(para_run *run) {
    para_conditioning_inputs inputs[PARA_HALVES] = {0};
    para_tensor latents; /* [n, tokens, channels] */
    if (run->rank->index < para_mesh_ranks(&run->mesh)) {
        para_device_range(run->rank->device, stage_names[PARA_STAGE_TEXT]);
        para_status status = text_stage(run, inputs);
        para_device_range(run->rank->device, NULL);
        PARA_TRY(status);
        para_device_range(run->rank->device, stage_names[PARA_STAGE_DENOISE]);
        status = run->pipe->no_steps ? take_latents(run, &latents) : para_run_denoise(run, inputs, &latents);
        para_device_range(run->rank->device, NULL);
        PARA_TRY(status);
    } else {
        PARA_TRY(new_latents(run, &latents));
    }
    para_device_range(run->rank->device, stage_names[PARA_STAGE_DECODE]);
    para_status status = para_run_decode(run, latents);
    para_device_range(run->rank->device, NULL);
    return status;
}

para_status para_run_all(para_run *run) {
    para_arena *arena = &run->rank->device->arena;
    size_t mark = para_arena_mark(arena);
    arena->peak = arena->used;
    PARA_TRY(para_rank_check(run->rank));
    para_status status = all_stages(run);
    para_arena_release(arena, mark);
    return status == PARA_OK ? report(run) : status;
}
