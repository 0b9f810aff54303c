/* Transfers that are only counted, for plans. SPDX-License-Identifier: Apache-2.0 */
#include "comm/dry_transport.h"

#include "core/alloc.h"
#include "core/error.h"

typedef struct dry_endpoint dry_endpoint;

/* A watched exchange that nobody has waited for. */
typedef struct dry_pending {
    para_pending base; /* first, so that it leads here */
    struct dry_pending *next;
    int64_t number;
    bool begun;             /* the watch has heard of it */
    int sends, receives;
    para_transfer transfer[]; /* [sends + receives], of what is stored where it is offered */
} dry_pending;

struct dry_endpoint {
    para_endpoint base; /* likewise */
    const para_exchange_watch *watch;
    dry_pending *first;
    int64_t started;
};

static para_status open_pending(dry_endpoint *d, para_device *dev, int kept, dry_pending **out) {
    dry_pending *p = *out = para_alloc(1, sizeof *p + (size_t)kept * sizeof *p->transfer);
    if (!p) return PARA_ERR_MEMORY;
    p->base = (para_pending){&d->base, dev};
    p->next = d->first;
    p->number = d->started++;
    d->first = p;
    return PARA_OK;
}

static para_status start(para_endpoint *e, para_device *dev, int sends, const para_transfer *send, int receives,
                         const para_transfer *receive, para_pending **pending) {
    dry_endpoint *d = (dry_endpoint *)e;
    dry_pending *p;
    for (int i = 0; i < sends; i++) para_endpoint_count(e, &send[i]);
    *pending = NULL;
    if (!d->watch) return PARA_OK;
    PARA_TRY(open_pending(d, dev, 0, &p));
    *pending = &p->base;
    p->begun = true;
    d->watch->start(d->watch->user, p->number, false, sends, send, receives, receive);
    return PARA_OK;
}

/* As if all were stored, beginning with the first reach. */
static para_status offer(para_endpoint *e, para_device *dev, int offers, const para_transfer *room, int places, const para_transfer *place,
                         para_pending **pending) {
    dry_endpoint *d = (dry_endpoint *)e;
    dry_pending *p;
    for (int i = 0; i < places; i++) para_endpoint_count(e, &place[i]);
    *pending = NULL;
    if (!d->watch) return PARA_OK;
    PARA_TRY(open_pending(d, dev, places + offers, &p));
    *pending = &p->base;
    p->sends = places;
    p->receives = offers;
    for (int i = 0; i < places; i++) p->transfer[i] = place[i];
    for (int i = 0; i < offers; i++) p->transfer[places + i] = room[i];
    return PARA_OK;
}

/* There is nobody to wait for: the ops from here on store. */
static para_status reach(para_pending *pending) {
    dry_pending *p = (dry_pending *)pending;
    const para_exchange_watch *watch = ((dry_endpoint *)pending->endpoint)->watch;
    if (!p->begun) watch->start(watch->user, p->number, true, p->sends, p->transfer, p->receives, p->transfer + p->sends);
    p->begun = true;
    return PARA_OK;
}

static para_tensor place_of(const para_pending *pending, int i) {
    return ((const dry_pending *)pending)->transfer[i].tensor;
}

static para_status leave(para_pending *pending, bool done) {
    (void)pending;
    (void)done;
    return PARA_OK;
}

static para_status finish(para_pending *pending) {
    dry_pending *p = (dry_pending *)pending;
    dry_endpoint *d = (dry_endpoint *)pending->endpoint;
    PARA_TRY(reach(pending));
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
    static const para_transport dry = {.name = "dry", .start = start, .finish = finish, .close = close_dry, .offer = offer,
                                         .reach = reach, .place = place_of, .leave = leave};
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
