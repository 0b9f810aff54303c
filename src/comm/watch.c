/* A thread that notices when a rank is lost, or all wait for each other. SPDX-License-Identifier: Apache-2.0 */
#include "comm/watch.h"

#include "comm/group_state.h"
#include "core/error.h"

enum { TICK = 20 * 1000 * 1000 }; /* nanoseconds between two looks at the ranks */

/* What the last looks saw. */
typedef struct watch_state {
    int64_t looked;   /* when */
    int64_t progress; /* parcels that had moved, and since when */
    int64_t since;
} watch_state;

/* Where this thread itself did not run for long (the process was stopped, or the machine slept), the time does not count. */
static void forgive(para_group *g, watch_state *w, int64_t now) {
    for (int i = 0; i < g->local; i++) atomic_store(&g->member[i].sign, now);
    w->since = now;
}

/* With the lock held. */
static void look(para_group *g, watch_state *w, int64_t now) {
    int64_t bound = (int64_t)(g->timeout * 1e9);
    bool anyone = false, all_wait = true;
    if (now - w->looked > bound / 2) forgive(g, w, now);
    w->looked = now;
    if (g->progress != w->progress) {
        w->progress = g->progress;
        w->since = now;
    }
    const atomic_bool *cancel = atomic_load(&g->cancel);
    if (cancel && atomic_load(cancel)) para_group_fail(g, PARA_ERR_CANCELLED, -1, "cancelled");
    for (int i = 0; i < g->local; i++) {
        const para_member *m = &g->member[i];
        anyone |= m->state == PARA_MEMBER_WAITS;
        if (m->state != PARA_MEMBER_COMPUTES) continue;
        all_wait = false;
        if (now - atomic_load(&m->sign) > bound)
            para_group_fail(g, PARA_ERR_LOST, -1,
                            "rank %d (process %d on %s) gave no sign of life for %g seconds; where it only needs longer, "
                            "raise timeout (--timeout)",
                            g->first + i, g->process, g->host, g->timeout);
    }
    if (!all_wait) w->since = now;
    if (anyone && all_wait && g->processes == 1 && now - w->since > bound)
        para_group_fail(g, PARA_ERR_STATE, -1,
                        "all ranks wait for each other since %g seconds (timeout, --timeout): they did not make the same "
                        "calls in the same order",
                        g->timeout);
}

static void *watch(void *arg) {
    para_group *g = arg;
    watch_state w = {0};
    bool began = false;
    pthread_mutex_lock(&g->lock);
    while (!g->closing) {
        int64_t now = para_now();
        if (!g->running) {
            began = false;
            pthread_cond_wait(&g->watch_wake, &g->lock);
            continue;
        }
        if (!began) w = (watch_state){.looked = now, .progress = g->progress, .since = now};
        began = true;
        look(g, &w, now);
        para_wait_until(g, &g->watch_wake, now + TICK);
    }
    pthread_mutex_unlock(&g->lock);
    return NULL;
}

para_status para_watch_open(para_group *g) {
    PARA_TRY(para_wake_open(&g->watch_wake));
    g->watched = pthread_create(&g->watch, NULL, watch, g) == 0;
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
