/* In-batch attention: all entries of a batch as one sequence. Source: ParaAttention's in_batch_attn_func. SPDX-License-Identifier: Apache-2.0
 *
 * [B, H, S, D] is [1, H, B · S, D] to the mode below: the same memory where one entry's tokens lie behind another's, else a copy. */
#include "comm/rank.h"
#include "core/error.h"
#include "parallel/attention_job.h"

/* One tensor on both sides. */
typedef struct joined {
    para_tensor apart; /* [B, H, S, …] */
    para_tensor split; /* the same view of what is joined; none where that is `apart` itself */
} joined;

typedef struct in_batch {
    para_attention_job inner;
    joined operand[PARA_OPERANDS], out, lse, mask; /* mask: [B, H | 1, keys] */
    bool mask_is_there;
} in_batch;

/* Whether the tokens of an entry lie right behind those of the entry before it. */
static bool lies_joined(const para_tensor *t) {
    return t->dim[0] == 1 || t->stride[0] == t->dim[2] * t->stride[2];
}

/* The view [1, H, B · S, …] of a tensor whose entries lie behind each other. */
static para_tensor join(para_tensor t) {
    if (t.dim[0] == 1) return t;
    t.dim[2] *= t.dim[0];
    t.dim[0] = 1;
    return t;
}

/* [B, H, S, …] of new memory that lies joined. */
static para_status new_joined(para_device *dev, const para_tensor *like, para_tensor *out) {
    int64_t dim[4] = {like->dim[1], like->dim[0], like->dim[2], like->dim[3]};
    PARA_TRY(para_new(dev, out, like->dtype, like->rank, dim));
    *out = like->rank == 4 ? PARA_PERMUTE(*out, 1, 0, 2, 3) : PARA_PERMUTE(*out, 1, 0, 2);
    return PARA_OK;
}

/* Finds or makes the joined side; a tensor without data gets room there. */
static para_status open_joined(para_device *dev, para_tensor *t, joined *j, para_tensor *out) {
    if (!t->data) PARA_TRY(new_joined(dev, t, t));
    *j = (joined){.apart = *t};
    if (!lies_joined(t)) PARA_TRY(new_joined(dev, t, &j->split));
    *out = join(j->split.data ? j->split : *t);
    return PARA_OK;
}

static para_status copy_in(para_device *dev, const joined *j) {
    return j->split.data ? dev->ops->copy(dev, j->split, j->apart) : PARA_OK;
}

static para_status copy_out(para_device *dev, const joined *j) {
    return j->split.data ? dev->ops->copy(dev, j->apart, j->split) : PARA_OK;
}

/* Key padding [B | 1, H | 1, 1, S] as [1, H | 1, 1, B · S]. */
static para_status open_mask(in_batch *m, para_device *dev, const para_attention_args *a, para_tensor *out) {
    const para_tensor *t = &a->mask;
    if (!t->data) return PARA_OK;
    if (t->dim[2] != 1 || t->dim[3] != a->k.dim[2])
        return para_fail(
            PARA_ERR_SHAPE,
            "in-batch attention takes key padding only, a mask of one row and %lld columns, not %lld and %lld",
            (long long)a->k.dim[2], (long long)t->dim[2], (long long)t->dim[3]);
    m->mask.apart = (para_tensor){.dtype = t->dtype,
                                  .rank = 3,
                                  .dim = {a->q.dim[0], t->dim[1], t->dim[3]},
                                  .stride = {t->dim[0] > 1 ? t->stride[0] : 0, t->stride[1], t->stride[3]},
                                  .data = t->data};
    PARA_TRY(new_joined(dev, &m->mask.apart, &m->mask.split));
    *out = PARA_RESHAPE(m->mask.split, 1, t->dim[1], 1, a->q.dim[0] * t->dim[3]);
    return PARA_OK;
}

static para_status in_batch_begin(para_rank *rank, para_attention_job *job) {
    para_device *dev = rank->device;
    para_attention_args *a = &job->args, inner = *a;
    void *state;
    if (a->causal)
        return para_fail(PARA_ERR_ARGUMENT, "in-batch attention cannot be causal: a batch's entries have no order");
    PARA_TRY(para_rank_scratch(rank, sizeof(in_batch), &state));
    in_batch *m = job->state = state;
    for (int o = 0; o < PARA_OPERANDS; o++)
        PARA_TRY(open_joined(dev, para_attention_operand(a, (para_operand)o), &m->operand[o],
                             para_attention_operand(&inner, (para_operand)o)));
    PARA_TRY(open_joined(dev, &a->out, &m->out, &inner.out));
    if (a->lse.data) PARA_TRY(open_joined(dev, &a->lse, &m->lse, &inner.lse));
    PARA_TRY(open_mask(m, dev, a, &inner.mask));
    return para_attention_begin_below(rank, job, &inner, &m->inner);
}

static para_status in_batch_put(para_rank *rank, para_attention_job *job, para_operand operand) {
    in_batch *m = job->state;
    if (!m->mask_is_there) PARA_TRY(copy_in(rank->device, &m->mask));
    m->mask_is_there = true;
    PARA_TRY(copy_in(rank->device, &m->operand[operand]));
    return para_attention_put(rank, &m->inner, operand);
}

static para_status in_batch_compute(para_rank *rank, para_attention_job *job) {
    in_batch *m = job->state;
    return para_attention_compute(rank, &m->inner);
}

static para_status in_batch_end(para_rank *rank, para_attention_job *job) {
    in_batch *m = job->state;
    PARA_TRY(para_attention_end(rank, &m->inner));
    PARA_TRY(copy_out(rank->device, &m->out));
    return copy_out(rank->device, &m->lse);
}

para_attention_mode para_in_batch_mode(para_rank *rank) {
    (void)rank;
    return (para_attention_mode){.name = "in-batch",
                                 .begin = in_batch_begin,
                                 .put = in_batch_put,
                                 .compute = in_batch_compute,
                                 .end = in_batch_end};
}
