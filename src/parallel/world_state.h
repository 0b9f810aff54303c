/* What stands behind a para_world. SPDX-License-Identifier: Apache-2.0 */
#ifndef PARA_PARALLEL_WORLD_STATE_H
#define PARA_PARALLEL_WORLD_STATE_H

#include <paraattn/world.h>
#include <pthread.h>

#include "comm/group.h"
#include "comm/rank.h"

enum { PARA_MAX_RANKS = 256, PARA_MAX_THREADS = 4096 }; /* of a process */

/* A rank of this process and its thread; the first one's is whoever calls para_world_run. */
typedef struct para_worker {
    para_world *world;
    int local; /* place among the process's ranks */
    para_rank rank;
    pthread_t thread;
    bool started; /* there is a thread */
    bool working; /* on a body; with the world's lock held */
} para_worker;

struct para_world {
    para_world_options options;
    int threads;                /* host threads of all ranks of this process */
    int *gpu;                   /* [options.ranks]: which one, where the ranks compute on GPUs */
    para_group *group;
    para_group *others;         /* processes whose ranks this one has taken over, with it; or NULL */
    bool handed_over;           /* this process is one of them, `group` is what they are, and there are no workers */
    cpu_set_t processors;       /* of the thread that opened the world, before it took over those of the others; */
    pid_t opener;               /* that thread; 0: it did not */
    para_worker *worker;        /* [options.ranks] */
    atomic_flag busy;           /* somebody has taken it */
    const atomic_bool *cancel;  /* of whoever has; or NULL */
    bool lost;                  /* a rank did not come back */

    pthread_mutex_t lock; /* of what follows */
    pthread_cond_t start; /* there is something to do */
    int64_t runs;         /* begun so far */
    bool grow;            /* arenas may grow in this run */
    para_rank_body body;
    void *user;
    bool closing, left;   /* close was called; and has left the rest to ranks that did not come back */
    int away;             /* those ranks */
};

/* PARA_ERR_STATE where its ranks are another process's. */
para_status para_world_works(const para_world *world);
/* Takes the world for a request; `cancel` (or NULL), set from any thread or a signal handler, ends its runs with PARA_ERR_CANCELLED. PARA_ERR_BUSY, PARA_ERR_STATE. */
para_status para_world_take(para_world *world, const atomic_bool *cancel);
void para_world_release(para_world *world);

/* para_world_run for whoever has taken the world. Arenas are as the last para_device_reserve left them, and do not grow. */
para_status para_world_run_internal(para_world *world, para_rank_body body, void *user);

/* Collective over the processes, between runs; nothing to do where there is one. Process 0 gives *bytes, the others receive an allocated copy. */
para_status para_world_broadcast(para_world *world, void **bytes, size_t *size);
/* Fails on every process, with one sentence, where the n bytes of a process are not those of process 0: "process 2 was started with another `what`". */
para_status para_world_same(para_world *world, const void *bytes, size_t n, const char *what);

/* After the group is open: where its processes want to, and can, the first takes over the ranks of all. g is what its group is opened with then. world_gather.c */
para_status para_world_gather(para_world *world, para_group_options *g);
void para_world_give_back_processors(const para_world *world);

/* The threads of the ranks but the first: starts them; and ends them. Sets *world to NULL and frees it all, unless a rank is still away, which does so later. */
para_status para_world_start_threads(para_world *world);
void para_world_end_threads(para_world **world);
/* Frees what the threads have left. */
void para_world_free(para_world *world);

/* Hands a line (printf format) to the world's log, if it has one. */
void para_world_log(const para_world *world, para_log_level level, const char *format, ...) __attribute__((format(printf, 3, 4)));

#endif
