/* The ranks of a world as one process sees them. SPDX-License-Identifier: Apache-2.0 */
#include "comm/group.h"

#include <stdarg.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

#include "comm/group_state.h"
#include "comm/watch.h"
#include "core/alloc.h"
#include "core/error.h"

enum { SECOND = 1000000000 }; /* in nanoseconds */

int64_t para_now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * SECOND + t.tv_nsec;
}

para_status para_wake_open(pthread_cond_t *wake) {
    pthread_condattr_t clock;
    bool made = pthread_condattr_init(&clock) == 0;
    if (made) {
        made = pthread_condattr_setclock(&clock, CLOCK_MONOTONIC) == 0 && pthread_cond_init(wake, &clock) == 0;
        pthread_condattr_destroy(&clock);
    }
    return made ? PARA_OK : para_fail(PARA_ERR_MEMORY, "out of memory: a condition variable could not be made");
}

void para_wait_until(para_group *g, pthread_cond_t *wake, int64_t until) {
    struct timespec t = {.tv_sec = until / SECOND, .tv_nsec = until % SECOND};
    pthread_cond_timedwait(wake, &g->lock, &t);
}

/* ---- opening and closing */

static para_status open_members(para_group *g) {
    g->member = para_alloc((size_t)g->local, sizeof *g->member);
    g->channel = para_alloc((size_t)g->local * (size_t)g->local, sizeof *g->channel);
    if (!g->member || !g->channel) return PARA_ERR_MEMORY;
    for (int i = 0; i < g->local; i++) {
        para_member *m = &g->member[i];
        PARA_TRY(para_wake_open(&m->wake));
        m->group = g; /* from here on close knows it */
        m->local = i;
        m->endpoint = (para_endpoint){.transport = &para_group_transport, .index = g->first + i, .size = g->size};
    }
    return PARA_OK;
}

para_status para_group_open(para_group **out, const para_group_options *options) {
    *out = NULL;
    para_group *g = para_alloc(1, sizeof *g);
    if (!g) return PARA_ERR_MEMORY;
    g->local = g->size = options->ranks;
    g->processes = 1;
    g->timeout = options->timeout;
    if (gethostname(g->host, sizeof g->host - 1) != 0) snprintf(g->host, sizeof g->host, "this host");
    if (pthread_mutex_init(&g->lock, NULL) != 0) {
        para_free(g);
        return para_fail(PARA_ERR_MEMORY, "out of memory: a mutex could not be made");
    }
    para_status status = para_wake_open(&g->back);
    if (status != PARA_OK) {
        pthread_mutex_destroy(&g->lock);
        para_free(g);
        return status;
    }
    status = open_members(g);
    if (status == PARA_OK && g->size > 1) status = para_watch_open(g);
    if (status != PARA_OK) {
        para_group_close(&g);
        return status;
    }
    *out = g;
    return PARA_OK;
}

void para_group_close(para_group **group) {
    if (!*group) return;
    para_group *g = *group;
    *group = NULL;
    para_watch_close(g);
    for (int i = 0; g->member && i < g->local; i++)
        if (g->member[i].group) pthread_cond_destroy(&g->member[i].wake);
    para_free(g->member);
    para_free(g->channel);
    pthread_cond_destroy(&g->back);
    pthread_mutex_destroy(&g->lock);
    para_free(g);
}

int para_group_size(const para_group *g) {
    return g->size;
}

int para_group_first(const para_group *g) {
    return g->first;
}

int para_group_local(const para_group *g) {
    return g->local;
}

int para_group_process(const para_group *g) {
    return g->process;
}

int para_group_processes(const para_group *g) {
    return g->processes;
}

para_endpoint *para_group_endpoint(para_group *g, int local) {
    return g->size > 1 ? &g->member[local].endpoint : NULL;
}

/* ---- failures */

void para_group_fail(para_group *g, para_status status, int rank, const char *format, ...) {
    if (!g->running || atomic_load(&g->failed)) return;
    va_list args;
    va_start(args, format);
    vsnprintf(g->failure.sentence, sizeof g->failure.sentence, format, args);
    va_end(args);
    g->failure.status = status;
    g->failure.rank = rank;
    g->failed_at = para_now();
    atomic_store(&g->failed, true);
    for (int i = 0; i < g->local; i++) pthread_cond_broadcast(&g->member[i].wake);
    pthread_cond_broadcast(&g->back);
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

/* ---- runs */

para_status para_group_begin(para_group *g, const atomic_bool *cancel) {
    pthread_mutex_lock(&g->lock);
    for (int i = 0; i < g->local; i++) {
        g->member[i].state = PARA_MEMBER_COMPUTES;
        atomic_store(&g->member[i].sign, para_now());
    }
    for (int i = 0; i < g->local * g->local; i++) g->channel[i] = (para_channel){0};
    g->failure = (para_failure){0};
    atomic_store(&g->failed, false);
    atomic_store(&g->cancel, cancel);
    g->running = true;
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
    int left = para_group_give_up(m);
    if (status == PARA_OK && left)
        status = para_fail(PARA_ERR_STATE, "returned without waiting for %d of its exchanges (para_comm_wait)", left);
    const char *sentence = *para_last_error() ? para_last_error() : para_status_text(status);
    pthread_mutex_lock(&g->lock);
    if (status != PARA_OK) para_group_fail(g, status, g->first + local, "%s", sentence);
    m->state = PARA_MEMBER_BACK;
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
        int64_t until = g->failed_at + (int64_t)(g->timeout * SECOND);
        if (para_now() >= until) return away;
        para_wait_until(g, &g->back, until);
    }
}

para_status para_group_end(para_group *g, bool *lost) {
    pthread_mutex_lock(&g->lock);
    int away = wait_for_members(g);
    *lost = away >= 0;
    if (*lost && g->failure.status != PARA_ERR_LOST) {
        para_failure first = g->failure;
        g->failure.status = PARA_ERR_LOST;
        snprintf(g->failure.sentence, sizeof g->failure.sentence,
                 "%.600s; then rank %d (process %d on %s) did not come back within %g seconds (timeout, --timeout)",
                 first.sentence, g->first + away, g->process, g->host, g->timeout);
    }
    g->running = false;
    atomic_store(&g->cancel, NULL);
    pthread_mutex_unlock(&g->lock);
    return para_group_failure(g);
}
