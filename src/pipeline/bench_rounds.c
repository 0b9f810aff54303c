/* Timing the same work again and again. SPDX-License-Identifier: Apache-2.0 */
#include "pipeline/bench_rounds.h"

#include <paraattn/comm.h>
#include <stdlib.h>

#include "core/clock.h"
#include "core/error.h"

enum { ROUNDS = 5, QUICK_ROUNDS = 3, LONG_ROUNDS = 2 };
static const double long_seconds = 1;

double para_round_seconds(const para_rounds *r) {
    return r->quick ? 0.002 : 0.04;
}

/* Does the work so often, and waits. */
static para_status time_work(const para_rounds *r, int64_t times, double *seconds) {
    double start = para_seconds();
    for (int64_t i = 0; i < times; i++) PARA_TRY(r->work(r->user));
    PARA_TRY(r->wait(r->user));
    *seconds = para_seconds() - start;
    return PARA_OK;
}

/* With `together` all get what the slowest took: a step is as slow as that one, and one that had to wait would be measured rested. */
static para_status slowest(const para_rounds *r, double *seconds) {
    para_rank *rank = r->rank;
    para_device *dev = rank->device;
    if (!r->together || rank->size == 1) return PARA_OK;
    size_t mark = para_arena_mark(&dev->arena), host = para_arena_mark(&rank->host);
    void *parts, *all;
    para_tensor own, gathered; /* I64 [1], [size]: nanoseconds */
    para_exchange x;
    int64_t value = (int64_t)(1e9 * *seconds);
    PARA_TRY(para_rank_scratch(rank, (size_t)rank->size * sizeof own, &parts));
    PARA_TRY(para_rank_scratch(rank, (size_t)rank->size * sizeof value, &all));
    PARA_TRY(PARA_NEW(dev, &own, PARA_I64, 1));
    PARA_TRY(PARA_NEW(dev, &gathered, PARA_I64, rank->size));
    for (int i = 0; i < rank->size; i++) ((para_tensor *)parts)[i] = para_slice(gathered, 0, i, 1);
    PARA_TRY(dev->ops->upload(dev, own, &value));
    PARA_TRY(para_comm_all_gather(para_world_comm(rank), own, parts, &x));
    PARA_TRY(para_comm_wait(&x));
    PARA_TRY(dev->ops->download(dev, all, &gathered));
    for (int i = 0; i < rank->size; i++)
        if (((int64_t *)all)[i] > value) value = ((int64_t *)all)[i];
    para_arena_release(&dev->arena, mark);
    para_arena_release(&rank->host, host);
    *seconds = 1e-9 * (double)value;
    return PARA_OK;
}

para_status para_rounds_once(const para_rounds *r, double *seconds) {
    PARA_TRY(time_work(r, 1, seconds));
    return slowest(r, seconds);
}

static int compare(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

para_status para_rounds_median(const para_rounds *r, double *out) {
    double once, seconds[ROUNDS];
    PARA_TRY(para_rounds_once(r, &once));
    int64_t times =
        once < para_round_seconds(r) ? (int64_t)(para_round_seconds(r) / (once > 1e-9 ? once : 1e-9)) + 1 : 1;
    int rounds = once > long_seconds ? LONG_ROUNDS : r->quick ? QUICK_ROUNDS : ROUNDS;
    for (int i = 0; i < rounds; i++) {
        if (r->together) PARA_TRY(para_comm_barrier(para_world_comm(r->rank)));
        PARA_TRY(time_work(r, times, &seconds[i]));
        PARA_TRY(slowest(r, &seconds[i]));
        seconds[i] /= (double)times;
    }
    qsort(seconds, (size_t)rounds, sizeof *seconds, compare);
    *out = rounds % 2 ? seconds[rounds / 2] : (seconds[0] + seconds[1]) / 2;
    return PARA_OK;
}
