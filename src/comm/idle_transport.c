/* Transfers that are left out. SPDX-License-Identifier: Apache-2.0 */
#include "comm/idle_transport.h"

#include "core/alloc.h"
#include "core/error.h"

struct para_idle_pending {
    para_pending base; /* first, so that it leads here */
    para_idle_pending *next;
    para_tensor place[];
};

static para_idle *idle_of(const para_endpoint *e) {
    return (para_idle *)(uintptr_t)e->transport;
}

static para_status start(para_endpoint *e, para_device *dev, int sends, const para_transfer *send, int receives, const para_transfer *receive,
                         para_pending **pending) {
    (void)e, (void)dev, (void)sends, (void)send, (void)receives, (void)receive;
    *pending = NULL;
    return PARA_OK;
}

/* As much of the room as the place has. Whether there is so much. */
static bool cut(const para_tensor *place, para_tensor room, para_tensor *out) {
    if (room.rank != place->rank || room.dtype != place->dtype) return false;
    for (int i = 0; i < room.rank; i++) {
        if (room.dim[i] < place->dim[i]) return false;
        room = para_slice(room, i, 0, place->dim[i]);
    }
    *out = room;
    return true;
}

static para_status offer(para_endpoint *e, para_device *dev, int offers, const para_transfer *offer, int places, const para_transfer *place,
                         para_pending **pending) {
    para_idle *idle = idle_of(e);
    para_idle_pending *p = para_alloc(1, sizeof *p + (size_t)places * sizeof *p->place);
    *pending = NULL;
    if (!p) return PARA_ERR_MEMORY;
    *p = (para_idle_pending){.base = {e, dev}, .next = idle->first};
    for (int i = 0; i < places; i++) {
        int n = 0;
        while (n < offers && !cut(&place[i].tensor, offer[n].tensor, &p->place[i])) n++;
        if (n < offers) continue;
        para_free(p);
        return para_fail(PARA_ERR_ARGUMENT, "exchanges cannot be left out where ranks compute parts of different sizes and store directly; choose a size that the "
                                            "ranks share evenly, or --exchange copy");
    }
    idle->first = p;
    *pending = &p->base;
    return PARA_OK;
}

static para_status reach(para_pending *pending) {
    (void)pending;
    return PARA_OK;
}

static para_tensor place_of(const para_pending *pending, int i) {
    return ((const para_idle_pending *)pending)->place[i];
}

static para_status leave(para_pending *pending, bool done) {
    (void)pending, (void)done;
    return PARA_OK;
}

static para_status finish(para_pending *pending) {
    para_idle_pending *p = (para_idle_pending *)pending, **at = &idle_of(pending->endpoint)->first;
    while (*at != p) at = &(*at)->next;
    *at = p->next;
    para_free(p);
    return PARA_OK;
}

void para_idle_begin(para_idle *idle, para_endpoint *e) {
    *idle = (para_idle){.endpoint = e};
    if (!e) return;
    idle->before = e->transport;
    idle->transport = (para_transport){.name = "idle", .start = start, .finish = finish, .close = e->transport->close, .offer = offer, .reach = reach,
                                       .place = place_of, .leave = leave, .rendezvous = e->transport->rendezvous};
    e->transport = &idle->transport;
}

void para_idle_end(para_idle *idle) {
    if (idle->endpoint) idle->endpoint->transport = idle->before;
    for (para_idle_pending *p = idle->first, *next; p; p = next) { /* of steps that failed */
        next = p->next;
        para_free(p);
    }
    idle->first = NULL;
}
