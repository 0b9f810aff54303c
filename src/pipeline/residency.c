/* Which components lie on a device, and when. SPDX-License-Identifier: Apache-2.0 */
#include "pipeline/residency.h"

#include <stdio.h>

#include "core/clock.h"
#include "core/error.h"
#include "pipeline/load_sharing.h"

static para_stage stage_of(const para_pipeline *pipe, int component) {
    return pipe->family->components[component].stage;
}

int64_t para_need_resident(const para_pipeline *pipe, const para_dry_result *need) {
    int64_t bytes = need->arena_bytes;
    for (int i = 0; i < pipe->num_components; i++) bytes += need->device_bytes[i];
    return bytes;
}

int64_t para_need_in_turn(const para_pipeline *pipe, const para_dry_result *need) {
    int64_t stage[PARA_STAGES] = {0}, most = 0;
    for (int i = 0; i < pipe->num_components; i++) stage[stage_of(pipe, i)] += need->device_bytes[i];
    for (int i = 0; i < PARA_STAGES; i++) most = stage[i] > most ? stage[i] : most;
    return most + need->arena_bytes;
}

/* ---- Whether it fits */

static double gib(int64_t bytes) {
    return (double)bytes / 0x1p30;
}

/* The same request in another way. */
typedef struct variant {
    const char *options; /* what to add to the command line */
    bool offload, tiling;
    int divisor, frames_divisor; /* of width and height; of the frames */
} variant;

static para_status try_variant(para_pipeline *pipe, para_rank *rank, const variant *v, int64_t *bytes) {
    para_request r = pipe->work.request;
    para_geometry g;
    para_mesh mesh;
    para_dry_result dry;
    para_dry_rank which = {.index = rank->index, .size = rank->size, .like = rank, .asks = rank, .offload = v->offload};
    r.vae_tiling = r.vae_tiling || v->tiling;
    r.latents = NULL; /* of another size */
    const para_geometry *now = &pipe->work.geometry;
    r.width = now->width / v->divisor / now->size_unit * now->size_unit;
    r.height = now->height / v->divisor / now->size_unit * now->size_unit;
    if (v->frames_divisor > 1) r.num_frames = (now->num_frames - 1) / v->frames_divisor / now->frames_unit * now->frames_unit + 1;
    PARA_TRY(para_request_geometry(pipe, &r, &g));
    PARA_TRY(para_request_mesh(pipe, &r, &g, &mesh));
    PARA_TRY(para_dry_run(pipe, &r, &g, &mesh, which, &dry));
    *bytes = para_need_in_turn(pipe, &dry);
    return PARA_OK;
}

/* Text: what else would fit into `budget`. */
static void find_way_out(para_pipeline *pipe, para_rank *rank, int64_t budget, char *text, size_t room) {
    const bool offload = !pipe->offload_slots && rank->device->ops->copies, tiling = !pipe->work.request.vae_tiling;
    const variant variants[] = {
        {"--vae-tiling", false, true, 1, 1},
        {"--offload", true, false, 1, 1},
        {"--offload --vae-tiling", true, true, 1, 1},
        {"half the frames", false, false, 1, 2},
        {"half the width and height", false, false, 2, 1},
        {"--offload with half the width and height", true, false, 2, 1},
        {"--offload --vae-tiling with half the width and height", true, true, 2, 1},
        {"--offload --vae-tiling with half the width and height and a quarter of the frames", true, true, 2, 4},
    };
    snprintf(text, room, "it needs a GPU with more memory, or a smaller size");
    for (size_t i = 0; i < sizeof variants / sizeof *variants; i++) {
        const variant *v = &variants[i];
        int64_t bytes;
        if ((v->offload && !offload) || (v->tiling && !tiling)) continue;
        if (v->frames_divisor > 1 && pipe->work.geometry.frames_unit == 0) continue;
        if (try_variant(pipe, rank, v, &bytes) != PARA_OK || bytes > budget) continue;
        snprintf(text, room, "%s would do, which needs %.2f GiB", v->options, gib(bytes));
        return;
    }
}

static para_status too_little(para_pipeline *pipe, para_rank *rank, const para_dry_result *need, int64_t budget) {
    char way_out[200];
    int64_t weights = para_need_resident(pipe, need) - need->arena_bytes;
    find_way_out(pipe, rank, budget, way_out, sizeof way_out);
    para_clear_error();
    return para_fail(PARA_ERR_MEMORY,
                     "too little GPU memory: %.2f GiB are there for weights and activations%s, and the request needs %.2f GiB at least, "
                     "with text encoders, transformer and VAE there in turn (all weights %.2f GiB, activations %.2f GiB); %s",
                     gib(budget), rank->device->memory_limit ? " within the limit (--memory-limit)" : "", gib(para_need_in_turn(pipe, need)),
                     gib(weights), gib(need->arena_bytes), way_out);
}

static para_status check_host(para_pipeline *pipe, const para_dry_result *need) {
    int64_t limit = pipe->world->options.memory_limit, peak, arenas = 0;
    if (limit == 0) return PARA_OK;
    for (int i = 0; i < pipe->world->options.ranks; i++) arenas += pipe->work.need[i].arena_bytes;
    peak = para_plan_peak(&pipe->work.request, &pipe->work.geometry, need->weight_bytes, arenas);
    if (peak <= limit) return PARA_OK;
    return para_fail(PARA_ERR_MEMORY,
                     "the request would take %.2f GiB of memory (weights %.2f, activations %.2f), more than the limit (--memory-limit) of %.2f "
                     "GiB; take a smaller size, %sor a higher limit",
                     gib(peak), gib(need->weight_bytes), gib(arenas), gib(limit),
                     pipe->work.request.vae_tiling ? "" : "--vae-tiling, ");
}

para_status para_residency_check(para_pipeline *pipe, para_rank *rank, const para_dry_result *need) {
    para_device *dev = rank->device;
    para_device_memory m;
    if (!dev->ops->memory) return check_host(pipe, need);
    PARA_TRY(dev->ops->memory(dev, &m));
    int64_t budget = m.taken + m.available;
    if (para_need_in_turn(pipe, need) > budget) return too_little(pipe, rank, need, budget);
    /* An arena of a larger request before is in the way, or may stay. */
    if ((int64_t)dev->arena.size > need->arena_bytes &&
        para_need_resident(pipe, need) - need->arena_bytes + (int64_t)dev->arena.size > budget)
        para_device_drop_arena(dev);
    if (para_need_resident(pipe, need) <= budget) return PARA_OK;
    para_pipeline_log(pipe, PARA_LOG_INFO,
                      "text encoders, transformer and VAE take turns on the GPU: together they need %.2f GiB, and %.2f GiB are there",
                      gib(para_need_resident(pipe, need)), gib(budget));
    return PARA_OK;
}

/* ---- Coming and leaving */

/* What is needed of a device, where nothing is loaded yet. */
static const para_dry_result *need_of(const para_pipeline *pipe, const para_rank *rank) {
    return &pipe->work.need[para_local_rank(pipe, rank)];
}

/* Bytes that may still be taken once there is room for the arena. */
static para_status room_left(const para_pipeline *pipe, para_rank *rank, int64_t *out) {
    para_device_memory m;
    int64_t arena = need_of(pipe, rank)->arena_bytes - (int64_t)rank->device->arena.size;
    PARA_TRY(rank->device->ops->memory(rank->device, &m));
    *out = m.available - (arena > 0 ? arena : 0);
    return PARA_OK;
}

/* Blocks of an offloaded transformer that stay, as far as there is room when all else is there, too: then fewer are fetched at each step. */
static para_status choose_kept(const para_pipeline *pipe, para_rank *rank, para_load_wish *wish) {
    const para_dry_result *need = need_of(pipe, rank);
    para_device_memory m;
    if (!pipe->offload_slots || !wish->component[pipe->family->transformer]) return PARA_OK;
    PARA_TRY(rank->device->ops->memory(rank->device, &m));
    int64_t left = m.taken + m.available - para_need_resident(pipe, need), slot = need->slot_bytes / pipe->offload_slots;
    wish->kept = left > 0 && slot > 0 ? (int)(left / slot < need->blocks ? left / slot : need->blocks) : 0;
    return PARA_OK;
}

/* with: the ranks that load it together (size 0: it is alone). kept: of an offloaded transformer. */
static para_status open_component(para_pipeline *pipe, para_rank *rank, int i, para_comm *with, int kept) {
    para_instance *instance = &para_holder_of(pipe, rank)->instance[i];
    bool offloaded = i == pipe->family->transformer && pipe->offload_slots;
    PARA_TRY(para_rank_check(rank));
    para_instance_close(instance);
    return para_instance_open(instance, &pipe->component[i], rank->device, &pipe->options,
                              (para_placing){.slots = offloaded ? pipe->offload_slots : 0, .kept = kept, .sharing = para_load_sharing(with)});
}

/* Models that the request (NULL: any) needs and of which this rank asks sizes alone. */
static para_status open_others(para_pipeline *pipe, para_rank *rank, const para_request *request) {
    para_instance *instance = para_holder_of(pipe, rank)->instance;
    for (int i = 0; i < pipe->num_components; i++)
        if (!instance[i].model && (!request || para_request_needs(pipe, request, i)))
            PARA_TRY(para_instance_open(&instance[i], &pipe->component[i], rank->device, &pipe->options, (para_placing){.none = true}));
    return PARA_OK;
}

/* Progress of a load, in MB. */
typedef struct loading {
    const para_run *run;
    int64_t bytes, total;
} loading;

static void show_load(void *user, int64_t bytes) {
    loading *l = user;
    int before = (int)(l->bytes >> 20), total = (int)(l->total >> 20) + 1, done = (int)((l->bytes += bytes) >> 20);
    if (done > before && done < total) para_run_progress(l->run, PARA_STAGE_LOAD, done, total);
}

/* Opens those that it wishes, each with those ranks, telling the request how far it is. */
static para_status open_all(para_pipeline *pipe, para_rank *rank, const para_run *run, const para_load_wish *wish, para_comm *with) {
    para_device *dev = rank->device;
    loading l = {.run = run};
    para_status status = PARA_OK;
    for (int i = 0; i < pipe->num_components; i++)
        if (wish->component[i]) l.total += need_of(pipe, rank)->file_bytes[i];
    if (run && dev->ops->memory && l.total > 0) {
        dev->on_load = show_load, dev->load_user = &l;
        para_run_progress(run, PARA_STAGE_LOAD, 0, (int)(l.total >> 20) + 1);
    }
    for (int i = 0; i < pipe->num_components && status == PARA_OK; i++)
        if (wish->component[i]) status = open_component(pipe, rank, i, &with[i], wish->kept);
    dev->on_load = NULL;
    if (status == PARA_OK && para_holder_of(pipe, rank) == pipe->holder) status = pipe->family->load(pipe); /* tokenizers */
    if (status == PARA_OK && run && dev->ops->memory && l.total > 0) {
        int total = (int)(l.total >> 20) + 1;
        para_run_progress(run, PARA_STAGE_LOAD, total, total);
    }
    return status;
}

para_status para_residency_load(para_pipeline *pipe, para_rank *rank, const para_request *request, const para_run *run) {
    const para_holder *holder = para_holder_of(pipe, rank);
    para_load_wish wish = {0};
    int64_t left = INT64_MAX;
    PARA_TRY(para_rank_check(rank));
    if (rank->device->ops->memory) PARA_TRY(room_left(pipe, rank, &left));
    for (int i = 0; i < pipe->num_components; i++) {
        int64_t bytes = need_of(pipe, rank)->device_bytes[i];
        if (holder->instance[i].weights || !para_run_uses(pipe, request, &pipe->work.mesh, rank->index, i)) continue;
        wish.later[i] = bytes > left;
        wish.component[i] = !wish.later[i];
        if (wish.component[i]) left -= bytes;
    }
    PARA_TRY(choose_kept(pipe, rank, &wish));
    para_comm with[PARA_MAX_COMPONENTS] = {0};
    int ranks = request ? para_run_ranks(pipe, &pipe->work.mesh, PARA_STAGE_LOAD) : PARA_MAX_RANKS;
    PARA_TRY(para_load_together(pipe, rank, ranks, &wish, with));
    PARA_TRY(open_all(pipe, rank, run, &wish, with));
    return open_others(pipe, rank, request);
}

/* The component that is there, has at least so many bytes, is not of the stage, and is needed again last; -1: there is none. */
static int last_needed(const para_pipeline *pipe, const para_holder *holder, para_stage now, int64_t least) {
    int found = -1, farthest = 0;
    for (int i = 0; i < pipe->num_components; i++) {
        int distance = ((int)stage_of(pipe, i) - (int)now + PARA_STAGES - 1) % (PARA_STAGES - 1); /* loading is not one of the circle */
        if (!holder->instance[i].weights || distance <= farthest || para_weights_device_bytes(holder->instance[i].weights) < least) continue;
        found = i;
        farthest = distance;
    }
    return found;
}

/* Closes what makes room for `bytes`: one that suffices, where there is one. */
static para_status make_room(para_pipeline *pipe, para_rank *rank, para_stage stage, int64_t bytes) {
    para_holder *holder = para_holder_of(pipe, rank);
    int64_t left;
    PARA_TRY(room_left(pipe, rank, &left));
    while (bytes > left) {
        int victim = last_needed(pipe, holder, stage, bytes - left);
        if (victim < 0) victim = last_needed(pipe, holder, stage, 0);
        if (victim < 0) return PARA_OK; /* others have taken memory meanwhile: loading says so where it does not fit */
        para_instance_close(&holder->instance[victim]);
        PARA_TRY(room_left(pipe, rank, &left));
    }
    return PARA_OK;
}

static para_status enter(para_run *run, para_stage stage) {
    para_pipeline *pipe = run->pipe;
    para_holder *holder = para_holder_of(pipe, run->rank);
    const para_dry_result *need = need_of(pipe, run->rank);
    const int ranks = para_run_ranks(pipe, &run->mesh, stage);
    bool lacks[PARA_MAX_COMPONENTS] = {0};
    para_load_wish wish = {0};
    para_comm with[PARA_MAX_COMPONENTS] = {0};
    int64_t bytes = 0;
    for (int i = 0; i < pipe->num_components; i++)
        lacks[i] = stage_of(pipe, i) == stage && !holder->instance[i].weights && para_run_uses(pipe, run->request, &run->mesh, run->rank->index, i);
    PARA_TRY(para_load_lacking(pipe, run->rank, ranks, lacks));
    for (int i = 0; i < pipe->num_components; i++) {
        if (!lacks[i]) continue;
        para_instance_close(&holder->instance[i]); /* who has it gets it again with those who wait for it: it is read, and pinned, once */
        wish.component[i] = true;
        bytes += need->device_bytes[i];
    }
    if (bytes == 0) return PARA_OK;
    PARA_TRY(make_room(pipe, run->rank, stage, bytes));
    PARA_TRY(choose_kept(pipe, run->rank, &wish));
    PARA_TRY(para_load_together(pipe, run->rank, ranks, &wish, with));
    return open_all(pipe, run->rank, run, &wish, with);
}

para_status para_run_enter(para_run *run, para_stage stage) {
    if (run->dry || !run->rank->device->ops->memory) return PARA_OK;
    run->stage_start = para_seconds();
    double start = run->stage_start;
    PARA_TRY(enter(run, stage));
    if (run->result) run->result->load_seconds += para_seconds() - start;
    return PARA_OK;
}
