/* Collective calls, in terms of transfers between two ranks. SPDX-License-Identifier: Apache-2.0 */
#include <paraattn/comm.h>

#include "comm/rank.h"
#include "core/alloc.h"
#include "core/clock.h"
#include "core/error.h"

enum { MOST_TERMS = 4 }; /* of the op combine */

/* What a call is about to start: both lists have room for `most`. */
typedef struct transfers {
    int sends, receives;
    para_transfer *send, *receive;
} transfers;

static para_status open_transfers(transfers *t, int most, para_exchange *x) {
    x->pending = NULL;
    *t = (transfers){.send = para_alloc(2 * (size_t)most, sizeof *t->send)};
    t->receive = t->send ? t->send + most : NULL;
    return t->send ? PARA_OK : PARA_ERR_MEMORY;
}

static int rank_of(para_comm c, int index) {
    return c.first + index * c.stride;
}

/* Empty tensors are left out, on both sides. */
static void add_send(transfers *t, para_comm c, int index, para_tensor tensor) {
    if (para_tensor_count(&tensor)) t->send[t->sends++] = (para_transfer){rank_of(c, index), tensor};
}

static void add_receive(transfers *t, para_comm c, int index, para_tensor tensor) {
    if (para_tensor_count(&tensor)) t->receive[t->receives++] = (para_transfer){rank_of(c, index), tensor};
}

/* Starts them where there are any, and frees the lists. */
static para_status start(transfers *t, para_comm c, para_exchange *x) {
    para_endpoint *e = c.rank->endpoint;
    para_pending *pending = NULL;
    para_status status = PARA_OK;
    if (t->sends || t->receives)
        status = e->transport->start(e, c.rank->device, t->sends, t->send, t->receives, t->receive, &pending);
    para_free(t->send);
    x->pending = pending;
    return status;
}

/* The part that stays here. */
static para_status copy_own(para_comm c, para_tensor to, para_tensor from) {
    if (to.data == from.data || para_tensor_count(&from) == 0) return PARA_OK;
    return c.rank->device->ops->copy(c.rank->device, to, from);
}

para_comm para_world_comm(para_rank *rank) {
    return (para_comm){rank, 0, 1, rank->size, rank->index};
}

para_status para_comm_all_to_all_of(para_comm c, int count, const para_tensor *send, const para_tensor *receive,
                                    para_exchange *x) {
    transfers t;
    PARA_TRY(open_transfers(&t, count * c.size, x));
    /* The next rank first: not all start with the same one. */
    for (int i = 1; i < c.size; i++) {
        int to = (c.index + i) % c.size, from = (c.index + c.size - i) % c.size;
        for (int k = 0; k < count; k++) {
            add_send(&t, c, to, send[k * c.size + to]);
            add_receive(&t, c, from, receive[k * c.size + from]);
        }
    }
    PARA_TRY(start(&t, c, x));
    for (int k = 0; k < count; k++)
        PARA_TRY(copy_own(c, receive[k * c.size + c.index], send[k * c.size + c.index]));
    return PARA_OK;
}

para_status para_comm_all_to_all(para_comm c, const para_tensor *send, const para_tensor *receive, para_exchange *x) {
    return para_comm_all_to_all_of(c, 1, send, receive, x);
}

para_status para_comm_all_gather(para_comm c, para_tensor send, const para_tensor *receive, para_exchange *x) {
    transfers t;
    PARA_TRY(open_transfers(&t, c.size, x));
    for (int i = 1; i < c.size; i++) {
        int to = (c.index + i) % c.size, from = (c.index + c.size - i) % c.size;
        add_send(&t, c, to, send);
        add_receive(&t, c, from, receive[from]);
    }
    PARA_TRY(start(&t, c, x));
    return copy_own(c, receive[c.index], send);
}

para_status para_comm_shift(para_comm c, int count, const para_tensor *send, const para_tensor *receive,
                            para_exchange *x) {
    transfers t;
    PARA_TRY(open_transfers(&t, count, x));
    for (int i = 0; i < count && c.size > 1; i++) {
        add_send(&t, c, (c.index + 1) % c.size, send[i]);
        add_receive(&t, c, (c.index + c.size - 1) % c.size, receive[i]);
    }
    PARA_TRY(start(&t, c, x));
    for (int i = 0; i < count && c.size == 1; i++) PARA_TRY(copy_own(c, receive[i], send[i]));
    return PARA_OK;
}

para_status para_comm_send_receive(para_comm c, int to, para_tensor send, int from, para_tensor receive,
                                   para_exchange *x) {
    transfers t;
    x->pending = NULL;
    if (to >= c.size || from >= c.size)
        return para_fail(PARA_ERR_ARGUMENT, "para_comm_send_receive: to %d, from %d, but there are %d ranks", to, from,
                         c.size);
    if ((to == c.index) != (from == c.index))
        return para_fail(PARA_ERR_ARGUMENT,
                         "para_comm_send_receive: rank %d sends to %d and receives from %d; what it sends to itself it "
                         "must receive in the same call",
                         c.index, to, from);
    PARA_TRY(open_transfers(&t, 1, x));
    if (to >= 0 && to != c.index) add_send(&t, c, to, send);
    if (from >= 0 && from != c.index) add_receive(&t, c, from, receive);
    PARA_TRY(start(&t, c, x));
    return to == c.index ? copy_own(c, receive, send) : PARA_OK;
}

para_status para_comm_wait(para_exchange *x) {
    para_pending *pending = x->pending;
    x->pending = NULL;
    if (!pending) return PARA_OK;
    para_endpoint *e = pending->endpoint;
    double start = para_seconds();
    para_status status = e->transport->finish(pending);
    e->waited += para_seconds() - start;
    return status;
}

para_status para_comm_broadcast(para_comm c, int root, para_tensor x) {
    transfers t;
    para_exchange exchange;
    if (root < 0 || root >= c.size)
        return para_fail(PARA_ERR_ARGUMENT, "para_comm_broadcast: root is %d, but there are %d ranks", root, c.size);
    PARA_TRY(open_transfers(&t, c.size, &exchange));
    for (int i = 1; i < c.size && c.index == root; i++) add_send(&t, c, (root + i) % c.size, x);
    if (c.index != root) add_receive(&t, c, root, x);
    PARA_TRY(start(&t, c, &exchange));
    return para_comm_wait(&exchange);
}

/* y = the sum of all[0], all[1], … in this order, whatever the number of terms that the op takes at once. */
static para_status sum(para_device *dev, para_tensor y, int n, para_tensor all) {
    static const float ones[MOST_TERMS] = {1, 1, 1, 1};
    for (int done = 0; done < n;) {
        para_tensor term[MOST_TERMS];
        int terms = 0;
        if (done) term[terms++] = y;
        while (terms < MOST_TERMS && done < n) {
            term[terms] = y;
            term[terms++].data = para_rows(all, done++, 1).data;
        }
        PARA_TRY(dev->ops->combine(dev, y, terms, term, ones));
    }
    return PARA_OK;
}

static para_status gather_and_sum(para_comm c, para_tensor x, para_tensor *receive) {
    para_device *dev = c.rank->device;
    para_tensor all, flat = PARA_RESHAPE(x, para_tensor_count(&x));
    para_exchange exchange;
    PARA_TRY(PARA_NEW(dev, &all, PARA_F32, c.size, flat.dim[0]));
    for (int i = 0; i < c.size; i++) receive[i] = PARA_RESHAPE(para_rows(all, i, 1), flat.dim[0]);
    PARA_TRY(para_comm_all_gather(c, flat, receive, &exchange));
    PARA_TRY(para_comm_wait(&exchange));
    return sum(dev, flat, c.size, all);
}

para_status para_comm_all_reduce(para_comm c, para_tensor x) {
    if (x.dtype != PARA_F32 || !para_tensor_contiguous(&x))
        return para_fail(PARA_ERR_SHAPE, "para_comm_all_reduce: the tensor must be F32 and contiguous");
    if (c.size == 1 || para_tensor_count(&x) == 0) return PARA_OK;
    para_arena *arena = &c.rank->device->arena;
    size_t mark = para_arena_mark(arena);
    para_tensor *receive = para_alloc((size_t)c.size, sizeof *receive);
    para_status status = receive ? gather_and_sum(c, x, receive) : PARA_ERR_MEMORY;
    para_free(receive);
    para_arena_release(arena, mark);
    return status;
}

/* A byte from each to each: whoever has them all knows that all are there. A device that waits by itself is asked. */
para_status para_comm_barrier(para_comm c) {
    if (c.size == 1) return para_rank_check(c.rank);
    para_arena *arena = &c.rank->device->arena;
    size_t mark = para_arena_mark(arena);
    para_tensor bytes;
    para_exchange x;
    transfers t;
    PARA_TRY(PARA_NEW(c.rank->device, &bytes, PARA_U8, c.size));
    PARA_TRY(open_transfers(&t, c.size, &x));
    for (int i = 1; i < c.size; i++) {
        int to = (c.index + i) % c.size, from = (c.index + c.size - i) % c.size;
        add_send(&t, c, to, para_rows(bytes, c.index, 1));
        add_receive(&t, c, from, para_rows(bytes, from, 1));
    }
    PARA_TRY(start(&t, c, &x));
    PARA_TRY(para_comm_wait(&x));
    if (c.rank->device->ops->lane) {
        void *host;
        size_t used = para_arena_mark(&c.rank->host);
        PARA_TRY(para_arena_take(&c.rank->host, (size_t)c.size, &host));
        PARA_TRY(c.rank->device->ops->download(c.rank->device, host, &bytes));
        para_arena_release(&c.rank->host, used);
    }
    para_arena_release(arena, mark);
    return PARA_OK;
}

int64_t para_rank_bytes_sent(const para_rank *rank) {
    return rank->endpoint ? rank->endpoint->bytes_sent : 0;
}

int64_t para_rank_bytes_between_hosts(const para_rank *rank) {
    return rank->endpoint ? rank->endpoint->bytes_between_hosts : 0;
}
