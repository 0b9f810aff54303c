/* One worker: a host thread with its device and its attention modes. SPDX-License-Identifier: Apache-2.0 */
#ifndef PARA_PARALLEL_RANK_H
#define PARA_PARALLEL_RANK_H

#include <stdatomic.h>

#include "backend/backend.h"

typedef struct para_rank {
    para_device *device;
    const atomic_bool *cancel; /* set from any thread to end the request; or NULL */
} para_rank;

/* PARA_ERR_CANCELLED once the request is to end. Called between ops that take long. */
para_status para_rank_check(const para_rank *rank);

#endif
