/* An attention problem spread over the ranks of a world, in a mode. SPDX-License-Identifier: Apache-2.0 */
#ifndef PARA_TESTS_ATTENTION_CASE_H
#define PARA_TESTS_ATTENTION_CASE_H

#include <stdio.h>

#include "attention_problem.h"

typedef enum mode_kind { MODE_RING, MODE_ULYSSES, MODE_UNIFIED, MODE_IN_BATCH, MODE_SPARSE_KV, MODE_KINDS } mode_kind;

static const char *const mode_names[] = {"ring", "ulysses", "unified", "in-batch", "sparse-kv"};

/* How attention is called: at once; in phases, the operands written where the mode wants them; so, a segment at a time; with places for heads, by segments or
 * all together. */
typedef enum call_kind { CALL_AT_ONCE, CALL_PHASES, CALL_SEGMENTS, CALL_PLACES, CALL_PLACES_TOGETHER, CALL_KINDS } call_kind;
static const char *const call_names[] = {"at once", "in phases", "by segments", "in places", "in places, together"};

/* How the problem is spread. */
typedef struct spread {
    mode_kind mode;
    int ring, ulysses;
    int head_groups;
    const int64_t *share_q[2], *share_kv[2]; /* tokens of each rank; NULL: evenly */
    call_kind call;
    para_exchange_way exchange;
    bool beside;        /* and places are asked for by a caller that has other work */
    bool stores, copies; /* what must be so, then: ranks of one process store operands at each other; they do not */
    bool all_columns;   /* key padding given for all keys, not for the rank's own */
    bool skip_small_kv; /* on top of it all */
    bool out_f32;       /* the result in F32 whatever the type of q */
} spread;

typedef struct attention_case {
    problem p;
    spread s;
    para_mesh *mesh;
    para_layout *layout, *kv_layout;
    answer answer; /* of the ranks of this process */
} attention_case;

static inline void case_name(const attention_case *c, char *text, size_t size) {
    const problem *p = &c->p;
    snprintf(text, size, "%s %dx%d, B %lld, H %lld/%lld, S %lld/%lld, D %lld/%lld%s, mask %s, %s, %s",
             mode_names[c->s.mode], c->s.ring, c->s.ulysses, (long long)p->b, (long long)p->h, (long long)p->hkv,
             (long long)p->sq, (long long)p->skv, (long long)p->d, (long long)p->dv, p->causal ? ", causal" : "",
             mask_names[p->mask], para_dtype_name(p->dtype), call_names[c->s.call]);
}

static inline held held_by(const para_layout *l, int index) {
    held t;
    for (int s = 0; s < 2; s++) {
        t.first[s] = para_layout_first(l, (para_segment)s, index) + (s ? para_layout_total(l, PARA_IMAGE) : 0);
        t.count[s] = para_layout_count(l, (para_segment)s, index);
    }
    return t;
}

static inline para_status push_modes(para_rank *rank, const attention_case *c) {
    if (c->s.mode == MODE_IN_BATCH) PARA_TRY(para_attention_push(rank, para_in_batch_mode(rank)));
    if (c->s.mode == MODE_SPARSE_KV) PARA_TRY(para_attention_push(rank, para_sparse_kv_mode(rank)));
    para_attention_mode mode = c->s.mode == MODE_RING      ? para_ring_mode(rank, c->mesh, c->layout)
                               : c->s.mode == MODE_ULYSSES ? para_ulysses_mode(rank, c->mesh, c->layout)
                                                           : para_unified_mode(rank, c->mesh, c->layout);
    mode.kv_layout = c->kv_layout;
    mode.head_groups = c->s.head_groups;
    mode.exchange = c->s.exchange;
    PARA_TRY(para_attention_push(rank, mode));
    return c->s.skip_small_kv ? para_attention_push(rank, para_skip_small_kv_mode(rank)) : PARA_OK;
}

static inline para_status pop_modes(para_rank *rank, const attention_case *c) {
    if (c->s.skip_small_kv) PARA_TRY(para_attention_pop(rank));
    if (c->s.mode >= MODE_IN_BATCH) PARA_TRY(para_attention_pop(rank));
    return para_attention_pop(rank);
}

/* In the order that models have; then the operands' memory is the mode's. */
static inline para_status in_phases(para_rank *rank, const problem *p, const held *queries, const held *keys,
                                    para_attention_args *a) {
    para_attention_job job;
    a->q.data = a->k.data = a->v.data = a->out.data = NULL;
    PARA_TRY(para_attention_begin(rank, a, &job));
    fill_operand(p, 2, keys, job.args.v);
    PARA_TRY(para_attention_put(rank, &job, PARA_VALUE));
    fill_operand(p, 0, queries, job.args.q);
    PARA_TRY(para_attention_put(rank, &job, PARA_QUERY));
    fill_operand(p, 1, keys, job.args.k);
    PARA_TRY(para_attention_put(rank, &job, PARA_KEY));
    PARA_TRY(para_attention_compute(rank, &job));
    PARA_TRY(para_attention_end(rank, &job));
    a->out = job.args.out;
    return PARA_OK;
}

/* A segment of what is held, and of a tensor with its tokens along `axis`. */
static inline held held_segment(const held *t, int s) {
    held part = {.first = {t->first[0], t->first[1]}};
    part.count[s] = t->count[s];
    return part;
}

static inline para_tensor segment_rows(para_tensor t, const held *all, int s, int axis) {
    if (!t.data) return t;
    t.data = (char *)t.data + (s ? all->count[0] : 0) * t.stride[axis] * (int64_t)para_dtype_size(t.dtype);
    t.dim[axis] = all->count[s];
    return t;
}

/* Writes a segment of an operand to the places of its heads. */
static inline para_status fill_places(para_rank *rank, para_attention_job *job, const problem *p, para_operand o, const held *all, int s) {
    static const int what[] = {[PARA_QUERY] = 0, [PARA_KEY] = 1, [PARA_VALUE] = 2};
    const para_tensor *t = o == PARA_QUERY ? &job->args.q : o == PARA_KEY ? &job->args.k : &job->args.v;
    held own = held_segment(all, s);
    para_tensor rows;
    para_places to;
    PARA_TRY(para_rank_tensor(rank, &rows, t->dtype, 4, (int64_t[]){1, t->dim[1], all->count[s], t->dim[3]}));
    fill_operand(p, what[o], &own, rows);
    PARA_TRY(para_attention_places(rank, job, o, s ? all->count[0] : 0, all->count[s], &to));
    int64_t head = 0;
    for (int i = 0; i < to.parts; i++)
        for (int64_t h = 0; h < to.part[i].dim[0]; h++, head++)
            for (int64_t n = 0; n < all->count[s]; n++)
                memcpy((char *)to.part[i].data + (h * to.part[i].stride[0] + n * to.part[i].stride[1]) * (int64_t)para_dtype_size(t->dtype),
                       element(&rows, 0, head, n, 0), (size_t)t->dim[3] * para_dtype_size(t->dtype));
    return head == t->dim[1] ? PARA_OK : para_fail(PARA_ERR_STATE, "places for %lld heads of %lld", (long long)head, (long long)t->dim[1]);
}

/* As dual-stream models have it: each segment is put when its rows are made, and used when they are back. */
static inline para_status by_segments(para_rank *rank, const attention_case *c, const held *queries, const held *keys, para_attention_args *a,
                                      answer *out) {
    const problem *p = &c->p;
    bool places = c->s.call >= CALL_PLACES && a->q.dim[0] == 1;
    para_attention_job job;
    a->q.data = a->k.data = a->v.data = a->out.data = NULL;
    PARA_TRY(places ? para_attention_begin_spread(rank, a, c->s.beside, &job) : para_attention_begin(rank, a, &job));
    if (c->s.stores && job.args.q.data) return para_fail(PARA_ERR_STATE, "the operands lie here");
    if (c->s.copies && !job.args.q.data) return para_fail(PARA_ERR_STATE, "the operands lie elsewhere");
    for (int s = 0; s < 2; s++) {
        held own_queries = held_segment(queries, s), own_keys = held_segment(keys, s);
        for (int o = 0; places && o < PARA_OPERANDS; o++)
            PARA_TRY(fill_places(rank, &job, p, (para_operand)o, o == PARA_QUERY ? queries : keys, s));
        if (!places) {
            fill_operand(p, 0, &own_queries, segment_rows(job.args.q, queries, s, 2));
            fill_operand(p, 1, &own_keys, segment_rows(job.args.k, keys, s, 2));
            fill_operand(p, 2, &own_keys, segment_rows(job.args.v, keys, s, 2));
        }
        if (c->s.call != CALL_PLACES_TOGETHER) PARA_TRY(para_attention_put_segment(rank, &job, (para_segment)s));
    }
    if (c->s.call == CALL_PLACES_TOGETHER) PARA_TRY(para_attention_put_all(rank, &job));
    PARA_TRY(para_attention_compute(rank, &job));
    if (c->s.call == CALL_PLACES_TOGETHER) PARA_TRY(para_attention_end(rank, &job));
    for (int s = 1; s >= 0; s--) {
        held own = held_segment(queries, s);
        if (c->s.call != CALL_PLACES_TOGETHER) PARA_TRY(para_attention_end_segment(rank, &job, (para_segment)s));
        answer_write(p, out, &own, segment_rows(job.args.out, queries, s, 2), segment_rows(a->lse, queries, s, 2));
    }
    return PARA_OK;
}

/* The rank's operands and mask, and room for its result. */
static inline para_status prepare(para_rank *rank, const attention_case *c, const held *queries, const held *keys,
                                  para_attention_args *a) {
    const problem *p = &c->p;
    int64_t nq = held_tokens(queries), nk = held_tokens(keys);
    held all = held_all(p->skv);
    PARA_TRY(para_rank_tensor(rank, &a->q, p->dtype, 4, (int64_t[]){p->b, p->h, nq, p->d}));
    PARA_TRY(para_rank_tensor(rank, &a->k, p->dtype, 4, (int64_t[]){p->b, p->hkv, nk, p->d}));
    PARA_TRY(para_rank_tensor(rank, &a->v, p->dtype, 4, (int64_t[]){p->b, p->hkv, nk, p->dv}));
    PARA_TRY(
        para_rank_tensor(rank, &a->out, c->s.out_f32 ? PARA_F32 : p->dtype, 4, (int64_t[]){p->b, p->h, nq, p->dv}));
    PARA_TRY(para_rank_tensor(rank, &a->lse, PARA_F32, 3, (int64_t[]){p->b, p->h, nq}));
    fill_operand(p, 0, queries, a->q);
    fill_operand(p, 1, keys, a->k);
    fill_operand(p, 2, keys, a->v);
    a->causal = p->causal;
    a->causal_offset = p->causal_offset;
    if (p->mask == MASK_NONE) return PARA_OK;
    bool padding = p->mask == MASK_KEYS || p->mask == MASK_SEGMENTS, own = padding && !c->s.all_columns;
    int64_t dim[] = {padding ? p->b : 1, p->mask == MASK_HEADS ? p->h : 1, mask_has_rows(p) ? nq : 1,
                     own ? nk : p->skv};
    PARA_TRY(para_rank_tensor(rank, &a->mask, mask_is_bool(p) ? PARA_BOOL : PARA_F32, 4, dim));
    fill_mask(p, queries, own ? keys : &all, a->mask);
    return PARA_OK;
}

static inline para_status case_body(para_rank *rank, void *user) {
    attention_case *c = user;
    const problem *p = &c->p;
    int index = para_mesh_comm(rank, c->mesh, PARA_AXIS_TOKENS).index;
    held queries = held_by(c->layout, index), keys = held_by(c->kv_layout, index);
    para_attention_args a = PARA_ATTENTION_ARGS_INIT;
    PARA_TRY(prepare(rank, c, &queries, &keys, &a));
    PARA_TRY(push_modes(rank, c));
    if (c->s.call >= CALL_SEGMENTS) {
        PARA_TRY(by_segments(rank, c, &queries, &keys, &a, &c->answer));
        return pop_modes(rank, c);
    }
    PARA_TRY(c->s.call == CALL_PHASES ? in_phases(rank, p, &queries, &keys, &a) : para_attention(rank, &a));
    PARA_TRY(pop_modes(rank, c));
    answer_write(p, &c->answer, &queries, a.out, a.lse);
    return PARA_OK;
}

static inline para_status open_layout(para_layout **out, const para_mesh *mesh, int64_t tokens, int64_t text,
                                      const int64_t *const share[2]) {
    para_layout_options o = PARA_LAYOUT_OPTIONS_INIT;
    o.tokens[PARA_IMAGE] = tokens - text;
    o.tokens[PARA_TEXT] = text;
    for (int s = 0; s < 2; s++) o.share[s] = share[s];
    return para_layout_open(out, mesh, &o);
}

/* Runs a body on the case's mesh and layouts; the case's answer is opened here and the caller's to close. */
static inline para_status run_case_as(para_world *world, attention_case *c, para_rank_body body, void *user) {
    para_mesh_options m = PARA_MESH_OPTIONS_INIT;
    m.ring = c->s.ring;
    m.ulysses = c->s.ulysses;
    m.batch = para_world_size(world) / (m.ring * m.ulysses);
    c->answer = answer_open(&c->p);
    para_status status = para_mesh_open(&c->mesh, world, &m);
    if (status == PARA_OK) status = open_layout(&c->layout, c->mesh, c->p.sq, c->p.text_q, c->s.share_q);
    if (status == PARA_OK) status = open_layout(&c->kv_layout, c->mesh, c->p.skv, c->p.text_kv, c->s.share_kv);
    if (status == PARA_OK) status = para_world_run(world, body, user);
    para_layout_close(&c->kv_layout);
    para_layout_close(&c->layout);
    para_mesh_close(&c->mesh);
    return status;
}

static inline para_status run_case(para_world *world, attention_case *c) {
    return run_case_as(world, c, case_body, c);
}

#endif
