/* Transfers between the ranks of a process: the sender shows where a tensor lies, the receiver copies it. SPDX-License-Identifier: Apache-2.0 */
#include "comm/group_state.h"
#include "core/alloc.h"
#include "core/error.h"

typedef enum parcel_state { PARCEL_STARTED, PARCEL_COPYING, PARCEL_DONE } parcel_state;

/* One transfer as one side sees it. */
struct para_parcel {
    para_tensor tensor;
    int peer;       /* local rank */
    int64_t number; /* in its channel */
    parcel_state state;
    para_parcel *next; /* of those sent through the channel; with the lock held */
};

/* What one call started. */
typedef struct para_batch {
    para_pending base; /* first, so that it leads here */
    struct para_batch *next;
    int sends, receives;
    para_parcel parcel[]; /* [sends + receives] */
} para_batch;

static para_member *member_of(para_endpoint *e) {
    return (para_member *)e;
}

/* With the lock held: puts it at the channel's end. */
static void post(para_group *g, para_member *from, para_parcel *p) {
    para_channel *c = para_group_channel(g, from->local, p->peer);
    para_parcel **end = &c->first;
    while (*end) end = &(*end)->next;
    *end = p;
    p->number = c->sent++;
    pthread_cond_signal(&g->member[p->peer].wake);
}

/* With the lock held: takes it out of the channel, where it still is. */
static void take_out(para_channel *c, const para_parcel *p) {
    for (para_parcel **at = &c->first; *at; at = &(*at)->next) {
        if (*at != p) continue;
        *at = p->next;
        return;
    }
}

static void fill(para_parcel *p, const para_group *g, const para_transfer *t) {
    *p = (para_parcel){.tensor = t->tensor, .peer = t->rank - g->first};
}

static para_status start(para_endpoint *e, para_device *dev, int sends, const para_transfer *send, int receives,
                         const para_transfer *receive, para_pending **pending) {
    para_member *m = member_of(e);
    para_group *g = m->group;
    PARA_TRY(para_group_check(g, m->local));
    size_t bytes = sizeof(para_batch) + (size_t)(sends + receives) * sizeof(para_parcel);
    para_batch *b = para_alloc(1, bytes);
    if (!b) return PARA_ERR_MEMORY;
    b->base = (para_pending){e, dev};
    b->sends = sends;
    b->receives = receives;
    pthread_mutex_lock(&g->lock);
    for (int i = 0; i < sends; i++) {
        fill(&b->parcel[i], g, &send[i]);
        post(g, m, &b->parcel[i]);
    }
    for (int i = 0; i < receives; i++) {
        para_parcel *p = &b->parcel[sends + i];
        fill(p, g, &receive[i]);
        p->number = para_group_channel(g, p->peer, m->local)->received++;
    }
    pthread_mutex_unlock(&g->lock);
    for (int i = 0; i < sends; i++) para_endpoint_count(e, &send[i].tensor);
    b->next = m->batches;
    m->batches = b;
    *pending = &b->base;
    return PARA_OK;
}

/* With the lock held: what was sent to match p, or NULL. */
static para_parcel *match(para_group *g, const para_member *m, const para_parcel *p) {
    para_parcel *at = para_group_channel(g, p->peer, m->local)->first;
    while (at && at->number != p->number) at = at->next;
    return at;
}

static bool same_shape(const para_tensor *a, const para_tensor *b) {
    bool same = a->dtype == b->dtype && a->rank == b->rank;
    for (int i = 0; same && i < a->rank; i++) same = a->dim[i] == b->dim[i];
    return same;
}

static para_status copy(const para_batch *b, const para_parcel *to, const para_parcel *from) {
    const para_group *g = member_of(b->base.endpoint)->group;
    if (!same_shape(&to->tensor, &from->tensor))
        return para_fail(PARA_ERR_SHAPE,
                         "rank %d sent %lld elements of %s, of another shape or type than the %lld of %s expected here; the "
                         "ranks did not make the same calls",
                         g->first + to->peer, (long long)para_tensor_count(&from->tensor),
                         para_dtype_name(from->tensor.dtype), (long long)para_tensor_count(&to->tensor),
                         para_dtype_name(to->tensor.dtype));
    return b->base.device->ops->copy(b->base.device, to->tensor, from->tensor);
}

/* With the lock held, but for the copy itself: does one receive of the batch whose parcel is there. *moved: there was one. */
static para_status receive_one(para_group *g, const para_member *m, para_batch *b, bool *moved) {
    for (int i = b->sends; i < b->sends + b->receives; i++) {
        para_parcel *to = &b->parcel[i], *from = to->state == PARCEL_DONE ? NULL : match(g, m, to);
        if (!from) continue;
        take_out(para_group_channel(g, to->peer, m->local), from);
        from->state = PARCEL_COPYING;
        pthread_mutex_unlock(&g->lock);
        para_status status = copy(b, to, from);
        pthread_mutex_lock(&g->lock);
        to->state = from->state = PARCEL_DONE; /* the sender may free it from here on */
        g->progress++;
        pthread_cond_signal(&g->member[to->peer].wake);
        *moved = true;
        return status;
    }
    return PARA_OK;
}

/* The same for the rank's other batches: who waits for its own sends lets others finish theirs, whatever the order of the waits. */
static para_status receive_any(para_group *g, const para_member *m, para_batch *first, bool *moved) {
    *moved = false;
    PARA_TRY(receive_one(g, m, first, moved));
    for (para_batch *b = m->batches; b && !*moved; b = b->next) PARA_TRY(receive_one(g, m, b, moved));
    return PARA_OK;
}

static bool all_done(const para_batch *b) {
    for (int i = 0; i < b->sends + b->receives; i++)
        if (b->parcel[i].state != PARCEL_DONE) return false;
    return true;
}

/* With the lock held: until all is done, or the run has failed. */
static para_status complete(para_group *g, para_member *m, para_batch *b) {
    while (!all_done(b)) {
        bool moved;
        if (atomic_load(&g->failed)) return PARA_OK; /* the caller sees it */
        para_status status = receive_any(g, m, b, &moved);
        if (status != PARA_OK) {
            para_group_fail(g, status, m->endpoint.index, "%s", para_last_error());
            return status;
        }
        if (moved || all_done(b)) continue;
        m->state = PARA_MEMBER_WAITS;
        pthread_cond_wait(&m->wake, &g->lock);
        atomic_store_explicit(&m->sign, para_now(), memory_order_relaxed);
        m->state = PARA_MEMBER_COMPUTES;
    }
    return PARA_OK;
}

/* With the lock held: nobody touches the tensors of the batch after this. */
static void withdraw(para_group *g, para_member *m, para_batch *b) {
    for (int i = 0; i < b->sends; i++) {
        para_parcel *p = &b->parcel[i];
        if (p->state == PARCEL_STARTED) take_out(para_group_channel(g, m->local, p->peer), p);
        while (p->state == PARCEL_COPYING) pthread_cond_wait(&m->wake, &g->lock);
    }
}

static void forget(para_member *m, para_batch *b) {
    para_batch **at = &m->batches;
    while (*at != b) at = &(*at)->next;
    *at = b->next;
    para_free(b);
}

static para_status finish(para_pending *pending) {
    para_batch *b = (para_batch *)pending;
    para_member *m = member_of(pending->endpoint);
    para_group *g = m->group;
    pthread_mutex_lock(&g->lock);
    para_status status = complete(g, m, b);
    withdraw(g, m, b);
    pthread_mutex_unlock(&g->lock);
    forget(m, b);
    return status == PARA_OK ? para_group_check(g, m->local) : status;
}

int para_group_give_up(para_member *m) {
    int left = 0;
    while (m->batches) {
        pthread_mutex_lock(&m->group->lock);
        withdraw(m->group, m, m->batches);
        pthread_mutex_unlock(&m->group->lock);
        forget(m, m->batches);
        left++;
    }
    return left;
}

static void close_member(para_endpoint *e) {
    (void)e; /* the group's own */
}

const para_transport para_group_transport = {"threads", start, finish, close_member};
