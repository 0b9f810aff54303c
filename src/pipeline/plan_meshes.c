/* Plans of all meshes of a world's ranks. SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>
#include <string.h>

#include "core/alloc.h"
#include "core/error.h"
#include "parallel/mesh_hosts.h"
#include "pipeline/plan.h"

static void take_larger(int64_t *a, int64_t b) {
    if (b > *a) *a = b;
}

static void take_more(double *a, double b) {
    if (b > *a) *a = b;
}

static void take_rank(para_mesh_plan *p, const para_rank_plan *r) {
    if (para_plan_seconds(r) > p->step_seconds) {
        p->step_seconds = para_plan_seconds(r);
        p->compute_seconds = r->compute_seconds;
        p->exchange_seconds = r->exchange_seconds;
        p->overhead_seconds = r->overhead_seconds;
    }
    p->sent_bytes += r->step_bytes;
    p->host_bytes += r->step_host_bytes;
    take_more(&p->prepare_seconds, r->prepare_seconds);
    take_more(&p->most.step_flops, r->step_flops);
    take_more(&p->most.compute_seconds, r->compute_seconds);
    take_more(&p->most.overhead_seconds, r->overhead_seconds);
    take_more(&p->most.exchange_seconds, r->exchange_seconds);
    take_more(&p->most.prepare_seconds, r->prepare_seconds);
    take_larger(&p->most.image_tokens, r->image_tokens);
    take_larger(&p->most.text_tokens, r->text_tokens);
    take_larger(&p->most.step_bytes, r->step_bytes);
    take_larger(&p->most.step_host_bytes, r->step_host_bytes);
    take_larger(&p->most.step_messages, r->step_messages);
    take_larger(&p->most.arena_bytes, r->arena_bytes);
    take_larger(&p->most.weight_bytes, r->weight_bytes);
}

static int by_time(const void *a, const void *b) {
    const para_mesh_plan *p = a, *q = b;
    if (p->step_seconds != q->step_seconds) return p->step_seconds < q->step_seconds ? -1 : 1;
    return p->ulysses != q->ulysses ? q->ulysses - p->ulysses : q->batch - p->batch;
}

/* Rank by rank in `rank` [ranks]; the meshes to out [room]. */
static para_status plan_meshes(const para_plan_subject *s, const para_rates *rates, para_rank_plan *rank, int room,
                               para_mesh_plan *out, int *count) {
    int ranks = para_world_size(s->pipe->world);
    for (int batch = 1; batch <= ranks && batch <= para_request_items(s->pipe, &s->request); batch++) {
        for (int ring = 1; ring <= ranks / batch; ring++) {
            if (ranks % (batch * ring)) continue;
            para_mesh m = {batch, ring, ranks / (batch * ring)};
            if (*count == room)
                return para_fail(PARA_ERR_ARGUMENT,
                                 "para_pipeline_plan_meshes: there are more than %d meshes; make more room", room);
            PARA_TRY(para_plan_ranks(s, &m, rates, rank));
            para_mesh_plan *p = &out[(*count)++];
            *p = (para_mesh_plan){.batch = m.batch, .ring = m.ring, .ulysses = m.ulysses};
            p->chosen = memcmp(&m, &s->mesh, sizeof m) == 0;
            p->ulysses_in_hosts = para_mesh_axis_in_hosts(m, PARA_AXIS_ULYSSES, para_group_host_list(s->pipe->world->group));
            for (int i = 0; i < ranks; i++) take_rank(p, &rank[i]);
        }
    }
    qsort(out, (size_t)*count, sizeof *out, by_time);
    return PARA_OK;
}

static bool usable(double x, const para_rates *measured) {
    return (x > 0 && x < 1e30) || (x == 0 && measured->set);
}

/* The rates that a machine's fields and what was measured make. */
static para_status rates_of(const para_pipeline *pipe, const para_machine *machine, para_rates *out) {
    static const para_machine plain = PARA_MACHINE_INIT;
    *out = para_pipeline_rates(pipe);
    if (!machine && out->set) return PARA_OK;
    if (!machine) machine = &plain;
    if (machine->size != sizeof *machine || !usable(machine->flops, out) || !usable(machine->bandwidth, out) ||
        !(machine->latency >= 0))
        return para_fail(
            PARA_ERR_ARGUMENT,
            "para_pipeline_plan_meshes: a machine starts from PARA_MACHINE_INIT and has rates above 0, or 0 "
            "where para_use_machine has found measured ones");
    out->flops = machine->flops;
    if (machine->bandwidth > 0) {
        out->bandwidth = machine->bandwidth;
        out->latency = machine->latency;
    }
    return PARA_OK;
}

para_status para_pipeline_plan_meshes(para_pipeline *pipe, const para_request *request, const para_machine *machine,
                                      int room, para_mesh_plan *out, int *count) {
    para_rates rates;
    para_plan_subject s;
    if (!pipe || !out || !count)
        return para_fail(PARA_ERR_ARGUMENT, "para_pipeline_plan_meshes: pipe, out and count must not be NULL");
    *count = 0;
    PARA_TRY(rates_of(pipe, machine, &rates));
    PARA_TRY(para_plan_subject_open(pipe, request, &s));
    para_rank_plan *rank = para_alloc((size_t)para_world_size(pipe->world), sizeof *rank);
    if (!rank) return PARA_ERR_MEMORY;
    para_status status = plan_meshes(&s, &rates, rank, room, out, count);
    para_free(rank);
    return status;
}
