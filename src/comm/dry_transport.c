/* Transfers that are only counted, for plans. SPDX-License-Identifier: Apache-2.0 */
#include "comm/dry_transport.h"

#include "core/alloc.h"

typedef struct dry_endpoint dry_endpoint;

/* A watched exchange that nobody has waited for. */
typedef struct dry_pending {
    para_pending base; /* first, so that it leads here */
    struct dry_pending *next;
    int64_t number;
} dry_pending;

struct dry_endpoint {
    para_endpoint base; /* likewise */
    const para_exchange_watch *watch;
    dry_pending *first;
    int64_t started;
};

static para_status start(para_endpoint *e, para_device *dev, int sends, const para_transfer *send, int receives,
                         const para_transfer *receive, para_pending **pending) {
    dry_endpoint *d = (dry_endpoint *)e;
    for (int i = 0; i < sends; i++) para_endpoint_count(e, &send[i]);
    *pending = NULL;
    if (!d->watch) return PARA_OK;
    dry_pending *p = para_alloc(1, sizeof *p);
    if (!p) return PARA_ERR_MEMORY;
    *p = (dry_pending){.base = {e, dev}, .next = d->first, .number = d->started++};
    d->first = p;
    *pending = &p->base;
    d->watch->start(d->watch->user, p->number, sends, send, receives, receive);
    return PARA_OK;
}

/* As if all had been stored; nobody is reached, then. */
static para_status offer(para_endpoint *e, para_device *dev, int offers, const para_transfer *room, int places, const para_transfer *place,
                         para_pending **pending) {
    return start(e, dev, places, place, offers, room, pending);
}

static para_status finish(para_pending *pending) {
    dry_pending *p = (dry_pending *)pending;
    dry_endpoint *d = (dry_endpoint *)pending->endpoint;
    d->watch->finish(d->watch->user, p->number);
    dry_pending **at = &d->first;
    while (*at != p) at = &(*at)->next;
    *at = p->next;
    para_free(p);
    return PARA_OK;
}

static void close_dry(para_endpoint *e) {
    dry_endpoint *d = (dry_endpoint *)e;
    for (dry_pending *p = d->first, *next; p; p = next) { /* of a run that failed */
        next = p->next;
        para_free(p);
    }
    para_free(d);
}

para_status para_dry_endpoint_open(para_endpoint **out, int index, int size) {
    static const para_transport dry = {.name = "dry", .start = start, .finish = finish, .close = close_dry, .offer = offer};
    dry_endpoint *d = para_alloc(1, sizeof *d);
    *out = NULL;
    if (!d) return PARA_ERR_MEMORY;
    d->base = (para_endpoint){.transport = &dry, .index = index, .size = size, .addressable = true};
    *out = &d->base;
    return PARA_OK;
}

void para_dry_endpoint_watch(para_endpoint *e, const para_exchange_watch *watch) {
    ((dry_endpoint *)e)->watch = watch;
}
