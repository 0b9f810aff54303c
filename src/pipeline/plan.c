/* Plans: the same run on a device that only counts. SPDX-License-Identifier: Apache-2.0 */
#include "pipeline/plan.h"

#include "backend/cuda_scratch.h"

#include "comm/links.h"
#include "core/alloc.h"
#include "core/error.h"
#include "parallel/world_state.h"
#include "pipeline/residency.h"

/* Resident memory of a process that uses the library beside weights, activations and results: code and constants of the libraries,
 * generated kernels, stacks. Measured for the program on tiny-flux, see bench/RESULTS.md. */
static const int64_t PROCESS_BYTES = 22 << 20;

/* A dry run under way. */
typedef struct dry_run {
    para_dry_result *out;
    para_timeline *timeline; /* or NULL */
    const para_group *group;
    int index;
} dry_run;

static void record_counts(para_run *run, para_stage stage) {
    dry_run *d = run->user;
    para_counts *c = para_dry_counts(run->rank->device);
    d->out->stage[stage] = *c;
    *c = (para_counts){0};
    if (d->timeline) d->out->time[stage] = para_timeline_take(d->timeline);
}

static para_rate link_to(const void *user, int rank) {
    const dry_run *d = user;
    return para_group_link(d->group, d->index, rank);
}

static para_status dry_instances(const para_run *run, para_instance *instance, int slots, para_dry_result *out) {
    const para_pipeline *pipe = run->pipe;
    for (int i = 0; i < pipe->num_components; i++) {
        bool transformer = i == pipe->family->transformer;
        if (!para_request_needs(pipe, run->request, i)) continue;
        para_placing placing = {.none = !para_run_uses(pipe, run->request, &run->mesh, run->rank->index, i), .slots = transformer ? slots : 0};
        PARA_TRY(para_instance_open(&instance[i], &pipe->component[i], run->rank->device, &pipe->options, placing));
        const para_weights *w = instance[i].weights;
        if (!w) continue;
        out->weight_bytes += out->file_bytes[i] = para_weights_bytes(w);
        out->device_bytes[i] = para_weights_device_bytes(w);
        if (!transformer) continue;
        out->slot_bytes = para_weights_slot_bytes(w);
        out->pinned_bytes = para_weights_pinned_bytes(w);
        out->blocks = para_weights_blocks(w);
    }
    return PARA_OK;
}

static para_status open_dry_rank(const para_pipeline *pipe, para_rank *out, para_dry_rank which) {
    para_device *device = NULL;
    para_endpoint *endpoint = NULL;
    para_status status = para_dry_open(&device);
    if (status == PARA_OK && which.size > 1) status = para_dry_endpoint_open(&endpoint, which.index, which.size);
    if (endpoint) {
        endpoint->host = para_group_host_list(pipe->world->group);
        endpoint->addressable = para_world_processes(pipe->world) == 1;
    }
    if (status == PARA_OK) {
        para_dry_stand_for(device, which.gpu ? PARA_CUDA : pipe->world->options.device);
        device->threads = which.like->threads;
        if (which.asks) device->check = which.asks->device->check, device->check_user = which.asks->device->check_user;
        status = para_rank_open(out, device, endpoint);
    }
    if (status == PARA_OK) {
        out->process_threads = which.like->process_threads;
        return PARA_OK;
    }
    if (endpoint) endpoint->transport->close(endpoint);
    para_device_close(&device);
    return status;
}

static void close_dry_rank(para_rank *rank) {
    para_endpoint *endpoint = rank->endpoint;
    para_rank_close(rank);
    if (endpoint) endpoint->transport->close(endpoint);
}

static para_status count_stage(void *user, const char *name, const para_tensor *t) {
    (void)name;
    *(int64_t *)user += para_tensor_count(t) * (int64_t)para_dtype_size(t->dtype);
    return PARA_OK;
}

para_status para_dry_run(para_pipeline *pipe, const para_request *request, const para_geometry *g,
                         const para_mesh *mesh, para_dry_rank which, para_dry_result *out) {
    *out = (para_dry_result){0};
    para_instance instance[PARA_MAX_COMPONENTS] = {0};
    para_rank rank;
    dry_run d = {.out = out, .group = pipe->world->group, .index = which.index};
    PARA_TRY(open_dry_rank(pipe, &rank, which));
    if (which.rates) {
        para_status opened = para_timeline_open(&d.timeline, which.rates, link_to, &d);
        if (opened != PARA_OK) {
            close_dry_rank(&rank);
            return opened;
        }
        para_timeline_watch(d.timeline, rank.device, rank.endpoint);
    }
    const para_trace stages = {count_stage, &out->stage_bytes};
    if (which.size == 1) rank.device->trace = &stages; /* others would exchange what they do not without it */
    para_run run = {.pipe = pipe,
                    .request = request,
                    .rank = &rank,
                    .instance = instance,
                    .dry = true,
                    .assume_hits = which.hits,
                    .geometry = *g,
                    .mesh = *mesh,
                    .stage_done = record_counts,
                    .user = &d};
    int slots = which.offload && !pipe->offload_slots ? PARA_OFFLOAD_SLOTS : pipe->offload_slots;
    para_status status = dry_instances(&run, instance, slots, out);
    if (status == PARA_OK) status = para_run_all(&run);
    if (status == PARA_OK && d.timeline) status = para_timeline_status(d.timeline);
    out->arena_bytes = (int64_t)rank.device->arena.peak;
    out->exchanged_bytes = run.exchanged_bytes;
    out->between_hosts_bytes = run.between_hosts_bytes;
    if (rank.endpoint) out->exchanged_messages = rank.endpoint->messages;
    for (int i = 0; i < pipe->num_components; i++) para_instance_close(&instance[i]);
    close_dry_rank(&rank);
    para_timeline_close(&d.timeline);
    return status;
}

static double flops(const para_counts *c) {
    return c->matmul_flops + c->attention_flops;
}

static const para_mesh alone = {1, 1, 1};

/* What one more step costs after the first `before`, on one rank: computed, or wherever it may hit the cache. */
static para_status one_more_step(const para_plan_subject *s, int before, bool hits, double *all, double *attention) {
    const para_dry_rank rank = {.size = 1, .like = s->like, .hits = hits};
    para_dry_result without, with;
    para_request r = s->request;
    r.sigmas = NULL;
    r.latents_only = true; /* decoding is the same in both */
    r.num_inference_steps = before;
    PARA_TRY(para_dry_run(s->pipe, &r, &s->geometry, &alone, rank, &without));
    r.num_inference_steps = before + 1;
    PARA_TRY(para_dry_run(s->pipe, &r, &s->geometry, &alone, rank, &with));
    const para_counts *a = &without.stage[PARA_STAGE_DENOISE], *b = &with.stage[PARA_STAGE_DENOISE];
    *all = flops(b) - flops(a);
    *attention = b->attention_flops - a->attention_flops;
    return PARA_OK;
}

para_status para_plan_steps(const para_plan_subject *s, double *step, double *attention, double *hit_step) {
    const para_cache_options *cache = &s->pipe->cache;
    double unused;
    *hit_step = 0;
    PARA_TRY(one_more_step(s, 1, false, step, attention));
    if (!para_cache_is_on(cache)) return PARA_OK;
    return one_more_step(s, cache->warmup_steps > 1 ? cache->warmup_steps : 1, true, hit_step, &unused);
}

/* What the request is on one rank. */
static para_status plan_flops(const para_plan_subject *s, para_plan *out) {
    const para_dry_rank rank = {.size = 1, .like = s->like};
    para_dry_result all;
    PARA_TRY(para_dry_run(s->pipe, &s->request, &s->geometry, &alone, rank, &all));
    PARA_TRY(para_plan_steps(s, &out->step_flops, &out->step_attention_flops, &out->hit_step_flops));
    out->text_flops = flops(&all.stage[PARA_STAGE_TEXT]);
    out->decode_flops = flops(&all.stage[PARA_STAGE_DECODE]);
    out->total_flops = out->text_flops + flops(&all.stage[PARA_STAGE_DENOISE]) + out->decode_flops;
    out->weight_bytes = all.weight_bytes;
    return PARA_OK;
}

int64_t para_plan_result_bytes(const para_request *r, const para_geometry *g) {
    int64_t frame = 3 * (int64_t)g->height * g->width, latents = para_geometry_tokens(g) * g->channels;
    int64_t frames = r->latents_only ? 0 : r->on_frame ? 1 : (int64_t)r->num_images * g->num_frames;
    return (frames * frame + 2 * r->num_images * latents) * (int64_t)sizeof(float);
}

int64_t para_plan_peak(const para_request *request, const para_geometry *g, int64_t weights, int64_t arenas) {
    return weights + arenas + para_plan_result_bytes(request, g) + PROCESS_BYTES;
}

/* The ranks that this process hosts. */
static para_status plan_memory(const para_plan_subject *s, para_plan *out) {
    const para_world *world = s->pipe->world;
    para_rank_plan *rank = para_alloc((size_t)para_world_size(world), sizeof *rank);
    if (!rank) return PARA_ERR_MEMORY;
    para_status status = para_plan_ranks(s, &s->mesh, NULL, rank);
    for (int i = 0; i < world->options.ranks; i++)
        out->arena_bytes += rank[world->worker[0].rank.index + i].arena_bytes;
    para_free(rank);
    out->result_bytes = para_plan_result_bytes(&s->request, &s->geometry);
    out->peak_bytes = para_plan_peak(&s->request, &s->geometry, out->weight_bytes, out->arena_bytes);
    return status;
}

/* What a GPU would have to have. */
static para_status plan_gpu(const para_plan_subject *s, para_plan *out) {
    para_dry_result dry;
    para_dry_rank rank = {.size = 1, .like = s->like, .gpu = true};
    PARA_TRY(para_dry_run(s->pipe, &s->request, &s->geometry, &alone, rank, &dry));
    out->gpu_resident_bytes = para_need_resident(s->pipe, &dry) + PARA_CUDA_CONTEXT_BYTES;
    out->gpu_in_turn_bytes = para_need_in_turn(s->pipe, &dry) + PARA_CUDA_CONTEXT_BYTES;
    rank.offload = true;
    PARA_TRY(para_dry_run(s->pipe, &s->request, &s->geometry, &alone, rank, &dry));
    out->gpu_offload_bytes = para_need_in_turn(s->pipe, &dry) + PARA_CUDA_CONTEXT_BYTES;
    out->pinned_bytes = dry.pinned_bytes;
    para_device *dev = s->like->device;
    if (!dev->ops->memory) return PARA_OK;
    para_device_memory m;
    PARA_TRY(dev->ops->memory(dev, &m));
    out->gpu_bytes = m.taken + m.available + PARA_CUDA_CONTEXT_BYTES;
    return PARA_OK;
}

para_status para_plan_subject_open(para_pipeline *pipe, const para_request *request, para_plan_subject *out) {
    *out = (para_plan_subject){.pipe = pipe};
    PARA_TRY(para_request_take(pipe, request, &out->request));
    out->like = &pipe->world->worker[0].rank;
    PARA_TRY(para_request_geometry(pipe, &out->request, &out->geometry));
    return para_request_mesh(pipe, &out->request, &out->geometry, &out->mesh);
}

para_status para_pipeline_plan(para_pipeline *pipe, const para_request *request, para_plan *out) {
    if (!out) return para_fail(PARA_ERR_ARGUMENT, "para_pipeline_plan: out is NULL");
    para_plan_subject s;
    PARA_TRY(para_plan_subject_open(pipe, request, &s));
    para_request_warn(pipe, &s.request);
    const para_geometry *g = &s.geometry;
    *out = (para_plan){.height = g->height,
                       .width = g->width,
                       .num_frames = g->num_frames,
                       .image_tokens = para_geometry_tokens(g),
                       .text_tokens = g->text_tokens,
                       .heads = g->heads,
                       .items = (int)para_request_items(pipe, &s.request),
                       .ranks = para_mesh_ranks(&s.mesh),
                       .batch = s.mesh.batch,
                       .ring = s.mesh.ring,
                       .ulysses = s.mesh.ulysses,
                       .hosts = para_world_hosts(pipe->world)};
    para_request_explain_mesh(pipe, &s.request, g, s.mesh, out->why_mesh, sizeof out->why_mesh);
    PARA_TRY(plan_flops(&s, out));
    PARA_TRY(plan_memory(&s, out));
    return plan_gpu(&s, out);
}
