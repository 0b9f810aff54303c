/* One worker: a host thread with its device and its attention modes. SPDX-License-Identifier: Apache-2.0 */
#ifndef PARA_PARALLEL_RANK_H
#define PARA_PARALLEL_RANK_H

#include "backend/backend.h"

typedef struct para_rank {
    para_device *device;
} para_rank;

/* para_device_check of the rank's device. */
para_status para_rank_check(const para_rank *rank);

#endif
