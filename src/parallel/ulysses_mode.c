/* Ulysses: every rank gives its tokens of most heads away and gets all tokens of some heads; and back. arXiv:2309.14509. SPDX-License-Identifier: Apache-2.0
 *
 * Unified is the same with a ring as the inner attention (arXiv:2405.07719): "all tokens" are then those of the ranks of the ulysses axis. */
#include "comm/rank.h"
#include "core/error.h"
#include "parallel/attention_job.h"
#include "parallel/exchange_parts.h"
#include "parallel/mask_kind.h"
#include "parallel/ring_mode.h"

typedef struct head_run {
    int64_t first, count;
} head_run;

/* Heads that are exchanged and computed together. */
typedef struct head_group {
    para_attention_job inner;
    para_exchange there[PARA_OPERANDS][PARA_SEGMENTS], back[PARA_SEGMENTS], back_lse[PARA_SEGMENTS];
} head_group;

typedef struct ulysses {
    para_parts queries, keys;
    bool by_rank;    /* "all tokens" are one rank's after the other's, which nobody can tell from the order of the layout */
    bool by_segment; /* segments move one by one */
    int64_t key_heads, shared; /* of all ranks; query heads of each */
    para_attention_mode ring;  /* inside, where there is one */
    para_mask_gather columns;  /* of the mask */
    para_tensor local_mask;    /* [B | 1, H | 1, own queries, keys]: rows to exchange, or none */
    para_tensor mask;          /* [B | 1, own heads | 1, queries of all parts | 1, keys] */
    para_exchange rows[PARA_SEGMENTS];
    para_tensor whole[PARA_OPERANDS],
        whole_out; /* all heads and all tokens, of which own heads and own tokens are used; or none */
    para_tensor *send, *receive; /* [PARA_OPERANDS, ranks]: views of operands that go together */
    int groups;
    head_group *group; /* [groups] */
} ulysses;

enum { ALL_GROUPS = -1 };

/* The i-th of `parts` parts of n, the first ones one more. */
static head_run share(int64_t n, int parts, int i) {
    int64_t rest = n % parts;
    return (head_run){n / parts * i + (i < rest ? i : rest), n / parts + (i < rest)};
}

/* Key heads that a rank computes in a group. */
static head_run heads_of(const ulysses *u, int rank, int group) {
    head_run own = share(u->key_heads, u->queries.comm.size, rank);
    if (group == ALL_GROUPS) return own;
    head_run part = share(own.count, u->groups, group);
    return (head_run){own.first + part.first, part.count};
}

/* Tokens that are exchanged at once: rows of what a rank holds, and of "all tokens". */
typedef struct token_run {
    int64_t here, there, count;
} token_run;

/* All that rank i holds, where "all tokens" are by rank. */
static token_run tokens_of_rank(const para_parts *p, int i) {
    token_run run = {0, 0, para_span_tokens(&p->part[i])};
    for (int before = 0; before < i; before++) run.there += para_span_tokens(&p->part[before]);
    return run;
}

/* Whether segments need not be told apart. */
static bool joined(const ulysses *u) {
    return u->by_rank && !u->by_segment;
}

/* The s-th run of rank i: its tokens of a segment, or all that it holds. */
static token_run tokens_of(const ulysses *u, const para_parts *p, int i, int s) {
    const para_span *part = &p->part[i];
    if (joined(u)) return tokens_of_rank(p, i);
    int64_t here = para_span_row(part, part, s);
    return (token_run){here, u->by_rank ? tokens_of_rank(p, i).there + here : para_span_row(&p->all, part, s), part->count[s]};
}

static int runs(const ulysses *u) {
    return joined(u) ? 1 : PARA_SEGMENTS;
}

/* Whether nobody has tokens of the s-th run. */
static bool is_empty(const ulysses *u, const para_parts *p, int s) {
    return !joined(u) && p->all.count[s] == 0;
}

/* Between `local` [B, all heads, own tokens, …] and `whole` [B, own heads, tokens of all parts, …], there or back.
 * heads: of x for each key head; 0: x has one head for all. */
typedef struct crossing {
    const para_parts *parts;
    para_tensor local, whole;
    int64_t heads;
    bool back;
} crossing;

/* The views of run s for every rank: send, receive [ranks]. */
static void lay_out(const ulysses *u, const crossing *c, int group, int s, para_tensor *send, para_tensor *receive) {
    const para_parts *p = c->parts;
    token_run own = tokens_of(u, p, p->comm.index, s);
    for (int i = 0; i < p->comm.size; i++) {
        head_run run = heads_of(u, i, group);
        token_run its = tokens_of(u, p, i, s);
        para_tensor here = c->heads ? para_slice(c->local, 1, run.first * c->heads, run.count * c->heads) : c->local;
        here = para_slice(here, 2, own.here, own.count);
        para_tensor there = para_slice(c->whole, 2, its.there, its.count);
        send[i] = c->back ? there : here;
        receive[i] = c->back ? here : there;
    }
}

static para_status exchange(const ulysses *u, const crossing *c, int group, para_exchange x[PARA_SEGMENTS]) {
    const para_parts *p = c->parts;
    for (int s = runs(u) - 1; s >= 0; s--) { /* what is used first, first */
        if (is_empty(u, p, s)) continue;
        lay_out(u, c, group, s, p->send, p->receive);
        PARA_TRY(para_comm_all_to_all(p->comm, p->send, p->receive, &x[s]));
    }
    return PARA_OK;
}

static para_status wait_all(para_exchange x[PARA_SEGMENTS]) {
    for (int s = 0; s < PARA_SEGMENTS; s++) PARA_TRY(para_comm_wait(&x[s]));
    return PARA_OK;
}

/* Key padding gets the columns of the other ranks. Masks with rows have them, and their heads, exchanged as those of queries. One row for all queries is
 * where it is needed. */
static para_status begin_mask(ulysses *u, const para_attention_args *a, para_mask_kind kind) {
    if (kind == PARA_MASK_NONE) return PARA_OK;
    PARA_TRY(para_mask_gather_open(&u->columns, &u->keys, a->mask, kind == PARA_MASK_KEYS));
    para_tensor m = u->columns.mask;
    int64_t heads = a->mask.dim[1] > 1 ? u->shared : 0;
    head_run own = heads_of(u, u->queries.comm.index, ALL_GROUPS);
    if (kind != PARA_MASK_ROWS) {
        u->mask = heads ? para_slice(m, 1, own.first * heads, own.count * heads) : m;
        return PARA_OK;
    }
    if (m.dim[2] == 1) m.stride[2] = 0;
    m.dim[2] = para_span_tokens(para_parts_own(&u->queries));
    u->local_mask = m;
    return PARA_NEW(u->queries.comm.rank->device, &u->mask, m.dtype, m.dim[0], heads ? own.count * heads : 1,
                    para_span_tokens(&u->queries.all), m.dim[3]);
}

/* The attention that a group's heads need, of all tokens; its operands get room where the exchange puts them. */
static para_status begin_group(ulysses *u, para_attention_job *job, int g) {
    const para_attention_args *a = &job->args;
    para_rank *rank = u->queries.comm.rank;
    head_run all = heads_of(u, u->queries.comm.index, ALL_GROUPS), run = heads_of(u, u->queries.comm.index, g);
    int64_t b = a->q.dim[0], heads = run.count * u->shared, sq = para_span_tokens(&u->queries.all),
            skv = para_span_tokens(&u->keys.all);
    para_attention_args inner = *a;
    inner.q = para_tensor_make(NULL, a->q.dtype, 4, (int64_t[]){b, heads, sq, a->q.dim[3]});
    inner.k = para_tensor_make(NULL, a->k.dtype, 4, (int64_t[]){b, run.count, skv, a->k.dim[3]});
    inner.v = para_tensor_make(NULL, a->v.dtype, 4, (int64_t[]){b, run.count, skv, a->v.dim[3]});
    inner.out = para_tensor_make(NULL, a->out.dtype, 4, (int64_t[]){b, heads, sq, a->v.dim[3]});
    for (int o = 0; o < PARA_OPERANDS; o++) {
        int64_t shared = o == PARA_QUERY ? u->shared : 1;
        if (u->whole[o].data)
            *para_attention_operand(&inner, (para_operand)o) =
                para_slice(u->whole[o], 1, run.first * shared, run.count * shared);
    }
    if (u->whole_out.data) inner.out = para_slice(u->whole_out, 1, run.first * u->shared, heads);
    inner.mask = u->mask;
    if (u->mask.data && a->mask.dim[1] > 1)
        inner.mask = para_slice(u->mask, 1, (run.first - all.first) * u->shared, heads);
    if (a->lse.data) PARA_TRY(PARA_NEW(rank->device, &inner.lse, PARA_F32, b, heads, sq));
    para_attention_job *below = &u->group[g].inner;
    if (!u->ring.begin) return para_attention_begin_below(rank, job, &inner, below);
    *below = (para_attention_job){.args = inner, .mode = &u->ring, .depth = job->depth};
    return u->ring.begin(rank, below);
}

static para_status begin_groups(ulysses *u, para_attention_job *job, int wanted) {
    int64_t most = share(u->key_heads, u->queries.comm.size, 0).count; /* key heads of a rank */
    void *groups;
    u->groups = wanted < 1 || most < 1 ? 1 : wanted < most ? wanted : (int)most;
    size_t together = (size_t)(PARA_OPERANDS * u->queries.comm.size);
    void *views;
    PARA_TRY(para_rank_scratch(u->queries.comm.rank, (size_t)u->groups * sizeof *u->group, &groups));
    PARA_TRY(para_rank_scratch(u->queries.comm.rank, 2 * together * sizeof *u->send, &views));
    u->group = groups;
    u->send = views;
    u->receive = u->send + together;
    for (int g = 0; g < u->groups; g++) PARA_TRY(begin_group(u, job, g));
    return PARA_OK;
}

/* What the caller leaves to the mode gets room where own heads' own tokens lie at once where attention reads and writes them: they need not be moved. */
static para_status room_by_rank(ulysses *u, para_attention_args *a) {
    para_device *dev = u->queries.comm.rank->device;
    const int own = u->queries.comm.index;
    for (int o = 0; o < PARA_OPERANDS; o++) {
        const para_parts *p = o == PARA_QUERY ? &u->queries : &u->keys;
        para_tensor *t = para_attention_operand(a, (para_operand)o);
        token_run run = tokens_of_rank(p, own);
        if (t->data) continue;
        PARA_TRY(PARA_NEW(dev, &u->whole[o], t->dtype, t->dim[0], t->dim[1], para_span_tokens(&p->all), t->dim[3]));
        *t = para_slice(u->whole[o], 2, run.there, run.count);
    }
    if (a->out.data) return PARA_OK;
    const int64_t *out = a->out.dim;
    token_run run = tokens_of_rank(&u->queries, own);
    para_tensor rows;
    PARA_TRY(PARA_NEW(dev, &rows, a->out.dtype, out[0], para_span_tokens(&u->queries.all), out[1], out[3]));
    u->whole_out = PARA_PERMUTE(rows, 0, 2, 1, 3);
    a->out = para_slice(u->whole_out, 2, run.there, run.count);
    return PARA_OK;
}

static para_status unified_begin(para_rank *rank, para_attention_job *job) {
    const para_attention_mode *m = job->mode;
    const para_layout *kv_layout = m->kv_layout ? m->kv_layout : m->layout;
    para_attention_args *a = &job->args;
    para_comm comm = para_mesh_comm(rank, m->mesh, PARA_AXIS_ULYSSES);
    int place = para_mesh_comm(rank, m->mesh, PARA_AXIS_TOKENS).index - comm.index;
    void *state;
    PARA_TRY(para_rank_scratch(rank, sizeof(ulysses), &state));
    ulysses *u = job->state = state;
    PARA_TRY(para_parts_open(&u->queries, comm, m->layout, place, 1));
    PARA_TRY(para_parts_open(&u->keys, comm, kv_layout, place, 1));
    PARA_TRY(para_parts_check(&u->queries, a->q.dim[2], "queries"));
    PARA_TRY(para_parts_check(&u->keys, a->k.dim[2], "keys"));
    para_mask_kind kind;
    PARA_TRY(para_mask_kind_of(rank, m, a, &kind));
    if (para_mesh_size(m->mesh, PARA_AXIS_RING) > 1)
        u->ring = para_ring_of_groups(m->mesh, m->layout, kv_layout, kind == PARA_MASK_KEYS);
    if (comm.size == 1 && u->ring.begin) {
        job->mode = &u->ring;
        return u->ring.begin(rank, job);
    }
    if (comm.size == 1) return para_attention_hand_down(rank, job, job->depth);
    u->key_heads = a->k.dim[1];
    u->shared = u->key_heads ? a->q.dim[1] / u->key_heads : 0;
    u->by_rank = kind == PARA_MASK_NONE && !a->causal && job->depth == 0;
    if (u->by_rank) PARA_TRY(room_by_rank(u, a));
    PARA_TRY(para_attention_room(rank, a));
    PARA_TRY(begin_mask(u, a, kind));
    return begin_groups(u, job, m->head_groups);
}

static para_status ulysses_begin(para_rank *rank, para_attention_job *job) {
    int ring = para_mesh_size(job->mode->mesh, PARA_AXIS_RING);
    if (ring == 1) return unified_begin(rank, job);
    return para_fail(PARA_ERR_ARGUMENT, "Ulysses attention on a mesh with a ring of %d ranks: use para_unified_mode",
                     ring);
}

static para_status put_mask_rows(ulysses *u) {
    crossing rows = {.parts = &u->queries, .local = u->local_mask, .whole = u->mask, .heads = u->local_mask.dim[1] > 1 ? u->shared : 0};
    return exchange(u, &rows, ALL_GROUPS, u->rows);
}

/* An operand of a group, to where its heads are computed. */
static crossing there(const ulysses *u, para_attention_job *job, int group, para_operand o) {
    return (crossing){.parts = o == PARA_QUERY ? &u->queries : &u->keys,
                      .local = *para_attention_operand(&job->args, o),
                      .whole = *para_attention_operand(&u->group[group].inner.args, o),
                      .heads = o == PARA_QUERY ? u->shared : 1};
}

static para_status ulysses_put(para_rank *rank, para_attention_job *job, para_operand operand) {
    ulysses *u = job->state;
    bool query = operand == PARA_QUERY;
    (void)rank;
    PARA_TRY(para_mask_gather_start(&u->columns, &u->keys));
    if (query && u->local_mask.data)
        PARA_TRY(put_mask_rows(u));
    for (int g = 0; g < u->groups; g++) {
        crossing c = there(u, job, g, operand);
        PARA_TRY(exchange(u, &c, g, u->group[g].there[operand]));
    }
    return PARA_OK;
}

/* The s-th runs of a group's operands, together. */
static para_status put_run(ulysses *u, para_attention_job *job, int group, int s) {
    const int ranks = u->queries.comm.size;
    for (int o = 0; o < PARA_OPERANDS; o++) {
        crossing c = there(u, job, group, (para_operand)o);
        lay_out(u, &c, group, s, u->send + o * ranks, u->receive + o * ranks);
    }
    return para_comm_all_to_all_of(u->queries.comm, PARA_OPERANDS, u->send, u->receive, &u->group[group].there[0][s]);
}

static para_status ulysses_put_all(para_rank *rank, para_attention_job *job) {
    ulysses *u = job->state;
    (void)rank;
    PARA_TRY(para_mask_gather_start(&u->columns, &u->keys));
    if (u->local_mask.data) PARA_TRY(put_mask_rows(u));
    for (int g = 0; g < u->groups; g++)
        for (int s = 0; s < runs(u); s++) PARA_TRY(put_run(u, job, g, s));
    return PARA_OK;
}

static para_status ulysses_put_segment(para_rank *rank, para_attention_job *job, para_segment segment) {
    ulysses *u = job->state;
    (void)rank;
    if (job->segments == 1) {
        PARA_TRY(para_mask_gather_start(&u->columns, &u->keys));
        if (u->local_mask.data) PARA_TRY(put_mask_rows(u));
        u->by_segment = true;
    }
    if (u->queries.all.count[segment] + u->keys.all.count[segment] == 0) return PARA_OK;
    for (int g = 0; g < u->groups; g++) PARA_TRY(put_run(u, job, g, segment));
    return PARA_OK;
}

/* The exchange of later groups, and the way back of earlier ones, go on meanwhile. */
static para_status ulysses_compute(para_rank *rank, para_attention_job *job) {
    ulysses *u = job->state;
    PARA_TRY(para_mask_gather_wait(&u->columns));
    PARA_TRY(wait_all(u->rows));
    for (int i = 0; i < u->groups; i++) {
        head_group *g = &u->group[i];
        for (int o = 0; o < PARA_OPERANDS; o++) PARA_TRY(wait_all(g->there[o]));
        PARA_TRY(para_attention_all_phases(rank, &g->inner));
        crossing out = {&u->queries, job->args.out, g->inner.args.out, u->shared, true},
                 lse = {&u->queries, job->args.lse, g->inner.args.lse, u->shared, true};
        PARA_TRY(exchange(u, &out, i, g->back));
        if (job->args.lse.data) PARA_TRY(exchange(u, &lse, i, g->back_lse));
    }
    return PARA_OK;
}

static para_status ulysses_end_segment(para_rank *rank, para_attention_job *job, para_segment segment) {
    ulysses *u = job->state;
    (void)rank;
    for (int i = 0; i < u->groups; i++) {
        PARA_TRY(para_comm_wait(&u->group[i].back[segment]));
        PARA_TRY(para_comm_wait(&u->group[i].back_lse[segment]));
    }
    return PARA_OK;
}

static para_status ulysses_end(para_rank *rank, para_attention_job *job) {
    ulysses *u = job->state;
    (void)rank;
    for (int i = 0; i < u->groups; i++) {
        PARA_TRY(wait_all(u->group[i].back));
        PARA_TRY(wait_all(u->group[i].back_lse));
    }
    return PARA_OK;
}

para_attention_mode para_ulysses_mode(para_rank *rank, const para_mesh *mesh, const para_layout *layout) {
    (void)rank;
    return (para_attention_mode){.name = "ulysses",
                                 .begin = ulysses_begin,
                                 .put = ulysses_put,
                                 .put_all = ulysses_put_all,
                                 .put_segment = ulysses_put_segment,
                                 .end_segment = ulysses_end_segment,
                                 .compute = ulysses_compute,
                                 .end = ulysses_end,
                                 .mesh = mesh,
                                 .layout = layout,
                                 .head_groups = 1};
}

para_attention_mode para_unified_mode(para_rank *rank, const para_mesh *mesh, const para_layout *layout) {
    para_attention_mode mode = para_ulysses_mode(rank, mesh, layout);
    mode.name = "unified";
    mode.begin = unified_begin;
    return mode;
}
