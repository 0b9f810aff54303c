/* Plans of many ranks: what each has to do, and how long it takes. SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "core/alloc.h"
#include "core/error.h"
#include "parallel/mesh_hosts.h"
#include "pipeline/plan.h"

enum { AXES = PARA_AXIS_TOKENS + 2 }; /* those of a mesh, and all its ranks together */

/* What the ranks of an axis that are on other hosts hold, and compute where their ulysses axis exchanges. */
typedef struct abroad {
    int64_t ranks, tokens[PARA_SEGMENTS], heads;
} abroad;

/* Ranks of a mesh with equal keys have the same to do. */
typedef struct rank_key {
    int64_t
        decodes; /* 0: rank 0, which encodes texts and decodes pictures; each its own where all decode tiles; else -1 */
    int64_t items;                 /* of its batch group */
    int64_t tokens[PARA_SEGMENTS]; /* that it holds */
    int64_t heads;                 /* that it computes where its ulysses axis exchanges */
    int64_t row, next;             /* tokens of its place on the ring, and of the rank after it */
    int64_t next_abroad;           /* whether that one is on another host */
    abroad axis[AXES];
} rank_key;

static int64_t even_share(int64_t total, int parts, int index) {
    return total / parts + (index < total % parts);
}

/* Whether two ranks are in one group of an axis. */
static bool share_axis(const para_mesh *m, int axis, int a, int b) {
    int tokens = m->ring * m->ulysses;
    switch (axis) {
    case PARA_AXIS_BATCH: return a % tokens == b % tokens;
    case PARA_AXIS_RING: return a / tokens == b / tokens && a % m->ulysses == b % m->ulysses;
    case PARA_AXIS_ULYSSES: return a / m->ulysses == b / m->ulysses;
    case PARA_AXIS_TOKENS: return a / tokens == b / tokens;
    default: return true;
    }
}

static abroad abroad_of(const para_plan_subject *s, const para_mesh *m, const para_layout *l, int index, int axis) {
    abroad all = {0};
    const int *host = para_group_host_list(s->pipe->world->group);
    for (int i = 0; i < para_mesh_ranks(m); i++) {
        if (host[i] == host[index] || !share_axis(m, axis, index, i)) continue;
        all.ranks++;
        all.heads += even_share(s->geometry.heads, m->ulysses, i % m->ulysses);
        for (int k = 0; k < PARA_SEGMENTS; k++) all.tokens[k] += para_layout_count(l, (para_segment)k, i % (m->ring * m->ulysses));
    }
    return all;
}

static rank_key key_of(const para_plan_subject *s, const para_mesh *m, const para_layout *l, int index) {
    if (index >= para_mesh_ranks(m)) return (rank_key){.decodes = index}; /* tiles, or it has nothing to do */
    int tokens = m->ring * m->ulysses, place = index % tokens, u = place % m->ulysses;
    rank_key k = {.decodes = index == 0 || s->pipe->parallel_vae ? index : -1,
                  .items = even_share(para_request_items(s->pipe, &s->request), m->batch, index / tokens),
                  .heads = even_share(s->geometry.heads, m->ulysses, u),
                  .row = para_layout_tokens(l, place - u, m->ulysses),
                  .next = para_layout_tokens(l, (place + m->ulysses) % tokens, 1)};
    for (int i = 0; i < PARA_SEGMENTS; i++) k.tokens[i] = para_layout_count(l, (para_segment)i, place);
    const int *host = para_group_host_list(s->pipe->world->group);
    k.next_abroad = host[index] != host[index - place + (place + m->ulysses) % tokens];
    for (int i = 0; i < AXES; i++) k.axis[i] = abroad_of(s, m, l, index, i);
    return k;
}

static double flops(const para_dry_result *d) {
    const para_counts *c = &d->stage[PARA_STAGE_DENOISE];
    return c->matmul_flops + c->attention_flops;
}

/* What a plan of ranks is for. */
typedef struct purpose {
    const para_rates *rates; /* times; or NULL */
    bool times_only;
} purpose;

/* What two steps take and one does not; what one takes besides. */
static void take_times(const para_times *one, const para_times *two, para_rank_plan *out) {
    out->compute_seconds = two->compute - one->compute;
    out->overhead_seconds = two->overhead - one->overhead;
    out->exchange_seconds = two->exposed - one->exposed;
    out->prepare_seconds = one->compute + one->overhead + one->exposed - para_plan_seconds(out);
}

/* A step is what two steps cost more than one. */
static para_status plan_rank(const para_plan_subject *s, const para_mesh *m, int index, purpose want, para_rank_plan *out) {
    if (!para_run_takes_part(s->pipe, m, index)) return PARA_OK;
    para_dry_rank rank = {.index = index, .size = para_world_size(s->pipe->world), .like = s->like};
    para_dry_result all = {0}, one, two;
    para_request r = s->request;
    if (!want.times_only) PARA_TRY(para_dry_run(s->pipe, &r, &s->geometry, m, rank, &all));
    r.sigmas = NULL;
    r.latents_only = true; /* decoding is the same in both */
    r.num_inference_steps = 1;
    rank.rates = want.rates;
    rank.gpu = want.rates && want.rates->set && want.rates->set->gpu;
    PARA_TRY(para_dry_run(s->pipe, &r, &s->geometry, m, rank, &one));
    r.num_inference_steps = 2;
    PARA_TRY(para_dry_run(s->pipe, &r, &s->geometry, m, rank, &two));
    out->step_flops = flops(&two) - flops(&one);
    out->step_bytes = two.exchanged_bytes - one.exchanged_bytes;
    out->step_host_bytes = two.between_hosts_bytes - one.between_hosts_bytes;
    out->step_messages = two.exchanged_messages - one.exchanged_messages;
    out->arena_bytes = all.arena_bytes;
    out->weight_bytes = all.weight_bytes;
    take_times(&one.time[PARA_STAGE_DENOISE], &two.time[PARA_STAGE_DENOISE], out);
    return PARA_OK;
}

static para_status open_layout(const para_plan_subject *s, const para_mesh *m, para_layout **out) {
    const para_geometry *g = &s->geometry;
    para_layout_options o = PARA_LAYOUT_OPTIONS_INIT;
    o.tokens[PARA_IMAGE] = para_geometry_tokens(g);
    o.tokens[PARA_TEXT] = g->text_tokens;
    return para_layout_open(out, m, &o);
}

static para_status plan_among_equals(const para_plan_subject *s, const para_mesh *m, const para_layout *l,
                                     rank_key *key, purpose want, para_rank_plan *out) {
    const int *host = para_group_host_list(s->pipe->world->group);
    for (int i = 0; i < para_world_size(s->pipe->world); i++) {
        int same = 0, place = i % (m->ring * m->ulysses);
        key[i] = key_of(s, m, l, i);
        while (memcmp(&key[same], &key[i], sizeof *key) != 0) same++;
        if (same < i) {
            out[i] = out[same];
            out[i].host = host[i];
            continue;
        }
        out[i] = (para_rank_plan){.host = host[i]};
        if (i < para_mesh_ranks(m)) {
            out[i].image_tokens = para_layout_count(l, PARA_IMAGE, place);
            out[i].text_tokens = para_layout_count(l, PARA_TEXT, place);
        }
        PARA_TRY(plan_rank(s, m, i, want, &out[i]));
    }
    return PARA_OK;
}

static para_status plan_all(const para_plan_subject *s, const para_mesh *m, purpose want, para_rank_plan *out) {
    para_layout *l;
    PARA_TRY(open_layout(s, m, &l));
    rank_key *key = para_alloc((size_t)para_world_size(s->pipe->world), sizeof *key);
    para_status status = key ? plan_among_equals(s, m, l, key, want, out) : PARA_ERR_MEMORY;
    para_free(key);
    para_layout_close(&l);
    return status;
}

para_status para_plan_ranks(const para_plan_subject *s, const para_mesh *m, const para_rates *rates, para_rank_plan *out) {
    return plan_all(s, m, (purpose){.rates = rates}, out);
}

para_status para_plan_step_seconds(const para_plan_subject *s, const para_mesh *m, const para_rates *rates, double *out) {
    const int ranks = para_world_size(s->pipe->world);
    para_rank_plan *rank = para_alloc((size_t)ranks, sizeof *rank);
    if (!rank) return PARA_ERR_MEMORY;
    para_status status = plan_all(s, m, (purpose){rates, true}, rank);
    *out = 0;
    for (int i = 0; i < ranks && status == PARA_OK; i++)
        if (para_plan_seconds(&rank[i]) > *out) *out = para_plan_seconds(&rank[i]);
    para_free(rank);
    return status;
}

para_status para_pipeline_plan_ranks(para_pipeline *pipe, const para_request *request, para_rank_plan *out) {
    para_plan_subject s;
    if (!out) return para_fail(PARA_ERR_ARGUMENT, "para_pipeline_plan_ranks: out is NULL");
    PARA_TRY(para_plan_subject_open(pipe, request, &s));
    return para_plan_ranks(&s, &s.mesh, NULL, out);
}
