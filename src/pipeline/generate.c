/* Requests: from the call to the ranks, on one process or on many. SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "core/alloc.h"
#include "core/clock.h"
#include "core/error.h"
#include "pipeline/call.h"
#include "pipeline/residency.h"

static para_status take_world(para_pipeline *pipe) {
    return para_world_take(pipe->world, &pipe->cancel);
}

/* A cancel that came too late counts for nothing. */
static void release_world(para_pipeline *pipe) {
    atomic_store(&pipe->cancel, false);
    para_world_release(pipe->world);
}

static void record_seconds(para_run *run, para_stage stage) {
    para_result *r = run->result;
    if (!r) return;
    double *slot[PARA_STAGES] = {&r->load_seconds, &r->text_seconds, &r->denoise_seconds, &r->decode_seconds};
    *slot[stage] = para_seconds() - run->stage_start;
}

/* A rank's part of the request at work. */
static para_run run_of(para_pipeline *pipe, para_rank *rank) {
    para_work *w = &pipe->work;
    return (para_run){.pipe = pipe,
                      .request = &w->request,
                      .rank = rank,
                      .instance = para_holder_of(pipe, rank)->instance,
                      .geometry = w->geometry,
                      .mesh = w->mesh,
                      .result = rank->index == 0 ? w->result : NULL,
                      .stage_done = record_seconds,
                      .stage_start = w->start};
}

/* On several hosts the log says why the mesh is as it is, again where it is another one. */
static void tell_mesh(para_pipeline *pipe) {
    const para_work *w = &pipe->work;
    char why[PARA_WHY_MESH];
    if (memcmp(&pipe->told_mesh, &w->mesh, sizeof w->mesh) == 0) return;
    para_request_explain_mesh(pipe, &w->request, &w->geometry, w->mesh, why, sizeof why);
    if (*why) para_pipeline_log(pipe, PARA_LOG_INFO, "%s", why);
    pipe->told_mesh = w->mesh;
}

/* As the last request's, where that was like it and no setting has changed since. */
static para_status choose_mesh(para_pipeline *pipe) {
    para_work *w = &pipe->work;
    const para_geometry *g = &w->geometry;
    const para_mesh_key key = {.height = g->height,
                               .width = g->width,
                               .num_frames = g->num_frames,
                               .text_tokens = g->text_tokens,
                               .num_images = w->request.num_images,
                               .items = para_request_items(pipe, &w->request),
                               .parallel = pipe->parallel,
                               .cached = para_cache_is_on(&pipe->cache),
                               .recorded = pipe->compiled_ranks,
                               .offload_slots = pipe->offload_slots};
    if (!pipe->foreseen || memcmp(&key, &pipe->foreseen_for, sizeof key) != 0) {
        pipe->foreseen = false;
        PARA_TRY(para_request_mesh(pipe, &w->request, g, &pipe->foreseen_mesh));
        pipe->foreseen_for = key;
        pipe->foreseen = true;
    }
    w->mesh = pipe->foreseen_mesh;
    return PARA_OK;
}

/* What of a request is decided before anything is loaded: process 0 logs what is odd about it. */
static para_status decide(para_pipeline *pipe, const para_request *request) {
    para_work *w = &pipe->work;
    PARA_TRY(para_request_take(pipe, request, &w->request));
    para_request_warn(pipe, &w->request);
    w->start = para_seconds();
    para_run begun = run_of(pipe, &pipe->world->worker[0].rank);
    if (!begun.rank->device->ops->memory)
        para_run_progress(&begun, PARA_STAGE_LOAD, 0, 1); /* else of MB, once they are known */
    PARA_TRY(para_request_geometry(pipe, &w->request, &w->geometry));
    PARA_TRY(choose_mesh(pipe));
    tell_mesh(pipe);
    if (para_world_size(pipe->world) == 1 || pipe->parallel || pipe->told_alone) return PARA_OK;
    pipe->told_alone = true;
    para_pipeline_log(pipe, PARA_LOG_INFO, "rank 0 of %d computes alone; to use all of them call para_parallelize",
                      para_world_size(pipe->world));
    return PARA_OK;
}

/* A dry run finds what the rank will take. */
static para_status prepare(para_pipeline *pipe, para_rank *rank) {
    para_work *w = &pipe->work;
    para_dry_result *need = &w->need[para_local_rank(pipe, rank)];
    const para_dry_rank own = {.index = rank->index, .size = rank->size, .like = rank, .asks = rank};
    para_result *result = rank->index == 0 ? w->result : NULL;
    *need = (para_dry_result){0};
    if (!para_run_takes_part(pipe, &w->mesh, rank->index)) return PARA_OK;
    PARA_TRY(para_dry_run(pipe, &w->request, &w->geometry, &w->mesh, own, need));
    if (!result) return PARA_OK;
    result->weight_bytes = (size_t)need->weight_bytes;
    if (!para_cache_is_on(&pipe->cache)) return PARA_OK;
    const para_plan_subject s = {pipe, w->request, w->geometry, w->mesh, rank};
    double attention;
    return para_plan_steps(&s, &result->step_flops, &attention, &result->hit_step_flops);
}

/* The weights of the rank's holder: those that the request needs, or all. */
static para_status load(para_pipeline *pipe, para_rank *rank, bool everything) {
    const para_run run = run_of(pipe, rank);
    PARA_TRY(para_residency_check(pipe, rank, &pipe->work.need[para_local_rank(pipe, rank)]));
    para_status status = everything ? para_residency_load(pipe, rank, NULL, NULL)
                                    : para_residency_load(pipe, rank, &pipe->work.request, &run);
    if (status != PARA_OK) para_pipeline_unload(pipe, para_holder_of(pipe, rank));
    return status;
}

/* All ranks, with room for what that takes. */
static para_status meet(para_rank *rank) {
    PARA_TRY(para_device_let_grow(rank->device, true));
    PARA_TRY(para_comm_barrier(para_world_comm(rank)));
    return para_device_let_grow(rank->device, false);
}

/* First what all need to know, then each holder its weights. A CPU's are there for all when they meet again. */
static para_status prepare_and_load(para_pipeline *pipe, para_rank *rank, bool everything) {
    bool first = para_local_rank(pipe, rank) == 0, takes_part = everything || para_run_takes_part(pipe, &pipe->work.mesh, rank->index);
    PARA_TRY(prepare(pipe, rank));
    PARA_TRY(meet(rank));
    if (pipe->holders > 1) return takes_part ? load(pipe, rank, everything) : PARA_OK;
    if (first) PARA_TRY(load(pipe, rank, everything));
    return meet(rank);
}

static para_status load_on_rank(para_rank *rank, void *user) {
    return prepare_and_load(user, rank, true);
}

/* ---- Generating */

static para_status trace_nothing(void *user, const char *name, const para_tensor *tensor) {
    (void)user;
    (void)name;
    (void)tensor;
    return PARA_OK;
}

/* The leading rank traces; those with which it shares its items help to gather what it traces. */
static const para_trace *trace_of(const para_pipeline *pipe, const para_rank *rank) {
    static const para_trace nothing = {trace_nothing, NULL};
    if (rank->index == 0) return pipe->trace;
    return pipe->work.traced && rank->index < pipe->work.mesh.ring * pipe->work.mesh.ulysses ? &nothing : NULL;
}

static para_status generate_on_rank(para_rank *rank, void *user) {
    para_pipeline *pipe = user;
    para_work *w = &pipe->work;
    int local = para_local_rank(pipe, rank);
    para_run run = run_of(pipe, rank);
    PARA_TRY(prepare_and_load(pipe, rank, false));
    if (!para_run_takes_part(pipe, &w->mesh, rank->index)) return PARA_OK;
    PARA_TRY(para_device_reserve(rank->device, (size_t)w->need[local].arena_bytes));
    PARA_TRY(para_run_end(&run, PARA_STAGE_LOAD));
    if (!rank->device->ops->memory) para_run_progress(&run, PARA_STAGE_LOAD, 1, 1);
    rank->device->trace = trace_of(pipe, rank);
    rank->device->tunes = pipe->tuned;
    rank->device->attention = pipe->options.attention;
    para_status status = para_run_all(&run);
    rank->device->trace = NULL;
    return status;
}

static para_status generate(para_pipeline *pipe, bool traced, para_result *result) {
    pipe->work.traced = traced;
    pipe->work.result = result;
    return para_world_run_internal(pipe->world, generate_on_rank, pipe);
}

/* ---- The calls, as process 0 makes them and as the others take part */

static para_status lead_generate(para_pipeline *pipe, const para_request *request, para_result **out) {
    para_result *result = para_alloc(1, sizeof *result);
    para_call call = {.kind = PARA_CALL_GENERATE, .request = request, .traced = pipe->trace != NULL};
    para_status status = result ? decide(pipe, request) : PARA_ERR_MEMORY;
    if (status == PARA_OK) call.request = &pipe->work.request; /* filled in */
    status = para_call_begin(pipe, &call, status);
    if (status == PARA_OK) status = generate(pipe, call.traced, result);
    para_call_end(&call);
    if (status == PARA_OK) *out = result;
    else para_result_close(&result);
    return status;
}

/* Room is left for the default request. */
static para_status load_all(para_pipeline *pipe) {
    para_request request = PARA_REQUEST_INIT;
    request.prompt = "";
    if (pipe->wish.batch > 1) request.num_images = pipe->wish.batch; /* fewer would not fill the mesh */
    pipe->work.result = NULL;
    PARA_TRY(decide(pipe, &request));
    return para_world_run_internal(pipe->world, load_on_rank, pipe);
}

static para_status lead_load(para_pipeline *pipe) {
    para_call call = {.kind = PARA_CALL_LOAD};
    para_status status = para_call_begin(pipe, &call, PARA_OK);
    para_call_end(&call);
    return status == PARA_OK ? load_all(pipe) : status;
}

/* One call of process 0, whichever it is. `own`: the request of this process, or NULL. */
static para_status take_part(para_pipeline *pipe, const para_request *own, bool *heard) {
    para_call call = {.request = own};
    para_status status = para_call_begin(pipe, &call, PARA_OK);
    *heard = call.heard;
    if (status == PARA_OK && call.kind == PARA_CALL_CLOSE) pipe->left = true;
    if (status == PARA_OK && call.kind == PARA_CALL_LOAD) status = load_all(pipe);
    if (status == PARA_OK && call.kind == PARA_CALL_GENERATE) {
        status = decide(pipe, call.request);
        if (status == PARA_OK) status = generate(pipe, call.traced, NULL);
    }
    para_call_end(&call);
    return status;
}

static para_status take_part_once(para_pipeline *pipe, const para_request *own) {
    bool heard;
    PARA_TRY(take_part(pipe, own, &heard));
    if (pipe->left) return para_fail(PARA_ERR_STATE, "process 0 has closed the pipeline");
    return PARA_OK;
}

para_status para_pipeline_load(para_pipeline *pipe) {
    if (!pipe) return para_fail(PARA_ERR_ARGUMENT, "para_pipeline_load: the pipeline is NULL");
    PARA_TRY(take_world(pipe));
    para_status status = para_world_process(pipe->world) == 0 ? lead_load(pipe) : take_part_once(pipe, NULL);
    release_world(pipe);
    return status;
}

para_status para_generate(para_pipeline *pipe, const para_request *request, para_result **out) {
    if (!pipe || !out) return para_fail(PARA_ERR_ARGUMENT, "para_generate: the pipeline and out must not be NULL");
    *out = NULL;
    PARA_TRY(take_world(pipe));
    para_status status =
        para_world_process(pipe->world) == 0 ? lead_generate(pipe, request, out) : take_part_once(pipe, request);
    release_world(pipe);
    return status;
}

/* Until process 0 closes the pipeline, or cannot be heard any more. */
static para_status follow(para_pipeline *pipe) {
    while (!pipe->left) {
        bool heard = false;
        PARA_TRY(take_world(pipe));
        para_status status = take_part(pipe, NULL, &heard);
        release_world(pipe);
        if (status != PARA_OK && (!heard || pipe->world->lost)) return status;
    }
    return PARA_OK;
}

para_status para_pipeline_follow(para_pipeline *pipe) {
    if (!pipe) return para_fail(PARA_ERR_ARGUMENT, "para_pipeline_follow: the pipeline is NULL");
    if (para_world_process(pipe->world) == 0)
        return para_fail(PARA_ERR_ARGUMENT,
                         "para_pipeline_follow: process 0 leads; call para_generate there, and follow on the others");
    return follow(pipe);
}

void para_pipeline_say_goodbye(para_pipeline *pipe) {
    if (para_world_processes(pipe->world) == 1 || pipe->world->lost) return;
    if (para_world_process(pipe->world) != 0) {
        follow(pipe);
        return;
    }
    para_call call = {.kind = PARA_CALL_CLOSE};
    if (take_world(pipe) != PARA_OK) return;
    para_call_begin(pipe, &call, PARA_OK);
    para_call_end(&call);
    release_world(pipe);
}

void para_result_close(para_result **result) {
    if (!result || !*result) return;
    para_free((*result)->images.data);
    para_free((*result)->latents.data);
    para_free((void *)(*result)->cache_steps);
    para_free((void *)(*result)->step_ops);
    para_free(*result);
    *result = NULL;
}
