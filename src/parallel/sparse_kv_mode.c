/* Sparse K/V: keys that no query sees are not computed. SPDX-License-Identifier: Apache-2.0
 *
 * The mask is read when the operands are there, each batch entry for itself (all at once where they have one mask). */
#include "comm/rank.h"
#include "core/alloc.h"
#include "core/error.h"
#include "parallel/attention_job.h"

/* Keys that stay, one after the other. */
typedef struct run {
    int64_t first, count;
} run;

/* The next run of seen keys from `first` on; without any, of count 0. With `all`, what lies between them stays, too. */
static run next_run(const uint8_t *column, int64_t first, int64_t keys, bool all) {
    while (first < keys && column[first] == PARA_COLUMN_HIDES) first++;
    int64_t last = all ? keys : first;
    while (all && last > first && column[last - 1] == PARA_COLUMN_HIDES) last--;
    while (!all && last < keys && column[last] != PARA_COLUMN_HIDES) last++;
    return (run){first, last - first};
}

/* Keeps of dimension `axis` what the columns say: a view where one run stays, else a copy. */
static para_status keep(para_device *dev, para_tensor *t, int axis, const uint8_t *column, bool all) {
    int64_t keys = t->dim[axis], kept = 0, at = 0;
    run first = next_run(column, 0, keys, all);
    for (run r = first; r.count > 0; r = next_run(column, r.first + r.count, keys, all)) {
        kept += r.count;
        if (all) break;
    }
    para_tensor whole = *t;
    if (kept == first.count) {
        *t = para_slice(whole, axis, first.first, kept);
        return PARA_OK;
    }
    whole.dim[axis] = kept;
    PARA_TRY(para_new(dev, t, whole.dtype, 4, whole.dim));
    whole.dim[axis] = keys;
    for (run r = first; r.count > 0; r = next_run(column, r.first + r.count, keys, all)) {
        PARA_TRY(dev->ops->copy(dev, para_slice(*t, axis, at, r.count), para_slice(whole, axis, r.first, r.count)));
        at += r.count;
    }
    return PARA_OK;
}

/* Whether a mask does anything to the keys that stay. */
static bool changes(const uint8_t *column, int64_t keys, bool all) {
    for (int64_t i = 0; i < keys; i++)
        if (column[i] == PARA_COLUMN_CHANGES || (all && column[i] == PARA_COLUMN_HIDES)) return true;
    return false;
}

/* Entries that have one mask [1, H | 1, Sq | 1, keys], and what its columns do. Where causality counts keys, only the ends are dropped. */
static para_status attend(para_rank *rank, const para_attention_job *job, para_attention_args a,
                          const uint8_t *column) {
    para_device *dev = rank->device;
    int64_t keys = a.k.dim[2];
    if (a.causal && a.causal_offset >= keys - 1) a.causal = false; /* all queries see all */
    bool all = a.causal;
    if (all) a.causal_offset -= next_run(column, 0, keys, all).first;
    if (!changes(column, keys, all)) a.mask = (para_tensor){0};
    PARA_TRY(keep(dev, &a.k, 2, column, all));
    PARA_TRY(keep(dev, &a.v, 2, column, all));
    if (a.mask.data) PARA_TRY(keep(dev, &a.mask, 3, column, all));
    return para_attention_below(rank, job, &a);
}

static para_status attend_entries(para_rank *rank, const para_attention_job *job, uint8_t *columns) {
    const para_attention_args *a = &job->args;
    int64_t keys = a->k.dim[2];
    PARA_TRY(rank->device->ops->mask_columns(rank->device, a->mask, columns));
    if (a->mask.dim[0] == 1) return attend(rank, job, *a, columns);
    for (int64_t b = 0; b < a->mask.dim[0]; b++) {
        para_attention_args one = *a;
        for (int o = 0; o < PARA_OPERANDS; o++) {
            para_tensor *t = para_attention_operand(&one, (para_operand)o);
            *t = para_slice(*t, 0, b, 1);
        }
        one.out = para_slice(one.out, 0, b, 1);
        one.mask = para_slice(one.mask, 0, b, 1);
        if (one.lse.data) one.lse = para_slice(one.lse, 0, b, 1);
        PARA_TRY(attend(rank, job, one, columns + b * keys));
    }
    return PARA_OK;
}

static para_status sparse_kv_begin(para_rank *rank, para_attention_job *job) {
    for (int i = 0; i < job->depth; i++)
        if (rank->mode[i].mesh)
            return para_fail(
                PARA_ERR_STATE,
                "the mode sparse-kv is above %s, which exchanges keys by the layout; push it before that one",
                rank->mode[i].name);
    if (!job->args.mask.data) return para_attention_hand_down(rank, job, job->depth);
    if (job->args.mask.dim[3] != job->args.k.dim[2])
        return para_fail(PARA_ERR_SHAPE, "attention: the mask has %lld columns for %lld keys",
                         (long long)job->args.mask.dim[3], (long long)job->args.k.dim[2]);
    return para_attention_room(rank, &job->args);
}

static para_status sparse_kv_put(para_rank *rank, para_attention_job *job, para_operand operand) {
    (void)job;
    (void)operand;
    return para_rank_check(rank);
}

static para_status sparse_kv_compute(para_rank *rank, para_attention_job *job) {
    size_t mark = para_arena_mark(&rank->device->arena);
    uint8_t *columns =
        para_alloc((size_t)job->args.mask.dim[0], (size_t)job->args.k.dim[2]); /* too much for the scratch */
    if (!columns) return PARA_ERR_MEMORY;
    para_status status = attend_entries(rank, job, columns);
    para_free(columns);
    para_arena_release(&rank->device->arena, mark);
    return status;
}

static para_status sparse_kv_end(para_rank *rank, para_attention_job *job) {
    (void)job;
    return para_rank_check(rank);
}

para_attention_mode para_sparse_kv_mode(para_rank *rank) {
    (void)rank;
    return (para_attention_mode){.name = "sparse-kv",
                                 .begin = sparse_kv_begin,
                                 .put = sparse_kv_put,
                                 .compute = sparse_kv_compute,
                                 .end = sparse_kv_end};
}
