/* Who looks at what is only counted. SPDX-License-Identifier: Apache-2.0 */
#ifndef PARA_COMM_DRY_TRANSPORT_H
#define PARA_COMM_DRY_TRANSPORT_H

#include "comm/endpoint.h"

/* Told when a dry endpoint's exchanges start and are waited for, in their order. stored: by the ops from here on, at others. */
typedef struct para_exchange_watch {
    void (*start)(void *user, int64_t number, bool stored, int sends, const para_transfer *send, int receives, const para_transfer *receive);
    void (*finish)(void *user, int64_t number);
    void *user;
} para_exchange_watch;

/* watch: NULL, nobody; it must outlast the endpoint. */
void para_dry_endpoint_watch(para_endpoint *dry, const para_exchange_watch *watch);

#endif
