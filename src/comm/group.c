/* The ranks of a world as one process sees them. SPDX-License-Identifier: Apache-2.0 */
#include "comm/group.h"

#include <stdio.h>
#include <string.h>
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

/* What processes tell each other when they meet first. */
typedef struct introduction {
    int32_t ranks;
    char host[256];
    uint64_t cores;
} introduction;

/* Numbers the ranks process by process. */
static void number_ranks(para_group *g, const introduction *all) {
    for (int p = 0; p < g->processes; p++) {
        para_process *peer = &g->peer[p];
        peer->first = g->size;
        peer->cores = all[p].cores;
        memcpy(peer->host, all[p].host, sizeof peer->host);
        peer->heard = para_now();
        g->size += all[p].ranks;
    }
    g->first = g->peer[g->process].first;
}

static para_status meet_first(para_group *g, const para_group_options *options) {
    introduction own = {.ranks = options->ranks, .cores = options->cores};
    if (gethostname(own.host, sizeof own.host - 1) != 0) snprintf(own.host, sizeof own.host, "this host");
    para_status status = para_meet(g, PARA_MEET_OPEN, &own, sizeof own, g->room);
    pthread_mutex_lock(&g->lock);
    if (status == PARA_OK) number_ranks(g, g->room);
    pthread_mutex_unlock(&g->lock);
    return status;
}

static para_status open_members(para_group *g) {
    g->member = para_alloc((size_t)g->local, sizeof *g->member);
    g->channel = para_alloc((size_t)g->local * (size_t)g->local, sizeof *g->channel);
    if (!g->member || !g->channel) return PARA_ERR_MEMORY;
    for (int i = 0; i < g->local; i++) {
        para_member *m = &g->member[i];
        PARA_TRY(para_wake_open(&m->wake));
        m->group = g; /* from here on close knows it */
        m->local = i;
    }
    return PARA_OK;
}

static para_status open_parts(para_group *g, const para_group_options *options) {
    if (options->mpi) {
        PARA_TRY(para_mpi_open(&g->mpi, g->timeout));
        g->process = para_mpi_process(g->mpi);
        g->processes = para_mpi_processes(g->mpi);
    }
    g->peer = para_alloc((size_t)g->processes, sizeof *g->peer);
    g->room = para_alloc((size_t)g->processes, PARA_NOTE_MAX);
    if (!g->peer || !g->room) return PARA_ERR_MEMORY;
    for (int p = 0; p < g->processes; p++) g->peer[p].heard = para_now();
    PARA_TRY(open_members(g));
    if (g->local > 1 || g->processes > 1) PARA_TRY(para_watch_open(g)); /* it tells the others that this process lives while it waits for them */
    PARA_TRY(meet_first(g, options));
    for (int i = 0; i < g->local; i++)
        g->member[i].endpoint =
            (para_endpoint){.transport = g->processes > 1 ? &para_group_mpi_transport : &para_group_transport,
                            .index = g->first + i,
                            .size = g->size,
                            .addressable = g->processes == 1};
    return PARA_OK;
}

para_status para_group_open(para_group **out, const para_group_options *options) {
    *out = NULL;
    para_group *g = para_alloc(1, sizeof *g);
    if (!g) return PARA_ERR_MEMORY;
    g->local = options->ranks;
    g->processes = 1;
    g->timeout = options->timeout;
    pthread_mutex_init(&g->lock, NULL);
    pthread_mutex_init(&g->intake, NULL);
    pthread_mutex_init(&g->nccl_lock, NULL);
    para_status status = para_wake_open(&g->back);
    if (status != PARA_OK) {
        pthread_mutex_destroy(&g->lock);
        pthread_mutex_destroy(&g->intake);
        pthread_mutex_destroy(&g->nccl_lock);
        para_free(g);
        return status;
    }
    status = open_parts(g, options);
    if (status != PARA_OK) {
        para_watch_close(g);
        para_mpi_close(&g->mpi, false);
        para_group_close(&g);
        return status;
    }
    *out = g;
    return PARA_OK;
}

void para_group_leave(para_group *g) {
    bool all_there = true;
    char nothing = 0;
    if (g->processes > 1) all_there = para_meet(g, PARA_MEET_CLOSE, &nothing, 1, g->room) == PARA_OK;
    para_watch_close(g);
    para_group_release_gpus(g, 0);
    pthread_mutex_lock(&g->lock);
    para_mpi *mpi = g->mpi;
    g->mpi = NULL;
    pthread_mutex_unlock(&g->lock);
    para_mpi_close(&mpi, all_there);
}

void para_group_close(para_group **group) {
    if (!*group) return;
    para_group *g = *group;
    *group = NULL;
    for (int i = 0; g->member && i < g->local; i++)
        if (g->member[i].group) pthread_cond_destroy(&g->member[i].wake);
    para_free(g->member);
    para_free(g->channel);
    para_free(g->peer);
    para_free(g->room);
    pthread_cond_destroy(&g->back);
    pthread_mutex_destroy(&g->intake);
    pthread_mutex_destroy(&g->lock);
    para_nccl_close(&g->nccl);
    pthread_mutex_destroy(&g->nccl_lock);
    para_free(g->gpu);
    para_free(g);
}

/* ---- who is where */

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

int para_group_neighbours(const para_group *g) {
    const para_process *own = &g->peer[g->process];
    int n = 0;
    for (int p = 0; p < g->processes; p++)
        n += g->peer[p].cores == own->cores && strcmp(g->peer[p].host, own->host) == 0;
    return n;
}

int para_group_earlier_here(const para_group *g) {
    int n = 0;
    for (int p = 0; p < g->process; p++)
        if (strcmp(g->peer[p].host, g->peer[g->process].host) == 0) n += g->peer[p + 1].first - g->peer[p].first;
    return n;
}

int para_group_host_of(const para_group *g, int rank) {
    int p = g->processes - 1;
    while (p > 0 && g->peer[p].first > rank) p--;
    return p;
}

para_endpoint *para_group_endpoint(para_group *g, int local) {
    return g->size > 1 ? &g->member[local].endpoint : NULL;
}
