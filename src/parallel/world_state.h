/* What stands behind a para_world. SPDX-License-Identifier: Apache-2.0 */
#ifndef PARA_PARALLEL_WORLD_STATE_H
#define PARA_PARALLEL_WORLD_STATE_H

#include <paraattn/world.h>

#include "comm/rank.h"

struct para_world {
    para_world_options options;
    para_rank rank;   /* the one rank; its thread is the caller's */
    atomic_flag busy; /* a request is running */
};

/* Hands a line (printf format) to the world's log, if it has one. */
void para_world_log(const para_world *world, para_log_level level, const char *format, ...) __attribute__((format(printf, 3, 4)));

#endif
