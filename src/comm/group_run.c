/* A run: how it begins, fails and ends, as one. SPDX-License-Identifier: Apache-2.0 */
#include <stdarg.h>
#include <stdio.h>

#include "comm/control.h"
#include "core/error.h"

/* ---- failures */

void para_group_take_failure(para_group *g, const para_failure *failure) {
    if (!g->running || atomic_load(&g->failed)) return;
    g->failure = *failure;
    g->failed_at = para_now();
    atomic_store(&g->failed, true);
    for (int i = 0; i < g->local; i++) pthread_cond_broadcast(&g->member[i].wake);
    pthread_cond_broadcast(&g->back);
}

void para_group_fail(para_group *g, para_status status, int rank, const char *format, ...) {
    if (!g->running || atomic_load(&g->failed)) return;
    para_failure f = {.status = status, .rank = rank};
    va_list args;
    va_start(args, format);
    vsnprintf(f.sentence, sizeof f.sentence, format, args);
    va_end(args);
    para_group_take_failure(g, &f);
    if (g->processes > 1) para_control_tell_failure(g);
}

void para_group_lose(para_group *g, int process, bool ended) {
    const para_process *p = &g->peer[process];
    if (g->loss.status != PARA_OK) return;
    int last = p->first + p->ranks - 1;
    g->loss = (para_failure){.status = PARA_ERR_LOST, .rank = -1};
    if (ended)
        snprintf(g->loss.sentence, sizeof g->loss.sentence, "process %d%s%s has ended before the others", process, *p->host.name ? " on " : "", p->host.name);
    else
        snprintf(g->loss.sentence, sizeof g->loss.sentence,
             "process %d on %s (ranks %d to %d) gave no sign of life for %g seconds: it ended, was stopped or cannot be reached; "
             "where it only needs longer, raise timeout (--timeout)",
             process, p->host.name, p->first, last, g->timeout);
    para_group_fail(g, PARA_ERR_LOST, -1, "%s", g->loss.sentence);
    para_mpi_give_up(g->mpi);
}

para_status para_group_failure(para_group *g) {
    if (!atomic_load(&g->failed)) return PARA_OK;
    pthread_mutex_lock(&g->lock);
    const para_failure *f = &g->failure;
    para_status status = f->rank >= 0 && g->size > 1 ? para_fail(f->status, "rank %d: %s", f->rank, f->sentence)
                                                     : para_fail(f->status, "%s", f->sentence);
    pthread_mutex_unlock(&g->lock);
    return status;
}

/* ---- beginning */

/* With the lock held: what other processes have told already. */
static void take_what_came_early(para_group *g) {
    if (g->early_run == g->run) para_group_take_failure(g, &g->early);
    for (int p = 0; p < g->processes; p++) {
        const para_note *note = &g->peer[p].note[(g->meeting + 1) & 1];
        if (note->number == g->meeting + 1 && note->what != PARA_MEET_END)
            para_group_fail(g, PARA_ERR_STATE, -1, PARA_OTHER_CALL, p, g->process);
    }
}

para_status para_group_begin(para_group *g, const atomic_bool *cancel) {
    pthread_mutex_lock(&g->lock);
    if (g->loss.status != PARA_OK) {
        pthread_mutex_unlock(&g->lock);
        return para_fail(PARA_ERR_STATE, "the world has lost a rank and cannot be used any more; close it and open another (%.600s)", g->loss.sentence);
    }
    if (g->gpu) {
        pthread_mutex_unlock(&g->lock);
        PARA_TRY(para_group_rejoin(g));
        pthread_mutex_lock(&g->lock);
    }
    for (int i = 0; i < g->local; i++) {
        g->member[i].state = PARA_MEMBER_COMPUTES;
        g->member[i].comes_no_more = false;
        atomic_store(&g->member[i].sign, para_now());
    }
    for (int i = 0; i < g->local * g->local; i++) g->channel[i] = (para_channel){0};
    for (int p = 0; p < g->processes; p++) g->peer[p].idle = false;
    g->failure = (para_failure){0};
    atomic_store(&g->failed, false);
    atomic_store(&g->cancel, cancel);
    g->run++;
    g->running = true;
    g->ending = false;
    take_what_came_early(g);
    if (g->watched) pthread_cond_signal(&g->watch_wake);
    pthread_mutex_unlock(&g->lock);
    return PARA_OK;
}

para_status para_group_check(para_group *g, int local) {
    atomic_store_explicit(&g->member[local].sign, para_now(), memory_order_relaxed);
    if (!atomic_load(&g->failed)) {
        const atomic_bool *cancel = atomic_load(&g->cancel);
        if (!cancel || !atomic_load_explicit(cancel, memory_order_relaxed)) return PARA_OK;
        pthread_mutex_lock(&g->lock);
        para_group_fail(g, PARA_ERR_CANCELLED, -1, "cancelled");
        pthread_mutex_unlock(&g->lock);
    }
    return para_group_failure(g);
}

void para_group_finish(para_group *g, int local, para_status status) {
    para_member *m = &g->member[local];
    int left = para_group_left(m);
    if (status == PARA_OK && left)
        status = para_fail(PARA_ERR_STATE, "returned without waiting for %d of its exchanges (para_comm_wait)", left);
    const char *sentence = *para_last_error() ? para_last_error() : para_status_text(status);
    pthread_mutex_lock(&g->lock);
    if (status != PARA_OK) para_group_fail(g, status, g->first + local, "%s", sentence);
    pthread_mutex_unlock(&g->lock);
    para_group_give_up(m); /* others, who may hold what is given up, know of the failure by now */
    pthread_mutex_lock(&g->lock);
    m->state = PARA_MEMBER_BACK;
    for (int i = 0; i < g->local; i++) pthread_cond_signal(&g->member[i].wake); /* nobody waits for it to come */
    pthread_cond_broadcast(&g->back);
    pthread_mutex_unlock(&g->lock);
}

/* Waits until all are back, or must be thought lost; the first of those, or -1. With the lock held. */
static int wait_for_members(para_group *g) {
    for (;;) {
        int away = -1;
        for (int i = g->local - 1; i >= 0; i--)
            if (g->member[i].state != PARA_MEMBER_BACK) away = i;
        if (away < 0) return -1;
        if (!atomic_load(&g->failed)) {
            pthread_cond_wait(&g->back, &g->lock);
            continue;
        }
        int64_t until = para_group_patience(g);
        if (para_now() >= until) return away;
        para_wait_until(g, &g->back, until);
    }
}

/* With the lock held: the run's failure becomes the loss of a rank, after what came first. */
static void blame_loss(para_group *g, const char *format, ...) __attribute__((format(printf, 2, 3)));
static void blame_loss(para_group *g, const char *format, ...) {
    if (g->failure.status == PARA_ERR_LOST) return;
    char loss[512];
    para_failure first = g->failure;
    va_list args;
    va_start(args, format);
    vsnprintf(loss, sizeof loss, format, args);
    va_end(args);
    g->failure = (para_failure){.status = PARA_ERR_LOST, .rank = first.rank};
    snprintf(g->failure.sentence, sizeof g->failure.sentence, "%.*s%s%s", PARA_SENTENCE - (int)sizeof loss - 8, first.sentence,
             first.status == PARA_OK ? "" : "; then ", loss);
}

/* How a process saw the run end. */
typedef struct verdict {
    para_failure failure;
    int32_t lost; /* it has ranks that did not come back */
} verdict;

/* All processes decide alike: the first of those that failed by themselves, or were told, has it. */
static para_status agree(para_group *g, bool *lost) {
    verdict own, *all = g->room;
    pthread_mutex_lock(&g->lock);
    g->ending = true;
    own = (verdict){g->failure, *lost};
    pthread_mutex_unlock(&g->lock);
    para_status status = para_meet(g, PARA_MEET_END, &own, sizeof own, all);
    pthread_mutex_lock(&g->lock);
    if (status != PARA_OK) {
        *lost = true;
        blame_loss(g, "%s", para_last_error());
    } else {
        g->failure = (para_failure){0};
        for (int p = g->processes - 1; p >= 0; p--) {
            if (all[p].failure.status != PARA_OK) g->failure = all[p].failure;
            *lost |= all[p].lost != 0;
        }
    }
    atomic_store(&g->failed, g->failure.status != PARA_OK);
    pthread_mutex_unlock(&g->lock);
    return PARA_OK;
}

para_status para_group_end(para_group *g, bool *lost) {
    pthread_mutex_lock(&g->lock);
    int away = wait_for_members(g);
    *lost = away >= 0;
    if (*lost)
        blame_loss(g, "rank %d (process %d on %s) did not come back within %g seconds (timeout, --timeout)", g->first + away,
                   g->process, g->peer[g->process].host.name, g->timeout);
    pthread_mutex_unlock(&g->lock);
    if (g->processes > 1) {
        para_status status = agree(g, lost);
        if (atomic_load(&g->failed)) para_group_release_gpus(g, 0);
        if (status == PARA_OK && atomic_load(&g->failed) && !*lost) status = para_mpi_renew(g->mpi);
        if (status != PARA_OK) {
            *lost = true;
            pthread_mutex_lock(&g->lock);
            blame_loss(g, "%s", para_last_error());
            atomic_store(&g->failed, true);
            pthread_mutex_unlock(&g->lock);
        }
    }
    pthread_mutex_lock(&g->lock);
    if (*lost && g->loss.status == PARA_OK) g->loss = g->failure;
    g->running = false;
    atomic_store(&g->cancel, NULL);
    pthread_mutex_unlock(&g->lock);
    return para_group_failure(g);
}
