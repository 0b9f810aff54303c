/* Steps without what ranks exchange, to time what is left. SPDX-License-Identifier: Apache-2.0 */
#ifndef PARA_COMM_IDLE_TRANSPORT_H
#define PARA_COMM_IDLE_TRANSPORT_H

#include "comm/endpoint.h"

typedef struct para_idle_pending para_idle_pending;

/* An endpoint's transport while it is out of work: nothing is sent, waited for or counted; what should arrive is what was there before, and what would be stored
 * at others is stored at home. Ranks come together as ever. */
typedef struct para_idle {
    para_transport transport; /* first, so that it leads here */
    para_endpoint *endpoint;
    const para_transport *before;
    para_idle_pending *first; /* of offers that nobody has finished */
} para_idle;

/* Between them no transfer of before may be under way. e may be NULL: a world of one rank. */
void para_idle_begin(para_idle *idle, para_endpoint *e);
void para_idle_end(para_idle *idle);

#endif
