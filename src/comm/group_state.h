/* What stands behind a para_group, for the files that make it up. SPDX-License-Identifier: Apache-2.0 */
#ifndef PARA_COMM_GROUP_STATE_H
#define PARA_COMM_GROUP_STATE_H

#include <pthread.h>

#include "comm/group.h"
#include "comm/host_identity.h"
#include "comm/meeting.h"
#include "comm/mpi_link.h"
#include "comm/nccl_link.h"

enum { PARA_SENTENCE = 1024 };

/* Of two processes that should be doing the same: printf format of both numbers. */
#define PARA_OTHER_CALL                                                                                                \
    "process %d makes another call than process %d; all processes must make the same calls on a world in the same order"

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

typedef struct para_staging para_staging; /* group_lane.c */

typedef struct para_visit para_visit; /* group_rendezvous.c */

/* A rank of this process. */
typedef struct para_member {
    para_endpoint endpoint; /* first, so that an endpoint leads to its member */
    para_group *group;
    int local;
    pthread_cond_t wake;        /* something that it waits for may have come */
    para_member_state state;
    atomic_int_fast64_t sign;   /* nanoseconds of the clock at its last sign of life */
    struct para_batch *batches; /* what it started and has not finished; its own thread's */
    para_staging *staging;      /* its own thread's, too */
    para_visit *visit;          /* where it waits for others to come together with it; NULL: nowhere */
    bool comes_no_more;         /* in this run */
} para_member;

/* What a process brought to a meeting. */
typedef struct para_note {
    int64_t number; /* of the meeting; 0: the note was read */
    para_meeting what;
    int n;
    char bytes[PARA_NOTE_MAX];
} para_note;

/* A process as the others know it. */
typedef struct para_process {
    int first, ranks;  /* its first rank, and how many */
    para_host_identity host;
    int host_number;   /* among the hosts of the world, in the order of their processes */
    uint64_t cores;    /* which processors it may use: equal numbers are equal sets */
    int64_t heard;     /* nanoseconds of the clock at its last message */
    bool idle;         /* all its ranks waited when it last said so */
    para_note note[2]; /* by the meeting's number: it is at most one meeting ahead of this process */
} para_process;

struct para_group {
    int size, first, local; /* ranks of the world, first of this process, number of its ranks */
    int process, processes;
    double timeout;
    para_mpi *mpi;          /* NULL: one process */
    para_process *peer;     /* [processes], itself included */
    int *host, hosts;       /* [size]: on which host each rank is, from 0 on and never falling; how many there are */
    void *room;             /* [processes][PARA_NOTE_MAX]: what a meeting brings together; its own, so that none fails for want of memory */

    pthread_mutex_t lock;   /* of all below that is not atomic, and of `peer` */
    pthread_cond_t back;    /* a rank came back, or the run failed */
    para_member *member;    /* [local] */
    para_channel *channel;  /* [local][local]: from, to */
    int64_t progress;       /* parcels that moved */

    int64_t run;            /* its number, the same on all processes */
    bool running;
    bool ending;            /* this process has come to the meeting that ends it: the others may be past it */
    atomic_bool failed;     /* failure.status, without the lock */
    para_failure failure;
    int64_t failed_at;      /* nanoseconds */
    _Atomic(const atomic_bool *) cancel;

    para_failure early;     /* another process's failure of a run that this one has not begun yet */
    int64_t early_run;
    para_failure loss;      /* a rank or a process is gone: the group cannot be used any more */
    int64_t meeting;        /* number of the last one */
    bool meets;             /* it is going on */
    atomic_int under_way;   /* batches with transfers over MPI */
    pthread_mutex_t intake; /* taken before `lock`: one thread at a time takes in messages, so that they stay in order */

    int *gpu;                        /* [local], where those of several processes meet; else NULL */
    const para_nccl_module *gpus_by; /* the same */
    pthread_mutex_t nccl_lock;       /* whoever gives `nccl` up or replaces it; taken without `lock` */
    para_nccl *nccl;                 /* NULL: there is none */
    bool nccl_broken;                /* a run failed: the next one begins with another */

    bool parted;            /* it has taken leave of the other processes */
    para_status parting, said; /* what came of it, and what process 0 said */

    bool watched, closing;  /* there is a watch; it is to end */
    pthread_t watch;
    pthread_cond_t watch_wake;
};

/* The timeout in nanoseconds. */
static inline int64_t para_group_bound(const para_group *g) {
    return (int64_t)(g->timeout * 1e9);
}

/* With the lock held, after a failure: until when ranks and processes that are not back are waited for. One that failed for its silence has been waited for already. */
static inline int64_t para_group_patience(const para_group *g) {
    return g->failed_at + para_group_bound(g) / (g->failure.status == PARA_ERR_LOST ? 2 : 1);
}

/* Numbers the ranks host by host, and on each process by process, whatever the order in which a launcher went over the hosts: ranks next to each other are
 * near each other. Process 0 has rank 0. Fills in `first` and `host_number`, returns how many ranks there are. */
int para_number_ranks(para_process *peer, int processes, int *hosts);

/* A rank of the world: the process that it is a thread of. */
int para_group_process_of(const para_group *g, int rank);

static inline para_channel *para_group_channel(para_group *g, int from, int to) {
    return &g->channel[from * g->local + to];
}

/* Nanoseconds of the monotonic clock; a condition with that clock; a wait on it until then, with the group's lock held. */
int64_t para_now(void);
para_status para_wake_open(pthread_cond_t *wake);
void para_wait_until(para_group *g, pthread_cond_t *wake, int64_t until);

/* With the lock held: the first failure of the run stays, takes everybody out of their waits, here and in the other processes. printf format. */
void para_group_fail(para_group *g, para_status status, int rank, const char *format, ...) __attribute__((format(printf, 4, 5)));
/* The same for one that another process has told. */
void para_group_take_failure(para_group *g, const para_failure *failure);
/* With the lock held: `process` is gone, `ended` for certain, or silent. Ends the run, meetings and waits. */
void para_group_lose(para_group *g, int process, bool ended);
/* The run's failure as this thread's. PARA_OK where there is none. Takes the lock. */
para_status para_group_failure(para_group *g);

/* ---- GPUs of several processes: group_gpus.c */
/* After a failed run: joins them anew, where they are. Collective, waits. */
para_status para_group_rejoin(para_group *g);
/* Takes ranks out of what their GPUs wait for: those of this run, where it still goes on, or at any time (0). Without the lock. */
void para_group_release_gpus(para_group *g, int64_t run);

/* ---- transfers between them: group_lane.c */
typedef struct para_lane {
    para_mark *passed;     /* when all of them have left and arrived; NULL: there are none */
    para_staging *staging; /* of those that are not contiguous; or NULL */
} para_lane;

/* One of them: packed is where it lies in one piece. */
typedef struct para_lane_item {
    int rank;                   /* of the world */
    para_tensor tensor, packed; /* the same sizes; packed is contiguous */
    bool receives;
} para_lane_item;

/* Starts n of them; and when they have passed, unpacks. The caller waits for lane->passed in between, on the device. */
para_status para_lane_start(para_member *m, para_device *dev, int n, para_lane_item *item, para_lane *lane);
para_status para_lane_unpack(para_device *dev, int n, const para_lane_item *item);
void para_lane_close(para_device *dev, para_lane *lane);

/* The transport between members. What a rank started and did not finish: how many there are; gives them up, once
 * the others can know that the run has failed. */
extern const para_transport para_group_transport, para_group_mpi_transport; /* in one process; in several */
/* group_rendezvous.c */
para_status para_group_rendezvous(para_endpoint *e, const para_gathering *a, para_status own, void *notes);
int para_group_left(const para_member *m);
void para_group_give_up(para_member *m);

#endif
