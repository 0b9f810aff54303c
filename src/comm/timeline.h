/* When a rank computes and when it waits, by the ops and exchanges of a dry run. SPDX-License-Identifier: Apache-2.0
 *
 * Ops follow each other. An exchange goes on beside them, as far as its link hides behind computing, and those of one link follow each other; whoever waits for
 * one waits for what is left of it. What ranks store at each other goes on beside all of them, from the first that stores. The rank's peers are taken to be where it is. */
#ifndef PARA_COMM_TIMELINE_H
#define PARA_COMM_TIMELINE_H

#include "backend/rates.h"
#include "comm/dry_transport.h"

/* What a stretch of it took. */
typedef struct para_times {
    double compute;  /* seconds of ops, but for */
    double overhead; /* what as many of the smallest ops would take, */
    double exposed;  /* and of waiting for exchanges */
    double exchange; /* that exchanges would take by themselves: hidden parts, too */
    double flops, op_bytes, sent; /* what it was found from: of all ops; of tensors sent */
    int64_t ops, messages;
} para_times;

typedef struct para_timeline para_timeline;

/* rates, and link_user, must outlast it. link: how far this rank is from another. PARA_ERR_MEMORY. */
para_status para_timeline_open(para_timeline **out, const para_rates *rates, para_rate (*link)(const void *user, int rank), const void *link_user);
void para_timeline_close(para_timeline **timeline); /* takes NULL in it */

/* Has it look at a dry rank's device and endpoint (or NULL), which it must outlast. */
void para_timeline_watch(para_timeline *timeline, para_device *dev, para_endpoint *endpoint);
/* What there was since the last call. */
para_times para_timeline_take(para_timeline *timeline);
/* PARA_ERR_MEMORY where it lost count. */
para_status para_timeline_status(const para_timeline *timeline);

#endif
