/* Transfers between ranks. In a process the sender shows where a tensor lies, and the receiver copies it; to other processes MPI or TCP carries it, between
 * their GPUs NCCL.
 * SPDX-License-Identifier: Apache-2.0 */
#include "comm/group_parcels.h"
#include "core/alloc.h"
#include "core/error.h"

/* Nanoseconds between two looks at what MPI carries, longer each time. A look that took longer than BUSY moved data: the next one follows at once. */
enum { FIRST_NAP = 10 * 1000, LONGEST_NAP = 200 * 1000, BUSY = 10 * 1000 };

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
void para_parcel_take_out(para_channel *c, const para_parcel *p) {
    for (para_parcel **at = &c->first; *at; at = &(*at)->next) {
        if (*at != p) continue;
        *at = p->next;
        return;
    }
}

static void fill(para_batch *b, para_parcel *p, const para_group *g, const para_transfer *t) {
    int process = para_group_process_of(g, t->rank);
    *p = (para_parcel){.tensor = t->tensor, .process = process, .peer = t->rank - g->peer[process].first};
    b->remote |= process != g->process;
}

/* With the lock held: those between ranks of this process. */
static void start_here(para_group *g, para_member *m, para_batch *b) {
    for (int i = 0; i < b->sends + b->receives; i++) {
        para_parcel *p = &b->parcel[i];
        if (p->process != g->process) continue;
        if (i < b->sends) post(g, m, p);
        else p->number = para_group_channel(g, p->peer, m->local)->received++;
    }
}

/* Of a pair of ranks, from its numbers in its processes. */
static int tag_of(int from, int to) {
    enum { MOST = 256 };
    return from * MOST + to;
}

/* Receives first: what comes then has a place to go to. */
static para_status start_remote(para_group *g, const para_member *m, para_batch *b) {
    for (int i = b->sends; i < b->sends + b->receives; i++) {
        para_parcel *p = &b->parcel[i];
        if (p->process != g->process)
            PARA_TRY(para_mpi_receive(g->mpi, p->process, tag_of(p->peer, m->local), &p->tensor, &p->request));
    }
    for (int i = 0; i < b->sends; i++) {
        para_parcel *p = &b->parcel[i];
        if (p->process != g->process)
            PARA_TRY(para_mpi_send(g->mpi, p->process, tag_of(m->local, p->peer), &p->tensor, &p->request));
    }
    return PARA_OK;
}

/* Those between GPUs: the device itself waits for them, the host does not. */
static para_status start_lane(const para_group *g, para_member *m, para_batch *b) {
    b->item = (para_lane_item *)&b->parcel[b->sends + b->receives];
    for (int i = 0; i < b->sends + b->receives; i++) {
        para_parcel *p = &b->parcel[i];
        if (p->process == g->process) continue;
        p->state = PARCEL_DONE;
        b->item[b->items++] = (para_lane_item){.rank = g->peer[p->process].first + p->peer, .tensor = p->tensor, .receives = i >= b->sends};
    }
    b->remote = false;
    return para_lane_start(m, b->base.device, b->items, b->item, &b->lane);
}

static void close_batch(para_member *m, para_batch *b);

para_status para_batch_start(para_endpoint *e, para_device *dev, bool lands, int sends, const para_transfer *send, int receives,
                             const para_transfer *receive, para_batch **out) {
    para_member *m = para_member_of(e);
    para_group *g = m->group;
    PARA_TRY(para_group_check(g, m->local));
    size_t bytes = sizeof(para_batch) + (size_t)(sends + receives) * (sizeof(para_parcel) + sizeof(para_lane_item));
    para_batch *b = para_alloc(1, bytes);
    if (!b) return PARA_ERR_MEMORY;
    b->base = (para_pending){e, dev};
    b->lands = lands;
    b->sends = sends;
    b->receives = receives;
    for (int i = 0; i < sends; i++) fill(b, &b->parcel[i], g, &send[i]);
    for (int i = 0; i < receives; i++) fill(b, &b->parcel[sends + i], g, &receive[i]);
    para_status marked = dev->ops->mark ? dev->ops->mark(dev, &b->ready) : PARA_OK;
    if (marked != PARA_OK) {
        para_free(b);
        return marked;
    }
    for (int i = 0; i < sends + receives; i++) b->parcel[i].ready = b->ready;
    b->next = m->batches;
    m->batches = b;
    pthread_mutex_lock(&g->lock);
    start_here(g, m, b);
    pthread_mutex_unlock(&g->lock);
    *out = b;
    return PARA_OK;
}

static para_status start(para_endpoint *e, para_device *dev, int sends, const para_transfer *send, int receives,
                         const para_transfer *receive, para_pending **pending) {
    para_member *m = para_member_of(e);
    para_group *g = m->group;
    para_batch *b;
    PARA_TRY(para_batch_start(e, dev, false, sends, send, receives, receive, &b));
    if (b->remote && g->gpu) {
        para_status status = start_lane(g, m, b);
        if (status != PARA_OK) {
            close_batch(m, b);
            return status;
        }
    }
    if (b->remote) {
        if (atomic_fetch_add(&g->under_way, 1) == 0) pthread_cond_signal(&g->watch_wake);
        para_status status = start_remote(g, m, b);
        if (status != PARA_OK) {
            close_batch(m, b);
            return status;
        }
    }
    for (int i = 0; i < sends; i++) para_endpoint_count(e, &send[i]);
    *pending = &b->base;
    return PARA_OK;
}

/* With the lock held: what was sent to match p, or NULL. */
para_parcel *para_parcel_match(para_group *g, const para_member *m, const para_parcel *p) {
    para_parcel *at = para_group_channel(g, p->peer, m->local)->first;
    while (at && at->number != p->number) at = at->next;
    return at;
}

bool para_parcel_same_shape(const para_tensor *a, const para_tensor *b) {
    bool same = a->dtype == b->dtype && a->rank == b->rank;
    for (int i = 0; same && i < a->rank; i++) same = a->dim[i] == b->dim[i];
    return same;
}

/* What one call of fetch may move. */
enum { MOST_AT_ONCE = 16 };
typedef struct moving {
    int count;
    para_parcel *to[MOST_AT_ONCE], *from[MOST_AT_ONCE];
} moving;

static para_status check_shapes(const para_group *g, const para_parcel *to, const para_parcel *from) {
    if (para_parcel_same_shape(&to->tensor, &from->tensor)) return PARA_OK;
    return para_fail(PARA_ERR_SHAPE,
                     "rank %d sent %lld elements of %s, of another shape or type than the %lld of %s expected here; the "
                     "ranks did not make the same calls",
                     g->first + to->peer, (long long)para_tensor_count(&from->tensor),
                     para_dtype_name(from->tensor.dtype), (long long)para_tensor_count(&to->tensor),
                     para_dtype_name(to->tensor.dtype));
}

static para_status copy(const para_batch *b, const moving *m) {
    para_device *dev = b->base.device;
    para_tensor dst[MOST_AT_ONCE], src[MOST_AT_ONCE];
    for (int i = 0; i < m->count; i++) {
        PARA_TRY(check_shapes(para_member_of(b->base.endpoint)->group, m->to[i], m->from[i]));
        dst[i] = m->to[i]->tensor;
        src[i] = m->from[i]->tensor;
    }
    for (int i = 0; i < m->count && !dev->ops->fetch; i++) PARA_TRY(dev->ops->copy(dev, dst[i], src[i]));
    if (!dev->ops->fetch) return PARA_OK;
    return dev->ops->fetch(dev, &(para_fetch_args){.count = m->count,
                                                   .dst = dst,
                                                   .src = src,
                                                   .filled = m->from[0]->ready,
                                                   .free = m->to[0]->ready,
                                                   .arrived = &m->to[0]->passed,
                                                   .taken = &m->from[0]->passed});
}

/* The device reads nothing that has not arrived, and overwrites nothing that others still read. */
static para_status wait_on_device(para_batch *b) {
    para_device *dev = b->base.device;
    for (int i = 0; i < b->sends + b->receives; i++)
        if (b->parcel[i].passed) PARA_TRY(dev->ops->after(dev, b->parcel[i].passed));
    return b->lane.passed ? dev->ops->after(dev, b->lane.passed) : PARA_OK;
}

/* With the lock held: takes the receives of the batch whose parcels are there, those of one call of one rank. */
static void take_matching(para_group *g, const para_member *m, para_batch *b, moving *out) {
    out->count = 0;
    for (int i = b->lands ? b->sends + b->receives : b->sends; i < b->sends + b->receives && out->count < MOST_AT_ONCE; i++) {
        para_parcel *to = &b->parcel[i], *from;
        if (to->state == PARCEL_DONE || to->process != g->process || !(from = para_parcel_match(g, m, to))) continue;
        if (out->count > 0 && (to->peer != out->to[0]->peer || from->ready != out->from[0]->ready)) continue;
        para_parcel_take_out(para_group_channel(g, to->peer, m->local), from);
        from->state = PARCEL_COPYING;
        out->to[out->count] = to;
        out->from[out->count++] = from;
    }
}

/* With the lock held, but for the copies themselves: does receives of the batch. *moved: there were some. */
static para_status receive_some(para_group *g, const para_member *m, para_batch *b, bool *moved) {
    moving now;
    take_matching(g, m, b, &now);
    if (now.count == 0) return PARA_OK;
    pthread_mutex_unlock(&g->lock);
    para_status status = copy(b, &now);
    pthread_mutex_lock(&g->lock);
    for (int i = 0; i < now.count; i++) now.to[i]->state = now.from[i]->state = PARCEL_DONE; /* the sender may free it from here on */
    g->progress++;
    pthread_cond_signal(&g->member[now.to[0]->peer].wake);
    *moved = true;
    return status;
}

/* The same for the rank's other batches: who waits for its own sends lets others finish theirs, whatever the order of the waits. */
static para_status receive_any(para_group *g, const para_member *m, para_batch *first, bool *moved) {
    *moved = false;
    PARA_TRY(receive_some(g, m, first, moved));
    for (para_batch *b = m->batches; b && !*moved; b = b->next) PARA_TRY(receive_some(g, m, b, moved));
    return PARA_OK;
}

/* Without the lock: asks MPI. *moved: something has arrived or left. */
static para_status test_remote(para_batch *b, para_group *g, bool *moved) {
    for (int i = 0; i < b->sends + b->receives; i++) {
        para_parcel *p = &b->parcel[i];
        bool done = false;
        if (!p->request) continue;
        PARA_TRY(para_mpi_test(g->mpi, &p->request, &done));
        if (done) p->state = PARCEL_DONE;
        *moved |= done;
    }
    return PARA_OK;
}

static bool all_done(para_group *g, const para_member *m, const para_batch *b) {
    (void)g;
    (void)m;
    for (int i = 0; i < b->sends + b->receives; i++)
        if (b->parcel[i].state != PARCEL_DONE) return false;
    return true;
}

/* With the lock held: does what can be done now. *moved: there was something. */
static para_status move(para_group *g, const para_member *m, para_batch *b, bool *moved) {
    PARA_TRY(receive_any(g, m, b, moved));
    if (*moved || !b->remote) return PARA_OK;
    pthread_mutex_unlock(&g->lock);
    para_status status = test_remote(b, g, moved);
    pthread_mutex_lock(&g->lock);
    g->progress += *moved;
    return status;
}

/* With the lock held: until it is there, or the run has failed, which the caller sees. */
static para_status wait_until(para_group *g, para_member *m, para_batch *b, bool (*there)(para_group *, const para_member *, const para_batch *)) {
    int64_t nap = FIRST_NAP;
    while (!there(g, m, b) && !atomic_load(&g->failed)) {
        bool moved;
        int64_t before = para_now();
        PARA_TRY(move(g, m, b, &moved));
        moved |= b->remote && para_now() - before > BUSY;
        if (moved) nap = FIRST_NAP;
        if (moved || there(g, m, b) || atomic_load(&g->failed)) continue;
        if (b->remote) para_wait_until(g, &m->wake, para_now() + nap);
        else pthread_cond_wait(&m->wake, &g->lock);
        if ((nap *= 2) > LONGEST_NAP) nap = LONGEST_NAP;
    }
    return PARA_OK;
}

para_status para_batch_wait(para_batch *b, bool (*there)(para_group *g, const para_member *m, const para_batch *b)) {
    para_member *m = para_member_of(b->base.endpoint);
    para_group *g = m->group;
    pthread_mutex_lock(&g->lock);
    m->state = PARA_MEMBER_WAITS;
    para_status status = wait_until(g, m, b, there);
    if (status != PARA_OK) para_group_fail(g, status, m->endpoint.index, "%s", para_last_error());
    atomic_store_explicit(&m->sign, para_now(), memory_order_relaxed);
    m->state = PARA_MEMBER_COMPUTES;
    pthread_mutex_unlock(&g->lock);
    return status;
}

/* Nobody touches the tensors of the batch after this, but MPI what it has begun. */
static void withdraw(para_group *g, para_member *m, para_batch *b) {
    if (atomic_load(&g->failed)) para_landing_let_go(m); /* whoever fills what this rank takes back may wait for that, too */
    pthread_mutex_lock(&g->lock);
    for (int i = 0; i < b->sends; i++) {
        para_parcel *p = &b->parcel[i];
        if (p->process != g->process) continue;
        while (p->state == PARCEL_COPYING) pthread_cond_wait(&m->wake, &g->lock);
        if (p->state == PARCEL_STARTED) para_parcel_take_out(para_group_channel(g, m->local, p->peer), p);
    }
    for (int i = 0; i < b->sends + b->receives && g->mpi; i++) /* a rank that comes back too late finds MPI closed */
        if (b->parcel[i].request) para_mpi_abandon(g->mpi, &b->parcel[i].request);
    pthread_mutex_unlock(&g->lock);
}

static void close_batch(para_member *m, para_batch *b) {
    para_group *g = m->group;
    withdraw(g, m, b);
    if (b->remote) atomic_fetch_sub(&g->under_way, 1);
    para_batch **at = &m->batches;
    while (*at != b) at = &(*at)->next;
    *at = b->next;
    for (int i = 0; i < b->sends + b->receives; i++)
        if (b->parcel[i].passed) b->base.device->ops->mark_close(b->base.device, &b->parcel[i].passed);
    para_lane_close(b->base.device, &b->lane);
    if (b->ready) b->base.device->ops->mark_close(b->base.device, &b->ready);
    para_free(b);
}

static para_status finish(para_pending *pending) {
    para_batch *b = (para_batch *)pending;
    para_member *m = para_member_of(pending->endpoint);
    para_group *g = m->group;
    para_status status = para_batch_wait(b, all_done);
    if (atomic_load(&g->failed)) withdraw(g, m, b); /* from here on no mark is added */
    para_status waited = wait_on_device(b);
    if (status == PARA_OK) status = waited;
    if (status == PARA_OK) status = para_lane_unpack(b->base.device, b->items, b->item);
    close_batch(m, b);
    return status == PARA_OK ? para_group_check(g, m->local) : status;
}

int para_group_left(const para_member *m) {
    int left = 0;
    for (const para_batch *b = m->batches; b; b = b->next) left++;
    return left;
}

void para_group_give_up(para_member *m) {
    para_landing_let_go(m);
    while (m->batches) {
        withdraw(m->group, m, m->batches);
        (void)wait_on_device(m->batches); /* what is on its way ends before its memory is used again */
        close_batch(m, m->batches);
    }
}

static void close_member(para_endpoint *e) {
    (void)e; /* the group's own */
}

const para_transport para_group_transport = {.name = "threads",
                                             .start = start,
                                             .finish = finish,
                                             .close = close_member,
                                             .offer = para_landing_offer,
                                             .reach = para_landing_reach,
                                             .place = para_landing_place,
                                             .leave = para_landing_leave,
                                             .rendezvous = para_group_rendezvous};
const para_transport para_group_mpi_transport = {.name = "mpi", .start = start, .finish = finish, .close = close_member};
