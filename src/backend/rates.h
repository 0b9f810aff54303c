/* How long ops and exchanges take, by what a machine was measured to do. SPDX-License-Identifier: Apache-2.0 */
#ifndef PARA_BACKEND_RATES_H
#define PARA_BACKEND_RATES_H

#include "backend/counts.h"

/* Constants hold where they are above 0. */
typedef struct para_rates {
    const para_rate_set *set;  /* NULL: nothing was measured */
    double flops;              /* that a rank computes in a second; nothing else takes time then */
    double bandwidth, latency; /* bytes that a rank sends in a second; seconds that a message takes besides. Nothing hides then */
} para_rates;

/* Seconds of an op, and how many of them the smallest op takes, too. */
double para_rates_op(const para_rates *rates, const para_counted_op *op);
double para_rates_launch(const para_rates *rates, const para_counted_op *op);

/* An exchange as one rank sees it. */
typedef struct para_counted_exchange {
    para_rate link;    /* PARA_RATE_PROCESS, HOST or HOSTS */
    int targets;       /* ranks that it sends to */
    int64_t messages;  /* that it sends */
    double bytes;      /* that it sends, or receives where that is more */
} para_counted_exchange;

/* Seconds of it where nobody computes, and the part of them that hides behind computing, 0 to 1. A link that was not measured is taken as one that was. */
double para_rates_exchange(const para_rates *rates, const para_counted_exchange *x, double *overlap);
/* The measured link that stands for one; PARA_RATES: constants do. */
para_rate para_rates_link(const para_rates *rates, para_rate link);

/* Seconds by a table's rows, sizes as in these. Between rows that were measured, those around a size count the more the nearer they are in logarithms; beyond
 * them work per second stays what it is at the edge, and what is smaller takes no less than the edge, but for ops that memory limits. 0 where a
 * size is 0. */
double para_rate_seconds(const para_rate_table *table, para_rate rate, const double *size);

#endif
