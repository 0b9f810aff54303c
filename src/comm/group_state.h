/* What stands behind a para_group, for the files that make it up. SPDX-License-Identifier: Apache-2.0 */
#ifndef PARA_COMM_GROUP_STATE_H
#define PARA_COMM_GROUP_STATE_H

#include <pthread.h>

#include "comm/group.h"

enum { PARA_SENTENCE = 1024 };

/* Why a run ends before its time. */
typedef struct para_failure {
    para_status status; /* PARA_OK: there is none */
    int rank;           /* whose it is; -1: nobody's own */
    char sentence[PARA_SENTENCE];
} para_failure;

typedef struct para_parcel para_parcel; /* group_transport.c */

/* From one rank of this process to another: what was sent and not yet taken. */
typedef struct para_channel {
    para_parcel *first;
    int64_t sent, received; /* transfers that either side started: their numbers match them */
} para_channel;

typedef enum para_member_state {
    PARA_MEMBER_BACK,     /* its body has returned */
    PARA_MEMBER_COMPUTES, /* signs of life are due */
    PARA_MEMBER_WAITS,    /* for other ranks */
} para_member_state;

/* A rank of this process. */
typedef struct para_member {
    para_endpoint endpoint; /* first, so that an endpoint leads to its member */
    para_group *group;
    int local;
    pthread_cond_t wake;        /* something that it waits for may have come */
    para_member_state state;
    atomic_int_fast64_t sign;   /* nanoseconds of the clock at its last sign of life */
    struct para_batch *batches; /* what it started and has not finished; its own thread's */
} para_member;

struct para_group {
    int size, first, local; /* ranks of the world, first of this process, number of its ranks */
    int process, processes;
    double timeout;
    char host[256];

    pthread_mutex_t lock;  /* of all below that is not atomic */
    pthread_cond_t back;   /* a rank came back, or the run failed */
    para_member *member;   /* [local] */
    para_channel *channel; /* [local][local]: from, to */
    int64_t progress;      /* parcels that moved */

    bool running;
    atomic_bool failed;    /* failure.status, without the lock */
    para_failure failure;
    int64_t failed_at;     /* nanoseconds */
    _Atomic(const atomic_bool *) cancel;

    bool watched, closing; /* there is a watch; it is to end */
    pthread_t watch;
    pthread_cond_t watch_wake;
};

static inline para_channel *para_group_channel(para_group *g, int from, int to) {
    return &g->channel[from * g->local + to];
}

/* Nanoseconds of the monotonic clock; a condition with that clock; a wait on it until then, with the group's lock held. */
int64_t para_now(void);
para_status para_wake_open(pthread_cond_t *wake);
void para_wait_until(para_group *g, pthread_cond_t *wake, int64_t until);

/* With the lock held: the first failure of the run stays, takes everybody out of their waits. printf format. */
void para_group_fail(para_group *g, para_status status, int rank, const char *format, ...) __attribute__((format(printf, 4, 5)));
/* The run's failure as this thread's. PARA_OK where there is none. Takes the lock. */
para_status para_group_failure(para_group *g);

/* The transport between members. What a rank started and did not finish: gives it up, tells how many there were. */
extern const para_transport para_group_transport;
int para_group_give_up(para_member *m);

#endif
