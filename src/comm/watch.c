/* A thread that notices when a rank is lost, or all wait for each other. SPDX-License-Identifier: Apache-2.0 */
#include "comm/watch.h"

#include <signal.h>

#include "comm/control.h"
#include "core/error.h"

/* Nanoseconds between two looks: at ranks of this process; for messages, at work and between runs; while MPI moves data. */
enum { MILLISECOND = 1000 * 1000, TICK = 20 * MILLISECOND, INTAKE = 5 * MILLISECOND, REST = 50 * MILLISECOND, PROGRESS = MILLISECOND };
enum { BUSY = 20 * 1000 }; /* a call of MPI that took longer than this moved data, and there is more of it */

/* What the last looks saw. */
typedef struct watch_state {
    int64_t run;
    int64_t looked;   /* when */
    int64_t beaten;   /* when the other processes were told last */
    int64_t progress; /* parcels that had moved, and since when */
    int64_t since;
} watch_state;

/* Time in which this thread itself did not run (the process was stopped, or the machine slept) does not count. */
static void forgive(para_group *g, watch_state *w, int64_t now) {
    for (int i = 0; i < g->local; i++) atomic_store(&g->member[i].sign, now);
    for (int p = 0; p < g->processes; p++) g->peer[p].heard = now;
    w->since = now;
}

static void look_at_ranks(para_group *g, int64_t now) {
    for (int i = 0; i < g->local; i++) {
        const para_member *m = &g->member[i];
        if (m->state == PARA_MEMBER_COMPUTES && now - atomic_load(&m->sign) > para_group_bound(g))
            para_group_fail(g, PARA_ERR_LOST, -1,
                            "rank %d (process %d on %s) gave no sign of life for %g seconds; where it only needs longer, "
                            "raise timeout (--timeout)",
                            g->first + i, g->process, g->peer[g->process].host.name, g->timeout);
    }
}

static void look_at_processes(para_group *g, int64_t now) {
    for (int p = 0; p < g->processes; p++)
        if (p != g->process && now - g->peer[p].heard > para_group_bound(g)) para_group_lose(g, p, false);
}

/* Whether all ranks here have waited for as long as anything may take, some of them for other ranks. */
static bool is_idle(const para_group *g, watch_state *w, int64_t now) {
    bool anyone = false, computes = false;
    for (int i = 0; i < g->local; i++) {
        anyone |= g->member[i].state == PARA_MEMBER_WAITS;
        computes |= g->member[i].state == PARA_MEMBER_COMPUTES;
    }
    if (computes || g->progress != w->progress) w->since = now;
    w->progress = g->progress;
    return (anyone || g->processes > 1) && now - w->since > para_group_bound(g);
}

static void look_for_deadlock(para_group *g, bool idle) {
    for (int p = 0; p < g->processes; p++)
        if (p != g->process) idle &= g->peer[p].idle;
    bool anyone = false;
    for (int i = 0; i < g->local; i++) anyone |= g->member[i].state == PARA_MEMBER_WAITS;
    if (idle && anyone)
        para_group_fail(g, PARA_ERR_STATE, -1,
                        "all ranks wait for each other since %g seconds (timeout, --timeout): they did not make the same "
                        "calls in the same order",
                        g->timeout);
}

/* With the lock held. */
static void look(para_group *g, watch_state *w) {
    int64_t now = para_now();
    if (w->run != g->run) *w = (watch_state){.run = g->run, .looked = now, .beaten = w->beaten, .progress = g->progress, .since = now};
    if (now - w->looked > para_group_bound(g) / 2) forgive(g, w, now);
    w->looked = now;
    bool idle = g->running && is_idle(g, w, now);
    if (g->processes > 1) {
        int64_t interval = para_group_bound(g) / 4 < 500 * MILLISECOND ? para_group_bound(g) / 4 : 500 * MILLISECOND;
        if (now - w->beaten > interval) {
            para_control_beat(g, idle);
            w->beaten = now;
        }
        if (g->running || g->meets) look_at_processes(g, now);
    }
    if (!g->running) return;
    const atomic_bool *cancel = atomic_load(&g->cancel);
    if (cancel && atomic_load(cancel) && !g->ending) para_group_fail(g, PARA_ERR_CANCELLED, -1, "cancelled");
    look_at_ranks(g, now);
    look_for_deadlock(g, idle);
}

/* Until the next look, after messages were asked for in `poll` nanoseconds. */
static int64_t pause_of(para_group *g, int64_t poll) {
    if (g->processes == 1) return TICK;
    if (atomic_load(&g->under_way) > 0) return poll > BUSY ? 0 : PROGRESS;
    return g->running || g->meets ? INTAKE : REST;
}

static void *watch(void *arg) {
    para_group *g = arg;
    watch_state w = {.looked = para_now()};
    pthread_mutex_lock(&g->lock);
    while (!g->closing) {
        if (!g->running && g->processes == 1) {
            pthread_cond_wait(&g->watch_wake, &g->lock);
            w.looked = para_now();
            continue;
        }
        int64_t before = para_now(), poll = 0;
        if (g->processes > 1) {
            pthread_mutex_unlock(&g->lock);
            para_control_poll(g);
            poll = para_now() - before;
            pthread_mutex_lock(&g->lock);
        }
        look(g, &w);
        if (g->running && g->gpu && atomic_load(&g->failed)) { /* ranks may wait for what their GPUs will never get */
            int64_t run = g->run;
            pthread_mutex_unlock(&g->lock);
            para_group_release_gpus(g, run);
            pthread_mutex_lock(&g->lock);
        }
        int64_t pause = pause_of(g, poll);
        if (pause && !g->closing) para_wait_until(g, &g->watch_wake, para_now() + pause);
    }
    pthread_mutex_unlock(&g->lock);
    return NULL;
}

para_status para_watch_open(para_group *g) {
    sigset_t all, before;
    PARA_TRY(para_wake_open(&g->watch_wake));
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before); /* signals are for the program's own threads */
    g->watched = pthread_create(&g->watch, NULL, watch, g) == 0;
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (g->watched) return PARA_OK;
    pthread_cond_destroy(&g->watch_wake);
    return para_fail(PARA_ERR_MEMORY, "a thread that watches the ranks could not be started; raise the limit of threads");
}

void para_watch_close(para_group *g) {
    if (!g->watched) return;
    pthread_mutex_lock(&g->lock);
    g->closing = true;
    pthread_cond_signal(&g->watch_wake);
    pthread_mutex_unlock(&g->lock);
    pthread_join(g->watch, NULL);
    pthread_cond_destroy(&g->watch_wake);
    g->watched = false;
}
