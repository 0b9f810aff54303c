/* A thread that may be left behind. SPDX-License-Identifier: Apache-2.0 */
#include "core/errand.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "core/alloc.h"
#include "core/error.h"

typedef struct errand {
    pthread_mutex_t lock;
    pthread_cond_t change;
    bool done, left; /* the call has returned; nobody waits for it any more */
    void (*call)(void *);
    void *argument;
} errand;

static void free_errand(errand *e) {
    pthread_cond_destroy(&e->change);
    pthread_mutex_destroy(&e->lock);
    para_free(e);
}

/* Whoever comes last, the thread or the one that waits, frees. */
static void *go(void *argument) {
    errand *e = argument;
    e->call(e->argument);
    pthread_mutex_lock(&e->lock);
    e->done = true;
    bool last = e->left;
    pthread_cond_signal(&e->change);
    pthread_mutex_unlock(&e->lock);
    if (last) free_errand(e);
    return NULL;
}

static errand *new_errand(void (*call)(void *), void *argument) {
    errand *e = para_alloc(1, sizeof *e);
    if (!e) return NULL;
    e->call = call;
    e->argument = argument;
    pthread_condattr_t monotonic;
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(&e->change, &monotonic);
    pthread_condattr_destroy(&monotonic);
    pthread_mutex_init(&e->lock, NULL);
    return e;
}

static struct timespec after(double seconds) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    if (!(seconds < 1e9)) seconds = 1e9;
    t.tv_sec += (time_t)seconds;
    t.tv_nsec += (long)(1e9 * (seconds - (double)(time_t)seconds));
    if (t.tv_nsec >= 1000000000) {
        t.tv_nsec -= 1000000000;
        t.tv_sec++;
    }
    return t;
}

para_status para_errand(void (*call)(void *argument), void *argument, double seconds, bool *returned) {
    *returned = false;
    errand *e = new_errand(call, argument);
    if (!e) return PARA_ERR_MEMORY;
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before); /* threads start with the mask of the one that starts them */
    pthread_t thread;
    int failure = pthread_create(&thread, NULL, go, e);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (failure != 0) {
        free_errand(e);
        return para_fail(PARA_ERR_LIBRARY, "a thread cannot be started: %s; end other programs", strerror(failure));
    }
    struct timespec until = after(seconds);
    pthread_mutex_lock(&e->lock);
    while (!e->done && pthread_cond_timedwait(&e->change, &e->lock, &until) != ETIMEDOUT) {
    }
    *returned = e->done;
    e->left = !e->done;
    pthread_mutex_unlock(&e->lock);
    if (!*returned) {
        pthread_detach(thread);
        return PARA_OK;
    }
    pthread_join(thread, NULL);
    free_errand(e);
    return PARA_OK;
}
