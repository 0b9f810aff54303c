/* Where the processes of a world agree. All of it is collective over them, and not for several threads at once.
 * SPDX-License-Identifier: Apache-2.0
 *
 * With one process there is nobody to meet: nothing happens. PARA_ERR_LOST: a process is gone, and the group cannot be used any more.
 * PARA_ERR_STATE: another process makes another call. */
#ifndef PARA_COMM_MEETING_H
#define PARA_COMM_MEETING_H

#include "comm/group.h"

/* What a meeting is for. */
typedef enum para_meeting {
    PARA_MEET_OPEN = 1,
    PARA_MEET_END,       /* of a run */
    PARA_MEET_BROADCAST,
    PARA_MEET_BROADCAST_DONE,
    PARA_MEET_SAME,
    PARA_MEET_GPUS,      /* they are to meet, or have */
    PARA_MEET_GATHER,    /* whether one process takes over the ranks of all */
    PARA_MEET_CLOSE,
} para_meeting;

enum { PARA_NOTE_MAX = 1280 };

/* Each process brings n ≤ PARA_NOTE_MAX bytes: all [processes][n]. */
para_status para_meet(para_group *g, para_meeting what, const void *own, int n, void *all);

/* Process 0 gives *bytes, the others receive an allocated copy (para_free). */
para_status para_meet_broadcast(para_group *g, void **bytes, size_t *size);
/* PARA_ERR_ARGUMENT on every process where the bytes of one are not those of process 0: "process 2 was started with another `what`". */
para_status para_meet_same(para_group *g, const void *bytes, size_t n, const char *what);

#endif
