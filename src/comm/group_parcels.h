/* What ranks of a process show each other: where something lies, or where there is room for it. SPDX-License-Identifier: Apache-2.0 */
#ifndef PARA_COMM_GROUP_PARCELS_H
#define PARA_COMM_GROUP_PARCELS_H

#include "comm/group_state.h"

typedef enum para_parcel_state { PARCEL_STARTED, PARCEL_COPYING, PARCEL_DONE } para_parcel_state;

/* One transfer as one side sees it. */
struct para_parcel {
    para_tensor tensor;
    int process;    /* of the other side */
    int peer;       /* the other side's rank among those of its process */
    int64_t number; /* in its channel */
    para_parcel_state state;
    const para_mark *ready;    /* when the tensor holds what is sent, or may be overwritten; or NULL: now */
    para_mark *passed;         /* when it was read, or has arrived; or NULL: once it is done */
    para_parcel *next;         /* of those shown through the channel; with the lock held */
    para_mpi_request *request; /* to or from another process */
};

/* What one call started. */
typedef struct para_batch {
    para_pending base; /* first, so that it leads here */
    struct para_batch *next;
    int sends, receives;
    bool remote;          /* some go to or come from other processes */
    bool lands;           /* what is shown is room ("sends"), which those who see it ("receives") fill themselves */
    bool reached, held;   /* of those that land: the device waits until there is room; it is being filled */
    para_mark *ready;     /* of all parcels; or NULL */
    para_lane lane;       /* to and from GPUs of other processes */
    int items;
    para_lane_item *item; /* [items]; behind the parcels */
    para_parcel parcel[]; /* [sends + receives] */
} para_batch;

static inline para_member *para_member_of(para_endpoint *e) {
    return (para_member *)e;
}

/* ---- group_transport.c */

/* Starts what goes between ranks of this process, and whatever a failure leaves is closed. Counts nothing. */
para_status para_batch_start(para_endpoint *e, para_device *dev, bool lands, int sends, const para_transfer *send, int receives,
                             const para_transfer *receive, para_batch **out);
/* With the lock held: what was shown to match p, or NULL. And takes such a parcel out of its channel. */
para_parcel *para_parcel_match(para_group *g, const para_member *m, const para_parcel *p);
void para_parcel_take_out(para_channel *c, const para_parcel *p);
bool para_parcel_same_shape(const para_tensor *a, const para_tensor *b);
/* Takes the lock, waits until it is `there`, doing meanwhile what others wait for. A failure is the run's; one of another rank ends the wait, too, and the caller
 * looks for it. */
para_status para_batch_wait(para_batch *b, bool (*there)(para_group *g, const para_member *m, const para_batch *b));

/* ---- group_landing.c */

para_status para_landing_offer(para_endpoint *e, para_device *dev, int offers, const para_transfer *offer, int places, const para_transfer *place,
                               para_pending **pending);
para_status para_landing_reach(para_pending *pending);
para_tensor para_landing_place(const para_pending *pending, int i);
para_status para_landing_leave(para_pending *pending, bool done);
/* Whatever the rank was filling it leaves as it is: others may be waiting to take it back. */
void para_landing_let_go(para_member *m);

#endif
