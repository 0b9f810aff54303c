/* Transfers that are only counted, for plans. SPDX-License-Identifier: Apache-2.0 */
#include "comm/endpoint.h"
#include "core/alloc.h"

static para_status start(para_endpoint *e, para_device *dev, int sends, const para_transfer *send, int receives,
                         const para_transfer *receive, para_pending **pending) {
    (void)dev;
    (void)receives;
    (void)receive;
    for (int i = 0; i < sends; i++) para_endpoint_count(e, &send[i]);
    *pending = NULL;
    return PARA_OK;
}

/* As if all had been stored; nobody is reached, then. */
static para_status offer(para_endpoint *e, para_device *dev, int offers, const para_transfer *room, int places, const para_transfer *place,
                         para_pending **pending) {
    return start(e, dev, places, place, offers, room, pending);
}

static para_status finish(para_pending *pending) {
    (void)pending; /* there is never one */
    return PARA_OK;
}

static void close_dry(para_endpoint *e) {
    para_free(e);
}

para_status para_dry_endpoint_open(para_endpoint **out, int index, int size) {
    static const para_transport dry = {.name = "dry", .start = start, .finish = finish, .close = close_dry, .offer = offer};
    *out = para_alloc(1, sizeof **out);
    if (!*out) return PARA_ERR_MEMORY;
    **out = (para_endpoint){.transport = &dry, .index = index, .size = size, .addressable = true};
    return PARA_OK;
}
