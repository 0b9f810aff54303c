/* Ulysses: every rank gives its tokens of most heads away and gets all tokens of some heads; and back. arXiv:2309.14509. SPDX-License-Identifier: Apache-2.0
 *
 * Unified is the same with a ring as the inner attention (arXiv:2405.07719): "all tokens" are then those of the ranks of the ulysses axis. */
#include "comm/landing.h"
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
    /* Where ranks store for each other, in place of these: of what is attended, [ranks] at those that hold its tokens. */
    para_tensor *out_place;
    para_exchange out_stored;
} head_group;

typedef struct ulysses {
    para_parts queries, keys;
    bool by_rank;    /* "all tokens" are one rank's after the other's, which nobody can tell from the order of the layout */
    bool by_segment; /* segments move one by one */
    bool direct;     /* operands are stored where their heads are computed */
    bool direct_out; /* and what they attended where its tokens are held */
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
    para_tensor *place; /* [groups, PARA_OPERANDS, ranks], where ranks store for each other: at those that compute the heads */
    para_exchange stored;
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
    if (u->direct_out) { /* nothing but the device is below, and it gets several results */
        *below = (para_attention_job){.args = inner};
        return para_attention_operand_room(rank, &below->args);
    }
    if (!u->ring.begin) return para_attention_begin_below(rank, job, &inner, below);
    *below = (para_attention_job){.args = inner, .mode = &u->ring, .depth = job->depth};
    return u->ring.begin(rank, below);
}

static int places_of_operands(const ulysses *u) {
    return u->groups * PARA_OPERANDS;
}

/* Offers room for what others store, and asks for room at them: of the operands of all groups, since they are made together. */
static para_status offer_operands(ulysses *u, para_attention_job *job) {
    const int ranks = u->queries.comm.size, own = u->queries.comm.index, all = places_of_operands(u) * ranks;
    void *place, *offered;
    PARA_TRY(para_rank_scratch(u->queries.comm.rank, (size_t)all * sizeof *u->place, &place));
    PARA_TRY(para_rank_scratch(u->queries.comm.rank, (size_t)all * sizeof *u->place, &offered));
    u->place = place;
    for (int n = 0; n < all; n++) {
        int g = n / (PARA_OPERANDS * ranks), o = n / ranks % PARA_OPERANDS, i = n % ranks;
        token_run its = tokens_of_rank(o == PARA_QUERY ? &u->queries : &u->keys, i);
        int64_t heads = heads_of(u, i, g).count * (o == PARA_QUERY ? u->shared : 1);
        const para_tensor *mine = para_attention_operand(&job->args, (para_operand)o);
        para_tensor *room = (para_tensor *)offered + n;
        *room = para_slice(*para_attention_operand(&u->group[g].inner.args, (para_operand)o), 2, its.there, its.count);
        u->place[n] = i == own ? *room : para_tensor_make(room->data, mine->dtype, 4, (int64_t[]){1, heads, mine->dim[2], mine->dim[3]});
    }
    return para_comm_offer(u->queries.comm, places_of_operands(u), offered, u->place, &u->stored);
}

/* The same of what is attended. */
static para_status offer_out(ulysses *u, para_attention_job *job, int g) {
    head_group *group = &u->group[g];
    const para_tensor *out = &job->args.out;
    const int ranks = u->queries.comm.size, own = u->queries.comm.index;
    void *place;
    PARA_TRY(para_rank_scratch(u->queries.comm.rank, (size_t)ranks * sizeof *group->out_place, &place));
    group->out_place = place;
    for (int i = 0; i < ranks; i++) {
        head_run run = heads_of(u, i, g);
        u->receive[i] = para_slice(*out, 1, run.first * u->shared, run.count * u->shared);
        int64_t dim[] = {out->dim[0], heads_of(u, own, g).count * u->shared, tokens_of_rank(&u->queries, i).count, out->dim[3]};
        group->out_place[i] = i == own ? u->receive[i] : para_tensor_make(out->data, out->dtype, 4, dim);
    }
    return para_comm_offer(u->queries.comm, 1, u->receive, group->out_place, &group->out_stored);
}

static para_status begin_groups(ulysses *u, para_attention_job *job) {
    void *groups;
    size_t together = (size_t)(PARA_OPERANDS * u->queries.comm.size);
    void *views;
    PARA_TRY(para_rank_scratch(u->queries.comm.rank, (size_t)u->groups * sizeof *u->group, &groups));
    PARA_TRY(para_rank_scratch(u->queries.comm.rank, 2 * together * sizeof *u->send, &views));
    u->group = groups;
    u->send = views;
    u->receive = u->send + together;
    for (int g = 0; g < u->groups; g++) {
        PARA_TRY(begin_group(u, job, g));
        if (u->direct_out) PARA_TRY(offer_out(u, job, g));
    }
    return u->direct ? offer_operands(u, job) : PARA_OK;
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
    return PARA_OK;
}

/* The same for the result. */
static para_status out_room_by_rank(ulysses *u, para_attention_args *a) {
    para_device *dev = u->queries.comm.rank->device;
    const int own = u->queries.comm.index;
    if (a->out.data) return PARA_OK;
    const int64_t *out = a->out.dim;
    token_run run = tokens_of_rank(&u->queries, own);
    para_tensor rows;
    PARA_TRY(PARA_NEW(dev, &rows, a->out.dtype, out[0], para_span_tokens(&u->queries.all), out[1], out[3]));
    u->whole_out = PARA_PERMUTE(rows, 0, 2, 1, 3);
    a->out = para_slice(u->whole_out, 2, run.there, run.count);
    return PARA_OK;
}

static int groups_of(const ulysses *u, int wanted) {
    int64_t most = share(u->key_heads, u->queries.comm.size, 0).count; /* key heads of a rank */
    return wanted < 1 || most < 1 ? 1 : wanted < most ? wanted : (int)most;
}

/* Whether ranks store for each other at all. This and the next two all ranks decide alike. */
static bool may_store(const ulysses *u, const para_attention_job *job) {
    return job->mode->exchange != PARA_EXCHANGE_COPY && u->by_rank && para_comm_addressable(u->queries.comm) && !job->args.out.data;
}

/* Whether the caller stores operands where their heads are computed: where a copy beside its ops would hide, that is left to it. */
static bool is_direct(const ulysses *u, const para_attention_job *job) {
    const para_attention_args *a = &job->args;
    bool free_to_choose = job->spread && !a->q.data && !a->k.data && !a->v.data && a->q.dim[0] == 1;
    bool copies_hide = job->beside && u->queries.comm.rank->device->copies_beside;
    return !copies_hide && free_to_choose && may_store(u, job) && u->queries.comm.size * u->groups <= PARA_MOST_PLACES;
}

/* Whether attention stores its result where the tokens are held. */
static bool is_direct_out(const ulysses *u, const para_attention_job *job) {
    return may_store(u, job) && !u->ring.begin && u->queries.comm.size <= PARA_MOST_PLACES;
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
    u->groups = groups_of(u, m->head_groups);
    u->direct = is_direct(u, job);
    u->direct_out = is_direct_out(u, job);
    if (u->by_rank && !u->direct) PARA_TRY(room_by_rank(u, a));
    if (u->by_rank && !u->direct_out) PARA_TRY(out_room_by_rank(u, a));
    PARA_TRY(u->direct ? para_attention_out_room(rank, a) : para_attention_room(rank, a));
    PARA_TRY(begin_mask(u, a, kind));
    return begin_groups(u, job);
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

/* Heads in order: rank by rank, and of each group by group. */
static para_status ulysses_places(para_rank *rank, para_attention_job *job, para_operand operand, int64_t first, int64_t rows, para_places *out) {
    ulysses *u = job->state;
    const int ranks = u->queries.comm.size;
    (void)rank;
    PARA_TRY(para_comm_reach(u->queries.comm, places_of_operands(u), u->place, &u->stored));
    out->parts = 0;
    for (int i = 0; i < ranks; i++)
        for (int g = 0; g < u->groups; g++) {
            para_tensor to = u->place[(g * PARA_OPERANDS + (int)operand) * ranks + i];
            if (to.dim[1] > 0) out->part[out->parts++] = para_attention_head_rows(to, first, rows);
        }
    return PARA_OK;
}

/* What was made of the operands is where it belongs; done: all of them. Who has made nothing tells so, too. */
static para_status tell_stored(ulysses *u, bool done) {
    PARA_TRY(para_comm_reach(u->queries.comm, places_of_operands(u), u->place, &u->stored));
    return para_comm_leave(&u->stored, done);
}

static para_status ulysses_put(para_rank *rank, para_attention_job *job, para_operand operand) {
    ulysses *u = job->state;
    if (u->direct) return para_fail(PARA_ERR_STATE, "attention: operands that were written where para_attention_places said are put all at once, or by segments");
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
    if (u->direct) return tell_stored(u, true);
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
    if (u->direct) return tell_stored(u, job->segments == PARA_SEGMENTS);
    if (u->queries.all.count[segment] + u->keys.all.count[segment] == 0) return PARA_OK;
    for (int g = 0; g < u->groups; g++) PARA_TRY(put_run(u, job, g, segment));
    return PARA_OK;
}

/* A group's attention, each rank's rows of it stored where that rank holds them. */
static para_status attend_directly(ulysses *u, para_rank *rank, head_group *g) {
    const int ranks = u->queries.comm.size;
    const para_attention_args *a = &g->inner.args;
    void *room;
    size_t mark = para_arena_mark(&rank->host);
    int parts = 0;
    PARA_TRY(para_rank_scratch(rank, (size_t)ranks * sizeof *a, &room));
    para_attention_args *part = room;
    PARA_TRY(para_comm_reach(u->queries.comm, 1, g->out_place, &g->out_stored));
    for (int i = 0; i < ranks; i++) {
        token_run its = tokens_of_rank(&u->queries, i);
        if (its.count == 0) continue;
        part[parts] = *a;
        part[parts].q = para_slice(a->q, 2, its.there, its.count);
        if (a->lse.data) part[parts].lse = para_slice(a->lse, 2, its.there, its.count);
        part[parts++].out = g->out_place[i];
    }
    if (parts) PARA_TRY(rank->device->ops->attention_parts(rank->device, parts, part));
    PARA_TRY(para_comm_leave(&g->out_stored, true));
    para_arena_release(&rank->host, mark);
    return PARA_OK;
}

/* The exchange of later groups, and the way back of earlier ones, go on meanwhile. */
static para_status ulysses_compute(para_rank *rank, para_attention_job *job) {
    ulysses *u = job->state;
    PARA_TRY(para_mask_gather_wait(&u->columns));
    PARA_TRY(wait_all(u->rows));
    PARA_TRY(para_comm_wait(&u->stored));
    for (int i = 0; i < u->groups; i++) {
        head_group *g = &u->group[i];
        for (int o = 0; o < PARA_OPERANDS; o++) PARA_TRY(wait_all(g->there[o]));
        PARA_TRY(u->direct_out ? attend_directly(u, rank, g) : para_attention_all_phases(rank, &g->inner));
        crossing out = {&u->queries, job->args.out, g->inner.args.out, u->shared, true},
                 lse = {&u->queries, job->args.lse, g->inner.args.lse, u->shared, true};
        if (!u->direct_out) PARA_TRY(exchange(u, &out, i, g->back));
        if (job->args.lse.data) PARA_TRY(exchange(u, &lse, i, g->back_lse));
    }
    return PARA_OK;
}

static para_status ulysses_end_segment(para_rank *rank, para_attention_job *job, para_segment segment) {
    ulysses *u = job->state;
    (void)rank;
    for (int i = 0; i < u->groups; i++) {
        PARA_TRY(para_comm_wait(&u->group[i].out_stored)); /* of both segments */
        PARA_TRY(para_comm_wait(&u->group[i].back[segment]));
        PARA_TRY(para_comm_wait(&u->group[i].back_lse[segment]));
    }
    return PARA_OK;
}

static para_status ulysses_end(para_rank *rank, para_attention_job *job) {
    ulysses *u = job->state;
    (void)rank;
    for (int i = 0; i < u->groups; i++) {
        PARA_TRY(para_comm_wait(&u->group[i].out_stored));
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
                                 .places = ulysses_places,
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
