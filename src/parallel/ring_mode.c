/* Ring: keys and values go round the ranks, each of which keeps its queries. arXiv:2310.01889. SPDX-License-Identifier: Apache-2.0
 *
 * While a rank computes with a part of the keys, the next part is on its way to it. What the parts give is merged in float32 by LSE. */
#include "parallel/ring_mode.h"
#include "comm/rank.h"
#include "core/error.h"
#include "parallel/attention_job.h"
#include "parallel/exchange_parts.h"
#include "parallel/mask_kind.h"

typedef struct ring {
    para_parts queries, keys;
    para_mask_gather columns;             /* of the mask */
    para_tensor buffer[2][PARA_OPERANDS]; /* of odd and even hops: room for the largest part, keys and values */
    para_exchange hop[PARA_OPERANDS];     /* the one under way */
    para_tensor out, lse;                 /* so far: [B, H, Sq, Dv], [B, H, Sq] F32 */
    para_tensor part_out, part_lse;       /* of one part */
    bool started[PARA_SEGMENTS];          /* whether there is a result so far, for each range of queries */
} ring;

/* Tokens of a segment, or of all. */
typedef struct range {
    int64_t row, count; /* where they lie */
    int64_t position;   /* of the first in the order of the whole */
} range;

/* The segments of a span; or, where they may be treated alike, all of it. */
static int ranges_of(const para_span *span, bool alike, range out[PARA_SEGMENTS]) {
    if (alike) {
        out[0] = (range){0, para_span_tokens(span), 0};
        return 1;
    }
    for (int s = 0; s < PARA_SEGMENTS; s++)
        out[s] = (range){para_span_row(span, span, s), span->count[s], span->first[s]};
    return PARA_SEGMENTS;
}

/* Whose part is here after `hop` hops. */
static int owner(const ring *r, int hop) {
    return (r->keys.comm.index - hop + r->keys.comm.size) % r->keys.comm.size;
}

/* That part's keys or values [B, Hkv, tokens, D]. */
static para_tensor part_of(ring *r, para_attention_job *job, para_operand o, int hop) {
    para_tensor own = *para_attention_operand(&job->args, o);
    if (hop == 0) return own;
    return PARA_RESHAPE(r->buffer[hop % 2][o], own.dim[0], own.dim[1], para_span_tokens(&r->keys.part[owner(r, hop)]),
                        own.dim[3]);
}

/* Passes the part of this hop on and takes the next one in. */
static para_status start_hop(ring *r, para_attention_job *job, para_operand o, int hop) {
    if (hop + 1 >= r->keys.comm.size) return PARA_OK;
    para_tensor send = part_of(r, job, o, hop), receive = part_of(r, job, o, hop + 1);
    return para_comm_shift(r->keys.comm, 1, &send, &receive, &r->hop[o]);
}

static para_status take_buffers(ring *r, para_attention_args *a) {
    para_device *dev = r->keys.comm.rank->device;
    int64_t longest = 0;
    for (int i = 0; i < r->keys.comm.size; i++) {
        int64_t tokens = i == r->keys.comm.index ? 0 : para_span_tokens(&r->keys.part[i]);
        if (tokens > longest) longest = tokens;
    }
    for (int i = 0; i < 2 && i < r->keys.comm.size - 1; i++)
        for (para_operand o = PARA_KEY; o <= PARA_VALUE; o++) {
            const para_tensor *t = para_attention_operand(a, o);
            PARA_TRY(PARA_NEW(dev, &r->buffer[(i + 1) % 2][o], t->dtype, t->dim[0], t->dim[1], longest, t->dim[3]));
        }
    return PARA_OK;
}

/* Results so far go to the caller's memory where that holds float32. */
static para_status take_results(ring *r, const para_attention_args *a) {
    para_device *dev = r->keys.comm.rank->device;
    int64_t b = a->out.dim[0], h = a->out.dim[1], sq = a->out.dim[2], dv = a->out.dim[3];
    r->out = a->out;
    r->lse = a->lse;
    if (r->out.dtype != PARA_F32) PARA_TRY(PARA_NEW(dev, &r->out, PARA_F32, b, h, sq, dv));
    if (!r->lse.data) PARA_TRY(PARA_NEW(dev, &r->lse, PARA_F32, b, h, sq));
    PARA_TRY(PARA_NEW(dev, &r->part_out, PARA_F32, b, h, sq, dv));
    return PARA_NEW(dev, &r->part_lse, PARA_F32, b, h, sq);
}

static para_status group_ring_begin(para_rank *rank, para_attention_job *job) {
    const para_attention_mode *m = job->mode;
    para_attention_args *a = &job->args;
    para_comm comm = para_mesh_comm(rank, m->mesh, PARA_AXIS_RING);
    int places = para_mesh_size(m->mesh, PARA_AXIS_ULYSSES);
    void *state;
    PARA_TRY(para_rank_scratch(rank, sizeof(ring), &state));
    ring *r = job->state = state;
    PARA_TRY(para_parts_open(&r->queries, comm, m->layout, 0, places));
    PARA_TRY(para_parts_open(&r->keys, comm, m->kv_layout ? m->kv_layout : m->layout, 0, places));
    PARA_TRY(para_parts_check(&r->queries, a->q.dim[2], "queries"));
    PARA_TRY(para_parts_check(&r->keys, a->k.dim[2], "keys"));
    if (comm.size == 1) return para_attention_hand_down(rank, job, job->depth);
    PARA_TRY(para_attention_room(rank, a));
    para_mask_kind kind = m->user ? *(const para_mask_kind *)m->user : PARA_MASK_NONE;
    if (!m->user) PARA_TRY(para_mask_kind_of(rank, m, a, &kind));
    PARA_TRY(para_mask_gather_open(&r->columns, &r->keys, a->mask, kind == PARA_MASK_KEYS));
    PARA_TRY(take_buffers(r, a));
    return take_results(r, a);
}

static para_status ring_begin(para_rank *rank, para_attention_job *job) {
    int ulysses = para_mesh_size(job->mode->mesh, PARA_AXIS_ULYSSES);
    if (ulysses == 1) return group_ring_begin(rank, job);
    return para_fail(PARA_ERR_ARGUMENT,
                     "Ring attention on a mesh with a ulysses axis of %d ranks: use para_unified_mode", ulysses);
}

static para_status ring_put(para_rank *rank, para_attention_job *job, para_operand operand) {
    ring *r = job->state;
    (void)rank;
    PARA_TRY(para_mask_gather_start(&r->columns, &r->keys));
    return operand == PARA_QUERY ? PARA_OK : start_hop(r, job, operand, 0);
}

/* Attention of a range of queries to a range of a part's keys. */
static para_status attend(ring *r, para_attention_job *job, bool *started, range q, range k, para_tensor keys,
                          para_tensor values) {
    para_rank *rank = r->keys.comm.rank;
    para_attention_args a = job->args;
    a.causal_offset += q.position - k.position;
    if (q.count == 0 || k.count == 0) return PARA_OK;
    if (a.causal && a.causal_offset + q.count <= 0) return PARA_OK; /* the last query sees none of them */
    para_merge_args so_far = {.out = para_slice(r->out, 2, q.row, q.count),
                              .lse = para_slice(r->lse, 2, q.row, q.count),
                              .part_out = para_slice(r->part_out, 2, q.row, q.count),
                              .part_lse = para_slice(r->part_lse, 2, q.row, q.count)};
    a.q = para_slice(a.q, 2, q.row, q.count);
    a.k = para_slice(keys, 2, k.row, k.count);
    a.v = para_slice(values, 2, k.row, k.count);
    if (a.mask.data) {
        a.mask = para_slice(r->columns.mask, 3, k.position, k.count);
        if (a.mask.dim[2] > 1) a.mask = para_slice(a.mask, 2, q.row, q.count);
    }
    a.out = *started ? so_far.part_out : so_far.out;
    a.lse = *started ? so_far.part_lse : so_far.lse;
    PARA_TRY(para_attention_below(rank, job, &a));
    if (*started) return rank->device->ops->attention_merge(rank->device, &so_far);
    *started = true;
    return PARA_OK;
}

/* Attention to the part that is here after `hop` hops. Positions matter to causality, and to a mask's columns. */
static para_status attend_part(ring *r, para_attention_job *job, int hop) {
    const para_attention_args *a = &job->args;
    range q[PARA_SEGMENTS], k[PARA_SEGMENTS];
    int qs = ranges_of(para_parts_own(&r->queries), !a->causal, q),
        ks = ranges_of(&r->keys.part[owner(r, hop)], !a->causal && !a->mask.data, k);
    para_tensor keys = part_of(r, job, PARA_KEY, hop), values = part_of(r, job, PARA_VALUE, hop);
    for (int i = 0; i < qs; i++)
        for (int j = 0; j < ks; j++) PARA_TRY(attend(r, job, &r->started[i], q[i], k[j], keys, values));
    return PARA_OK;
}

/* Rows that saw no part at all: 0 and -inf, which is what attention to no keys gives. */
static para_status attend_nothing(ring *r, para_attention_job *job) {
    range q[PARA_SEGMENTS];
    int n = ranges_of(para_parts_own(&r->queries), !job->args.causal, q);
    for (int i = 0; i < n; i++) {
        para_attention_args a = job->args;
        if (r->started[i] || q[i].count == 0) continue;
        a.q = para_slice(a.q, 2, q[i].row, q[i].count);
        a.k = para_slice(a.k, 2, 0, 0);
        a.v = para_slice(a.v, 2, 0, 0);
        a.mask = (para_tensor){0};
        a.causal = false;
        a.out = para_slice(r->out, 2, q[i].row, q[i].count);
        a.lse = para_slice(r->lse, 2, q[i].row, q[i].count);
        PARA_TRY(para_attention_below(r->keys.comm.rank, job, &a));
    }
    return PARA_OK;
}

static para_status ring_compute(para_rank *rank, para_attention_job *job) {
    ring *r = job->state;
    PARA_TRY(para_mask_gather_wait(&r->columns));
    for (int hop = 0; hop < r->keys.comm.size; hop++) {
        for (para_operand o = PARA_KEY; hop > 0 && o <= PARA_VALUE; o++) PARA_TRY(para_comm_wait(&r->hop[o]));
        for (para_operand o = PARA_KEY; hop > 0 && o <= PARA_VALUE; o++) PARA_TRY(start_hop(r, job, o, hop));
        PARA_TRY(attend_part(r, job, hop));
    }
    PARA_TRY(attend_nothing(r, job));
    if (r->out.data == job->args.out.data) return PARA_OK;
    return rank->device->ops->copy(rank->device, job->args.out, r->out);
}

static para_status ring_end(para_rank *rank, para_attention_job *job) {
    (void)job;
    return para_rank_check(rank);
}

para_attention_mode para_ring_mode(para_rank *rank, const para_mesh *mesh, const para_layout *layout) {
    (void)rank;
    return (para_attention_mode){.name = "ring",
                                 .begin = ring_begin,
                                 .put = ring_put,
                                 .compute = ring_compute,
                                 .end = ring_end,
                                 .mesh = mesh,
                                 .layout = layout,
                                 .head_groups = 1};
}

para_attention_mode para_ring_of_groups(const para_mesh *mesh, const para_layout *layout, const para_layout *kv_layout,
                                        bool key_padding) {
    static const para_mask_kind keys = PARA_MASK_KEYS, other = PARA_MASK_ROWS;
    para_attention_mode mode = para_ring_mode(NULL, mesh, layout);
    mode.begin = group_ring_begin;
    mode.kv_layout = kv_layout;
    mode.user = key_padding ? &keys : &other;
    return mode;
}
