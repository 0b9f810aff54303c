/* Timing the same work again and again. SPDX-License-Identifier: Apache-2.0 */
#ifndef PARA_PIPELINE_BENCH_ROUNDS_H
#define PARA_PIPELINE_BENCH_ROUNDS_H

#include "comm/rank.h"

/* Work that is timed. With `together` all ranks of the world do it equally often, and the slowest one's time is that of all. */
typedef struct para_rounds {
    para_rank *rank;
    bool together, quick;
    para_status (*work)(void *user);
    para_status (*wait)(void *user); /* until the device is done */
    void *user;
} para_rounds;

/* Seconds that a round aims at. */
double para_round_seconds(const para_rounds *r);
/* Seconds of the work, done once. */
para_status para_rounds_once(const para_rounds *r, double *seconds);
/* The median over rounds, each of as much work as fills it; few rounds of work that takes seconds. */
para_status para_rounds_median(const para_rounds *r, double *seconds);

#endif
