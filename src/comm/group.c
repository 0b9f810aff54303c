/* The ranks of a world as one process sees them. SPDX-License-Identifier: Apache-2.0 */
#include "comm/group.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

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
    para_host_identity host;
    uint64_t cores;
} introduction;

int para_number_ranks(para_process *peer, int processes, int *hosts) {
    int size = 0;
    *hosts = 0;
    for (int p = 0; p < processes; p++) {
        int same = 0;
        while (!para_host_same(&peer[same].host, &peer[p].host)) same++;
        peer[p].host_number = same < p ? peer[same].host_number : (*hosts)++;
    }
    for (int host = 0; host < *hosts; host++)
        for (int p = 0; p < processes; p++) {
            if (peer[p].host_number != host) continue;
            peer[p].first = size;
            size += peer[p].ranks;
        }
    return size;
}

static void take_introductions(para_group *g, const introduction *all) {
    for (int p = 0; p < g->processes; p++) {
        para_process *peer = &g->peer[p];
        peer->ranks = all[p].ranks;
        peer->cores = all[p].cores;
        peer->host = all[p].host;
        peer->heard = para_now();
    }
    g->size = para_number_ranks(g->peer, g->processes, &g->hosts);
    g->first = g->peer[g->process].first;
}

/* On hosts that were named, all the same on every process. */
static para_status take_hosts(para_group *g, const para_group_options *o) {
    int rank = 0;
    g->hosts = o->hosts;
    for (int h = 0; h < o->hosts; h++)
        for (int n = o->host_ranks ? o->host_ranks[h] : g->size / o->hosts + (h < g->size % o->hosts); n > 0; n--, rank++)
            if (rank < g->size) g->host[rank] = h;
    if (rank == g->size && o->hosts <= g->size) return PARA_OK;
    if (!o->host_ranks)
        return para_fail(PARA_ERR_ARGUMENT, "%d hosts (--hosts) for %d ranks; each needs a rank", o->hosts, g->size);
    return para_fail(PARA_ERR_ARGUMENT, "the hosts (--hosts) have %d ranks, but there are %d (--ranks)", rank, g->size);
}

static para_status find_hosts(para_group *g, const para_group_options *o) {
    if (!(g->host = para_alloc((size_t)g->size, sizeof *g->host))) return PARA_ERR_MEMORY;
    if (o->hosts) return take_hosts(g, o);
    for (int p = 0; p < g->processes; p++)
        for (int i = 0; i < g->peer[p].ranks; i++) g->host[g->peer[p].first + i] = g->peer[p].host_number;
    return PARA_OK;
}

static para_status meet_first(para_group *g, const para_group_options *options) {
    introduction own = {.ranks = options->ranks, .cores = options->cores};
    para_host_identify(&own.host);
    para_status status = para_meet(g, PARA_MEET_OPEN, &own, sizeof own, g->room);
    pthread_mutex_lock(&g->lock);
    if (status == PARA_OK) take_introductions(g, g->room);
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
    PARA_TRY(find_hosts(g, options));
    for (int i = 0; i < g->local; i++)
        g->member[i].endpoint =
            (para_endpoint){.transport = g->processes > 1 ? &para_group_mpi_transport : &para_group_transport,
                            .index = g->first + i,
                            .size = g->size,
                            .host = g->host,

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

para_status para_group_part(para_group *g, para_status own, para_status *first) {
    int32_t mine = own, *all = g->room;
    if (!g->parted) {
        g->parted = true;
        g->parting = para_meet(g, PARA_MEET_CLOSE, &mine, sizeof mine, all);
        if (g->parting == PARA_OK) g->said = (para_status)all[0];
    } else if (g->parting != PARA_OK) {
        return para_fail(g->parting, "%s", *g->loss.sentence ? g->loss.sentence : para_status_text(g->parting));
    }
    *first = g->said;
    return g->parting;
}

void para_group_leave(para_group *g) {
    para_status first;
    bool all_there = para_group_part(g, PARA_OK, &first) == PARA_OK;
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
    para_free(g->host);
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
        n += g->peer[p].cores == own->cores && g->peer[p].host_number == own->host_number;
    return n;
}

int para_group_earlier_here(const para_group *g) {
    int n = 0;
    for (int p = 0; p < g->process; p++)
        if (g->peer[p].host_number == g->peer[g->process].host_number) n += g->peer[p].ranks;
    return n;
}

int para_group_process_of(const para_group *g, int rank) {
    int p = 0;
    while (rank < g->peer[p].first || rank >= g->peer[p].first + g->peer[p].ranks) p++;
    return p;
}

int para_group_hosts(const para_group *g) {
    return g->hosts;
}

const int *para_group_host_list(const para_group *g) {
    return g->host;
}

para_endpoint *para_group_endpoint(para_group *g, int local) {
    return g->size > 1 ? &g->member[local].endpoint : NULL;
}
