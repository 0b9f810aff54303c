/* What a launcher tells each process it starts, in the environment: RANK, WORLD_SIZE, LOCAL_RANK, MASTER_ADDR, MASTER_PORT. SPDX-License-Identifier: Apache-2.0 */
#ifndef PARA_COMM_LAUNCH_VARIABLES_H
#define PARA_COMM_LAUNCH_VARIABLES_H

#include <paraattn/status.h>

typedef struct para_launch {
    int process, processes; /* RANK, WORLD_SIZE */
    const char *address;    /* of process 0; the environment's own; NULL where there is one process */
    int port;
} para_launch;

/* For a process for which para_started_by_launcher holds. PARA_ERR_ARGUMENT with what is missing or contradicts itself. */
para_status para_launch_read(para_launch *out);
/* The process's place among those of its host: LOCAL_RANK, or what mpirun calls it. -1: nobody says so. PARA_ERR_ARGUMENT. */
para_status para_launch_local(int *out);

#endif
