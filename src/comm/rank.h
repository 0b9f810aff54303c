/* One worker: a host thread with its device, its way to the others and its attention modes. SPDX-License-Identifier: Apache-2.0 */
#ifndef PARA_COMM_RANK_H
#define PARA_COMM_RANK_H

#include <paraattn/attention.h>

#include "backend/backend.h"
#include "comm/endpoint.h"

enum { PARA_MAX_MODES = 16 };

struct para_rank {
    para_device *device;
    para_endpoint *endpoint; /* its way to the others; NULL: it is alone */
    int index, size;         /* place among all ranks of the world, and their number */
    int threads;             /* host threads of its own */
    int process_threads;     /* of all ranks of its process: what its first rank may use while the others wait for it */
    para_attention_mode mode[PARA_MAX_MODES]; /* the stack, bottom first */
    int modes;
    para_arena host;         /* scratch of attention modes on the host */
};

/* Whether a mode takes attention's operands, and may want them elsewhere than where they are made. */
static inline bool para_attention_moves(const para_rank *rank) {
    return rank->modes > 0;
}

/* A rank on `device` (closed with it) and `endpoint` (the caller's, or NULL for a rank that is alone); with room for scratch. PARA_ERR_MEMORY: the device is
 * the caller's again. */
para_status para_rank_open(para_rank *out, para_device *device, para_endpoint *endpoint);
void para_rank_close(para_rank *rank); /* takes a zeroed one, too */

/* Between para_rank_serial(rank, true) and (rank, false) the process's other ranks wait, and this one computes with all the process's threads. */
void para_rank_serial(para_rank *rank, bool serial);

#endif
