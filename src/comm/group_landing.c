/* Room that ranks of one process offer each other: whoever has something for it stores it there, and says so. SPDX-License-Identifier: Apache-2.0
 *
 * Nobody stores where somebody still reads, and nobody reads before all is stored:
 *
 *   owner    offer ────────────────┐ (its device's mark: all that read or wrote the room before is before it)
 *   storer            reach: after that mark, store, leave (its device's mark) ───┐
 *   owner                                                                finish: after that mark, read
 *
 * An owner that gives up takes its offer back; only while somebody is between reach and leave, which is as long as one op takes, it waits for that. */
#include "comm/group_parcels.h"
#include "core/error.h"

para_status para_landing_offer(para_endpoint *e, para_device *dev, int offers, const para_transfer *offer, int places, const para_transfer *place,
                               para_pending **pending) {
    para_batch *b;
    PARA_TRY(para_batch_start(e, dev, true, offers, offer, places, place, &b));
    *pending = &b->base;
    return PARA_OK;
}

/* With the lock held. */
static bool all_offered(para_group *g, const para_member *m, const para_batch *b) {
    for (int i = b->sends; i < b->sends + b->receives; i++)
        if (!para_parcel_match(g, m, &b->parcel[i])) return false;
    return true;
}

/* With the lock held, all being offered: from here on no owner takes it back. */
static para_status hold(para_group *g, const para_member *m, para_batch *b) {
    for (int i = b->sends; i < b->sends + b->receives; i++) {
        para_parcel *own = &b->parcel[i];
        const para_parcel *offer = para_parcel_match(g, m, own);
        if (!para_parcel_same_shape(&own->tensor, &offer->tensor))
            return para_fail(PARA_ERR_SHAPE,
                             "rank %d has room for %lld elements of %s, of another shape or type than the %lld of %s that are for it; the ranks did not "
                             "make the same calls",
                             g->first + own->peer, (long long)para_tensor_count(&offer->tensor), para_dtype_name(offer->tensor.dtype),
                             (long long)para_tensor_count(&own->tensor), para_dtype_name(own->tensor.dtype));
    }
    for (int i = b->sends; i < b->sends + b->receives; i++) {
        para_parcel *offer = para_parcel_match(g, m, &b->parcel[i]);
        offer->state = PARCEL_COPYING;
        b->parcel[i].tensor = offer->tensor;
        b->parcel[i].ready = offer->ready;
    }
    b->held = true;
    return PARA_OK;
}

/* The device stores after what the owners' devices still do there. */
static para_status wait_for_room(para_batch *b) {
    const para_mark *last = NULL;
    for (int i = b->sends; i < b->sends + b->receives; i++) {
        const para_mark *ready = b->parcel[i].ready;
        if (ready && ready != last) PARA_TRY(b->base.device->ops->after(b->base.device, ready));
        last = ready;
    }
    b->reached = true;
    return PARA_OK;
}

para_status para_landing_reach(para_pending *pending) {
    para_batch *b = (para_batch *)pending;
    para_member *m = para_member_of(pending->endpoint);
    para_group *g = m->group;
    while (!b->held) {
        PARA_TRY(para_batch_wait(b, all_offered));
        PARA_TRY(para_group_check(g, m->local));
        pthread_mutex_lock(&g->lock);
        /* An owner that has taken it back meanwhile is about to fail the run. */
        para_status status = all_offered(g, m, b) ? hold(g, m, b) : PARA_OK;
        pthread_mutex_unlock(&g->lock);
        PARA_TRY(status);
    }
    return b->reached ? PARA_OK : wait_for_room(b);
}

para_tensor para_landing_place(const para_pending *pending, int i) {
    const para_batch *b = (const para_batch *)pending;
    return b->parcel[b->sends + i].tensor;
}

/* A mark for each owner, at its first parcel of the batch. */
static para_status mark_each_owner(para_batch *b) {
    para_device *dev = b->base.device;
    for (int i = b->sends; i < b->sends + b->receives && dev->ops->mark; i++) {
        bool first = i == b->sends || b->parcel[i].peer != b->parcel[i - 1].peer;
        if (first) PARA_TRY(dev->ops->mark(dev, &b->parcel[i].passed));
    }
    return PARA_OK;
}

para_status para_landing_leave(para_pending *pending, bool done) {
    para_batch *b = (para_batch *)pending;
    para_member *m = para_member_of(pending->endpoint);
    para_group *g = m->group;
    para_status status = b->held ? mark_each_owner(b) : PARA_OK;
    pthread_mutex_lock(&g->lock);
    for (int i = b->sends; i < b->sends + b->receives && b->held; i++) {
        para_parcel *own = &b->parcel[i], *offer = para_parcel_match(g, m, own);
        para_mark *before = offer->passed;
        if (own->passed) { /* it comes after those of before: they are on one stream */
            offer->passed = own->passed;
            own->passed = before;
        }
        offer->state = done ? PARCEL_DONE : PARCEL_STARTED;
        if (done) {
            own->state = PARCEL_DONE;
            para_endpoint_count(pending->endpoint, &(para_transfer){own->peer, own->tensor}); /* all are of one process: members are ranks */
            para_parcel_take_out(para_group_channel(g, own->peer, m->local), offer);
            g->progress++;
        }
        pthread_cond_signal(&g->member[own->peer].wake);
    }
    b->held = false;
    pthread_mutex_unlock(&g->lock);
    for (int i = b->sends; i < b->sends + b->receives; i++)
        if (b->parcel[i].passed) b->base.device->ops->mark_close(b->base.device, &b->parcel[i].passed);
    return status;
}

void para_landing_let_go(para_member *m) {
    for (para_batch *b = m->batches; b; b = b->next)
        if (b->held) (void)para_landing_leave(&b->base, false);
}
