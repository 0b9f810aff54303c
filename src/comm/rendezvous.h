/* Ranks of one process that come together on the host, their devices aside. SPDX-License-Identifier: Apache-2.0
 *
 * Collective over the communicator's ranks, by which they know a rendezvous: some of them may have met without the others before. */
#ifndef PARA_COMM_RENDEZVOUS_H
#define PARA_COMM_RENDEZVOUS_H

#include "comm/rank.h"

/* Whether they can; the same for all of them. A rank by itself need not. */
bool para_comm_meets(para_comm c);

/* Each brings its status and a note of `bytes`; notes [size][bytes] has them all. Returns when all have come, and the same for all: PARA_OK where
 * all of them brought that. A status that is not fails the run, which takes the others out of their waits, and its sentence is what the ranks return. Of a run that
 * has failed it returns when those that have not come are back from their bodies, or lost: then nobody else is at what was agreed here before. */
para_status para_comm_rendezvous(para_comm c, para_status own, const void *note, size_t bytes, void *notes);

#endif
