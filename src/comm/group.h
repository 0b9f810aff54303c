/* The ranks of a world as one process sees them: who is where, how they reach each other, and how a run of theirs fails as one.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef PARA_COMM_GROUP_H
#define PARA_COMM_GROUP_H

#include <sched.h>

#include "comm/endpoint.h"

typedef struct para_group para_group;

typedef struct para_group_options {
    int ranks;      /* that this process hosts */
    double timeout; /* seconds without a sign of life after which a rank counts as lost */
    bool mpi;       /* with the ranks of the other processes that mpirun started */
    uint64_t cores; /* which processors this process may use: equal numbers are equal sets */
    int hosts;      /* the ranks count as being on so many hosts; 0: on those where they are */
    const int *host_ranks; /* [hosts]: how many on each; NULL: as even as can be */
} para_group_options;

/* leave: takes leave of the other processes, and ends what runs beside the ranks; close, after the threads of its ranks have come back, frees. */
para_status para_group_open(para_group **out, const para_group_options *options);
/* part: waits for the others to take leave, too; leave does it where nobody did. own: what this process has to say; *first: what process 0 said. PARA_ERR_LOST. */
para_status para_group_part(para_group *g, para_status own, para_status *first);
void para_group_leave(para_group *g);
void para_group_close(para_group **group);

/* All ranks of the world; of this process: the first, and how many. Place of this process, and number of processes. */
int para_group_size(const para_group *g);
int para_group_first(const para_group *g);
int para_group_local(const para_group *g);
int para_group_process(const para_group *g);
int para_group_processes(const para_group *g);
/* Ranks are numbered host by host, and on each process by process. How many hosts there are; on which each rank is, [para_group_size] from 0 on. */
int para_group_hosts(const para_group *g);
const int *para_group_host_list(const para_group *g);
/* Processes on this host that may use the same processors, this one included. */
int para_group_neighbours(const para_group *g);
/* The way of the local-th rank of this process to the others, the group's own; NULL in a world of one. */
para_endpoint *para_group_endpoint(para_group *g, int local);

/* Lets the ranks' GPUs meet those of other processes, gpu[i] the local-th rank's; nothing to do where there is one process. Collective, waits. PARA_ERR_LIBRARY,
 * PARA_ERR_LOST, PARA_ERR_MEMORY. */
para_status para_group_join_gpus(para_group *g, const int *gpu);
/* Before the device of the local-th rank is closed: gives back what transfers took of it. */
void para_group_free_staging(para_group *g, int local, para_device *dev);
/* The ranks of the processes before this one on its host. */
int para_group_earlier_here(const para_group *g);
/* What a process has to say to gathering the ranks of all in the first. */
typedef struct para_group_offer {
    int64_t willing;
    int64_t threads;      /* that it was given; 0: as many as there are */
    uint64_t gpus;        /* equal numbers are equal lists of GPUs */
    cpu_set_t processors; /* that it may use */
} para_group_offer;

/* Whether all processes are willing and have the same GPUs. Then *offer is that of all: their threads, 0 if one's are, and their processors. Collective,
 * waits. group_gather.c */
para_status para_group_all_willing(para_group *g, para_group_offer *offer, bool *all);

/* ---- A run: begin on one thread, then check and finish on each rank's own, then end. */

/* `cancel`, or NULL: set from any thread or a signal handler, it ends the run with PARA_ERR_CANCELLED. */
para_status para_group_begin(para_group *g, const atomic_bool *cancel);
/* A rank's sign of life. The first failure of any rank, once there is one. */
para_status para_group_check(para_group *g, int local);
/* What a rank's body returned. A failure takes the others out of their waits. What it left under way is given up. */
void para_group_finish(para_group *g, int local, para_status status);
/* Waits for all ranks of all processes, for those that fail to come back after a failure only `timeout` long. The first failure, the same on every process,
 * its sentence set on this thread. *lost: a rank or a process did not come back, so that the group cannot be used any more. */
para_status para_group_end(para_group *g, bool *lost);

#endif
