/* Plans: the same run on a device that only counts. SPDX-License-Identifier: Apache-2.0 */
#include "pipeline/plan.h"

#include "core/error.h"

/* Resident memory of a process that uses the library beside weights, activations and results: code and constants of the libraries,
 * generated kernels, stacks. Measured for the program on tiny-flux, see bench/RESULTS.md. */
static const int64_t PROCESS_BYTES = 22 << 20;

static void record_counts(para_run *run, para_stage stage) {
    para_dry_result *out = run->user;
    para_counts *c = para_dry_counts(run->rank->device);
    out->stage[stage] = *c;
    *c = (para_counts){0};
}

static para_status dry_instances(para_pipeline *pipe, para_device *dev, para_instance *instance,
                                 int64_t *weight_bytes) {
    for (int i = 0; i < pipe->num_components; i++) {
        PARA_TRY(para_instance_open(&instance[i], &pipe->component[i], dev, pipe->options.dtype));
        *weight_bytes += para_weights_bytes(instance[i].weights);
    }
    return PARA_OK;
}

static para_status open_dry_rank(para_rank *out, para_dry_rank which) {
    para_device *device = NULL;
    para_endpoint *endpoint = NULL;
    para_status status = para_dry_open(&device);
    if (status == PARA_OK && which.size > 1) status = para_dry_endpoint_open(&endpoint, which.index, which.size);
    if (status == PARA_OK) {
        device->threads = which.like->threads;
        device->check = which.like->device->check;
        device->check_user = which.like->device->check_user;
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

para_status para_dry_run(para_pipeline *pipe, const para_request *request, const para_geometry *g,
                         const para_mesh *mesh, para_dry_rank which, para_dry_result *out) {
    *out = (para_dry_result){0};
    para_instance instance[PARA_MAX_COMPONENTS] = {0};
    para_rank rank;
    PARA_TRY(open_dry_rank(&rank, which));
    para_run run = {.pipe = pipe,
                    .request = request,
                    .rank = &rank,
                    .instance = instance,
                    .dry = true,
                    .geometry = *g,
                    .mesh = *mesh,
                    .stage_done = record_counts,
                    .user = out};
    para_status status = dry_instances(pipe, rank.device, instance, &out->weight_bytes);
    if (status == PARA_OK) status = para_run_all(&run);
    out->arena_bytes = (int64_t)rank.device->arena.peak;
    out->exchanged_bytes = run.exchanged_bytes;
    for (int i = 0; i < pipe->num_components; i++) para_instance_close(&instance[i]);
    close_dry_rank(&rank);
    return status;
}

static double flops(const para_counts *c) {
    return c->matmul_flops + c->attention_flops;
}

/* The step alone: what two steps cost more than one. */
static para_status step_counts(para_pipeline *pipe, const para_request *request, const para_geometry *g, double *all,
                               double *attention) {
    static const para_mesh alone = {1, 1, 1};
    para_dry_rank rank = {0, 1, &pipe->world->worker[0].rank};
    para_dry_result one, two;
    para_request r = *request;
    r.sigmas = NULL;
    r.num_inference_steps = 1;
    PARA_TRY(para_dry_run(pipe, &r, g, &alone, rank, &one));
    r.num_inference_steps = 2;
    PARA_TRY(para_dry_run(pipe, &r, g, &alone, rank, &two));
    const para_counts *a = &one.stage[PARA_STAGE_DENOISE], *b = &two.stage[PARA_STAGE_DENOISE];
    *all = flops(b) - flops(a);
    *attention = b->attention_flops - a->attention_flops;
    return PARA_OK;
}

para_status para_pipeline_plan(para_pipeline *pipe, const para_request *request, para_plan *out) {
    if (!out) return para_fail(PARA_ERR_ARGUMENT, "para_pipeline_plan: out is NULL");
    *out = (para_plan){0};
    PARA_TRY(para_request_check(pipe, request));
    para_request_warn(pipe, request);
    para_geometry geometry, *g = &geometry;
    para_mesh mesh;
    para_dry_result dry;
    PARA_TRY(pipe->family->geometry(pipe, request, g));
    PARA_TRY(para_request_mesh(pipe, request, g, &mesh));
    PARA_TRY(para_dry_run(pipe, request, g, &mesh, (para_dry_rank){0, para_world_size(pipe->world), &pipe->world->worker[0].rank}, &dry));
    PARA_TRY(step_counts(pipe, request, g, &out->step_flops, &out->step_attention_flops));
    int64_t n = request->num_images, pixels = 3 * (int64_t)g->height * g->width,
            tokens = g->frames * g->grid_h * g->grid_w;
    out->height = g->height;
    out->width = g->width;
    out->image_tokens = tokens;
    out->text_tokens = g->text_tokens;
    out->items = (int)para_request_items(request);
    out->text_flops = flops(&dry.stage[PARA_STAGE_TEXT]);
    out->decode_flops = flops(&dry.stage[PARA_STAGE_DECODE]);
    out->total_flops = out->text_flops + flops(&dry.stage[PARA_STAGE_DENOISE]) + out->decode_flops;
    out->weight_bytes = dry.weight_bytes;
    out->arena_bytes = dry.arena_bytes;
    out->result_bytes = n * (pixels + 2 * tokens * g->channels) * (int64_t)sizeof(float);
    out->peak_bytes = out->weight_bytes + out->arena_bytes + out->result_bytes + PROCESS_BYTES;
    return PARA_OK;
}
