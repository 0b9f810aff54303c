/* Attention in phases: the stack of modes, and what happens where none is left. SPDX-License-Identifier: Apache-2.0 */
#include <math.h>

#include "comm/rank.h"
#include "core/error.h"
#include "parallel/attention_job.h"

para_status para_attention_push(para_rank *rank, para_attention_mode mode) {
    if (rank->modes == PARA_MAX_MODES)
        return para_fail(PARA_ERR_STATE, "the stack of attention modes holds %d; pop what is no longer used",
                         (int)PARA_MAX_MODES);
    rank->mode[rank->modes++] = mode;
    return PARA_OK;
}

para_status para_attention_pop(para_rank *rank) {
    if (rank->modes == 0)
        return para_fail(PARA_ERR_STATE, "the stack of attention modes is empty: more were popped than pushed");
    rank->modes--;
    return PARA_OK;
}

para_tensor *para_attention_operand(para_attention_args *a, para_operand operand) {
    return operand == PARA_QUERY ? &a->q : operand == PARA_KEY ? &a->k : &a->v;
}

para_status para_attention_room(para_rank *rank, para_attention_args *a) {
    PARA_TRY(para_attention_operand_room(rank, a));
    return para_attention_out_room(rank, a);
}

para_status para_attention_operand_room(para_rank *rank, para_attention_args *a) {
    for (int i = 0; i < PARA_OPERANDS; i++) {
        para_tensor *t = para_attention_operand(a, (para_operand)i);
        if (!t->data) PARA_TRY(para_new(rank->device, t, t->dtype, 4, t->dim));
    }
    return PARA_OK;
}

para_status para_attention_out_room(para_rank *rank, para_attention_args *a) {
    if (a->out.data) return PARA_OK;
    para_tensor rows;
    PARA_TRY(PARA_NEW(rank->device, &rows, a->out.dtype, a->out.dim[0], a->out.dim[2], a->out.dim[1], a->out.dim[3]));
    a->out = PARA_PERMUTE(rows, 0, 2, 1, 3);
    return PARA_OK;
}

/* Where a model writes the operands, the device reads them. */
static para_status begin_on_device(para_rank *rank, para_attention_job *job) {
    para_attention_args *a = &job->args;
    if (a->mask.data && a->mask.dim[3] != a->k.dim[2])
        return para_fail(PARA_ERR_SHAPE, "attention: the mask has %lld columns for %lld keys",
                         (long long)a->mask.dim[3], (long long)a->k.dim[2]);
    for (int i = 0; a->mask.data && i < 3; i++) {
        if (a->mask.dim[i] == a->q.dim[i]) continue;
        a->mask.dim[i] = a->q.dim[i]; /* one for all */
        a->mask.stride[i] = 0;
    }
    return para_attention_room(rank, a);
}

/* Sizes of 1 broadcast; the last is checked where it is known how many keys there are. */
static bool mask_fits(const para_attention_args *a) {
    const para_tensor *m = &a->mask;
    if (!m->data) return true;
    bool typed = m->rank == 4 && (m->dtype == PARA_BOOL || m->dtype == PARA_F32);
    for (int i = 0; typed && i < 3; i++) typed = m->dim[i] == 1 || m->dim[i] == a->q.dim[i];
    return typed;
}

static bool fits(const para_attention_args *a) {
    const int64_t *q = a->q.dim, *k = a->k.dim, *v = a->v.dim, *out = a->out.dim;
    return a->q.rank == 4 && a->k.rank == 4 && a->v.rank == 4 && a->out.rank == 4 && k[0] == q[0] && v[0] == q[0] &&
           out[0] == q[0] && (k[1] > 0 ? q[1] % k[1] == 0 : q[1] == 0) && v[1] == k[1] && out[1] == q[1] &&
           k[3] == q[3] && v[2] == k[2] && out[2] == q[2] && out[3] == v[3];
}

/* The job as the mode with `depth` modes up to and including it carries it out. */
static para_status begin_at(para_rank *rank, int depth, const para_attention_args *args, bool spread, bool beside, para_attention_job *job) {
    if (!fits(args))
        return para_fail(PARA_ERR_SHAPE, "attention: q [B, H, Sq, D], k [B, Hkv, Skv, D], v [B, Hkv, Skv, Dv] and out "
                                         "[B, H, Sq, Dv] do not fit together");
    if (!mask_fits(args))
        return para_fail(PARA_ERR_SHAPE, "attention: the mask must be BOOL or F32 and [B or 1, H or 1, Sq or 1, keys]");
    *job = (para_attention_job){.args = *args, .spread = spread, .beside = beside};
    if (isnan(args->scale)) job->args.scale = (float)(1.0 / sqrt((double)args->q.dim[3]));
    if (depth == 0) return begin_on_device(rank, job);
    job->mode = &rank->mode[depth - 1];
    job->depth = depth - 1;
    return job->mode->begin(rank, job);
}

para_status para_attention_begin(para_rank *rank, const para_attention_args *args, para_attention_job *job) {
    return begin_at(rank, rank->modes, args, false, false, job);
}

para_status para_attention_begin_spread(para_rank *rank, const para_attention_args *args, bool beside, para_attention_job *job) {
    return begin_at(rank, rank->modes, args, true, beside, job);
}

para_status para_attention_begin_below(para_rank *rank, const para_attention_job *above,
                                       const para_attention_args *args, para_attention_job *job) {
    return begin_at(rank, above->depth, args, false, false, job);
}

para_status para_attention_hand_down(para_rank *rank, para_attention_job *job, int depth) {
    para_attention_args args = job->args;
    return begin_at(rank, depth, &args, job->spread, job->beside, job);
}

para_status para_attention_put(para_rank *rank, para_attention_job *job, para_operand operand) {
    return job->mode ? job->mode->put(rank, job, operand) : para_rank_check(rank);
}

/* Values first, since models have them first. */
para_status para_attention_put_all(para_rank *rank, para_attention_job *job) {
    static const para_operand order[] = {PARA_VALUE, PARA_KEY, PARA_QUERY};
    if (job->mode && job->mode->put_all) return job->mode->put_all(rank, job);
    for (int i = 0; i < PARA_OPERANDS; i++) PARA_TRY(para_attention_put(rank, job, order[i]));
    return PARA_OK;
}

para_status para_attention_compute(para_rank *rank, para_attention_job *job) {
    return job->mode ? job->mode->compute(rank, job) : rank->device->ops->attention(rank->device, &job->args);
}

para_status para_attention_end(para_rank *rank, para_attention_job *job) {
    return job->mode ? job->mode->end(rank, job) : para_rank_check(rank);
}

para_status para_attention_places(para_rank *rank, para_attention_job *job, para_operand operand, int64_t first, int64_t rows, para_places *out) {
    para_tensor t = *para_attention_operand(&job->args, operand);
    if (t.dim[0] != 1 || first < 0 || rows < 0 || first + rows > t.dim[2])
        return para_fail(PARA_ERR_ARGUMENT, "para_attention_places: rows %lld to %lld of an operand with %lld batch entries of %lld rows", (long long)first,
                         (long long)(first + rows), (long long)t.dim[0], (long long)t.dim[2]);
    if (!t.data && job->mode && job->mode->places) return job->mode->places(rank, job, operand, first, rows, out);
    out->parts = 1;
    out->part[0] = para_attention_head_rows(t, first, rows);
    return PARA_OK;
}

para_tensor para_attention_head_rows(para_tensor t, int64_t first, int64_t rows) {
    para_tensor heads = {.dtype = t.dtype, .rank = 3, .dim = {t.dim[1], t.dim[2], t.dim[3]}, .stride = {t.stride[1], t.stride[2], t.stride[3]}, .data = t.data};
    return para_slice(heads, 1, first, rows);
}

para_status para_attention_put_segment(para_rank *rank, para_attention_job *job, para_segment segment) {
    job->segments++;
    if (job->mode && job->mode->put_segment) return job->mode->put_segment(rank, job, segment);
    return job->segments == PARA_SEGMENTS ? para_attention_put_all(rank, job) : para_rank_check(rank);
}

para_status para_attention_end_segment(para_rank *rank, para_attention_job *job, para_segment segment) {
    if (job->mode && job->mode->end_segment) return job->mode->end_segment(rank, job, segment);
    if (job->ended) return PARA_OK;
    job->ended = true;
    return para_attention_end(rank, job);
}

para_status para_attention_all_phases(para_rank *rank, para_attention_job *job) {
    PARA_TRY(para_attention_put_all(rank, job));
    PARA_TRY(para_attention_compute(rank, job));
    return para_attention_end(rank, job);
}

static para_status whole(para_rank *rank, int depth, const para_attention_args *args) {
    size_t mark = para_arena_mark(&rank->device->arena), host = para_arena_mark(&rank->host);
    para_attention_job job;
    PARA_TRY(begin_at(rank, depth, args, false, false, &job));
    PARA_TRY(para_attention_all_phases(rank, &job));
    para_arena_release(&rank->device->arena, mark);
    para_arena_release(&rank->host, host);
    return PARA_OK;
}

para_status para_attention(para_rank *rank, const para_attention_args *args) {
    return whole(rank, rank->modes, args);
}

para_status para_attention_below(para_rank *rank, const para_attention_job *above, const para_attention_args *args) {
    return whole(rank, above->depth, args);
}
