/* Collective calls of ranks that address each other's memory. SPDX-License-Identifier: Apache-2.0 */
#include "comm/landing.h"

#include "core/alloc.h"
#include "core/error.h"

bool para_comm_addressable(para_comm c) {
    const para_endpoint *e = c.rank->endpoint;
    return e && e->addressable && c.size > 1;
}

static int rank_of(para_comm c, int index) {
    return c.first + index * c.stride;
}

para_status para_comm_offer(para_comm c, int count, const para_tensor *room, const para_tensor *place, para_exchange *x) {
    para_endpoint *e = c.rank->endpoint;
    para_pending *pending = NULL;
    para_transfer *offer = para_alloc(2 * (size_t)(count * c.size), sizeof *offer), *store = offer + count * c.size;
    int offers = 0, stores = 0;
    x->pending = NULL;
    if (!offer) return PARA_ERR_MEMORY;
    for (int i = 1; i < c.size; i++) {
        int to = (c.index + i) % c.size, from = (c.index + c.size - i) % c.size;
        for (int t = 0; t < count; t++) {
            const para_tensor *own = &room[t * c.size + from], *its = &place[t * c.size + to];
            if (para_tensor_count(own)) offer[offers++] = (para_transfer){rank_of(c, from), *own};
            if (para_tensor_count(its)) store[stores++] = (para_transfer){rank_of(c, to), *its};
        }
    }
    para_status status = PARA_OK;
    if (offers || stores) status = e->transport->offer(e, c.rank->device, offers, offer, stores, store, &pending);
    para_free(offer);
    x->pending = pending;
    return status;
}

para_status para_comm_reach(para_comm c, int count, para_tensor *place, const para_exchange *x) {
    para_pending *pending = x->pending;
    const para_transport *transport = pending ? pending->endpoint->transport : NULL;
    if (!transport || !transport->reach) return PARA_OK; /* none is there that could be reached */
    PARA_TRY(transport->reach(pending));
    for (int i = 1, n = 0; i < c.size; i++)
        for (int t = 0; t < count; t++) {
            para_tensor *its = &place[t * c.size + (c.index + i) % c.size];
            if (para_tensor_count(its)) *its = transport->place(pending, n++);
        }
    return PARA_OK;
}

para_status para_comm_leave(const para_exchange *x, bool done) {
    para_pending *pending = x->pending;
    return pending && pending->endpoint->transport->leave ? pending->endpoint->transport->leave(pending, done) : PARA_OK;
}
