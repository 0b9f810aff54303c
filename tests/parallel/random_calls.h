/* Random programs of collective calls: the same calls on every rank, sizes and values from a seed. SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_PARALLEL_RANDOM_CALLS_H
#define TESTS_PARALLEL_RANDOM_CALLS_H

#include <stdatomic.h>
#include <unistd.h>

#include "comm/landing.h"
#include "rank_checks.h"

enum { MOST_RANKS = 8, MOST_SHIFTED = 3, AT_ONCE = 3 };

typedef enum call_kind { ALL_TO_ALL, ALL_GATHER, SHIFT, SEND_RECEIVE, BROADCAST, ALL_REDUCE, BARRIER, LANDING, KINDS } call_kind;

typedef struct program {
    uint32_t seed;
    int rounds;
    bool dry;        /* nothing moves: nothing to fill or to compare */
    bool delays;     /* ranks dawdle at random */
    int64_t bytes[MOST_RANKS], messages[MOST_RANKS]; /* counted, by rank */
} program;

/* One call under way. */
typedef struct call {
    call_kind kind;
    uint32_t seed;
    int count; /* of views */
    para_tensor send[MOST_RANKS], receive[MOST_RANKS];
    para_exchange x;
} call;

static uint32_t mix(uint32_t a, uint32_t b, uint32_t c) {
    uint32_t h = a * 2654435761u ^ (b + 0x9e3779b9u) * 2246822519u ^ (c + 0x85ebca6bu) * 3266489917u;
    h ^= h >> 15;
    h *= 2246822519u;
    h ^= h >> 13;
    return h * 3266489917u ^ h >> 16;
}

/* A view of the sizes that (seed, a, b) give, some of them empty, over memory in any order and with gaps. */
static para_status random_view(para_rank *rank, uint32_t seed, uint32_t a, uint32_t b, uint32_t order, para_tensor *out) {
    static const int orders[][3] = {{0, 1, 2}, {0, 2, 1}, {1, 0, 2}, {1, 2, 0}, {2, 0, 1}, {2, 1, 0}};
    uint32_t h = mix(seed, a, b);
    int64_t dim[] = {h % 4, 1 + (h >> 4) % 5, 1 + (h >> 8) % 30}, inner[3];
    const int *p = orders[order % 6];
    for (int i = 0; i < 3; i++) inner[p[i]] = dim[i];
    inner[2] += order % 2; /* a gap after each row */
    PARA_TRY(para_rank_tensor(rank, out, PARA_I32, 3, inner));
    inner[2] -= order % 2;
    out->dim[2] = inner[2];
    *out = para_permute(*out, p);
    return PARA_OK;
}

/* Writes the values of (seed, a, b) to t, or compares with them. */
static para_status visit(para_tensor t, uint32_t seed, uint32_t a, uint32_t b, bool fill) {
    uint32_t n = 0;
    for (int64_t i = 0; i < t.dim[0]; i++)
        for (int64_t j = 0; j < t.dim[1]; j++)
            for (int64_t k = 0; k < t.dim[2]; k++) {
                int32_t *x = (int32_t *)t.data + i * t.stride[0] + j * t.stride[1] + k * t.stride[2];
                int32_t value = (int32_t)mix(seed ^ n++, a, b);
                if (fill) *x = value;
                else EXPECT(*x == value, "seed %u, from %u to %u: element %u is %d, not %d", seed, a, b, n - 1, *x, value);
            }
    return PARA_OK;
}

/* The view that `from` sends to `to`, filled on the side that sends. */
static para_status both_sides(para_rank *rank, const program *p, call *c, uint32_t from, uint32_t to, para_tensor *send,
                              para_tensor *receive) {
    uint32_t own = (uint32_t)rank->index * 31;
    if (send) {
        PARA_TRY(random_view(rank, c->seed, from, to, mix(c->seed, own, 1), send));
        if (!p->dry) PARA_TRY(visit(*send, c->seed, from, to, true));
    }
    if (receive) PARA_TRY(random_view(rank, c->seed, from, to, mix(c->seed, own, 2), receive));
    return PARA_OK;
}

static para_status start_call(para_comm comm, const program *p, call *c) {
    para_rank *rank = comm.rank;
    uint32_t n = (uint32_t)comm.size, me = (uint32_t)comm.index;
    uint32_t before = (me + n - 1) % n;
    c->kind = mix(c->seed, 7, 7) % KINDS;
    if (c->kind == LANDING && !para_comm_addressable(comm)) c->kind = ALL_TO_ALL;
    c->count = 0;
    c->x.pending = NULL;
    switch (c->kind) {
    case ALL_TO_ALL:
        c->count = (int)n;
        for (uint32_t i = 0; i < n; i++) {
            PARA_TRY(both_sides(rank, p, c, me, i, &c->send[i], NULL));
            PARA_TRY(both_sides(rank, p, c, i, me, NULL, &c->receive[i]));
        }
        return para_comm_all_to_all(comm, c->send, c->receive, &c->x);
    case LANDING: /* send: places at the others */
        c->count = (int)n;
        for (uint32_t i = 0; i < n; i++) {
            PARA_TRY(random_view(rank, c->seed, me, i, 0, &c->send[i]));
            PARA_TRY(both_sides(rank, p, c, i, me, NULL, &c->receive[i]));
        }
        c->send[me] = c->receive[me];
        return para_comm_offer(comm, 1, c->receive, c->send, &c->x);
    case ALL_GATHER: /* what goes to any is what goes to 0 */
        c->count = (int)n;
        PARA_TRY(both_sides(rank, p, c, me, 0, &c->send[0], NULL));
        for (uint32_t i = 0; i < n; i++) PARA_TRY(both_sides(rank, p, c, i, 0, NULL, &c->receive[i]));
        return para_comm_all_gather(comm, c->send[0], c->receive, &c->x);
    case SHIFT: /* "to" numbers the tensors */
        c->count = 1 + (int)(mix(c->seed, 8, 8) % MOST_SHIFTED);
        for (uint32_t i = 0; i < (uint32_t)c->count; i++) {
            PARA_TRY(both_sides(rank, p, c, me, i, &c->send[i], NULL));
            PARA_TRY(both_sides(rank, p, c, before, i, NULL, &c->receive[i]));
        }
        return para_comm_shift(comm, c->count, c->send, c->receive, &c->x);
    case SEND_RECEIVE: /* one pair alone */ {
        uint32_t from = mix(c->seed, 9, 9) % n, to = mix(c->seed, 10, 10) % n;
        c->count = me == to;
        if (me == from) PARA_TRY(both_sides(rank, p, c, from, to, &c->send[0], NULL));
        if (me == to) PARA_TRY(both_sides(rank, p, c, from, to, NULL, &c->receive[0]));
        return para_comm_send_receive(comm, me == from ? (int)to : -1, c->send[0], me == to ? (int)from : -1,
                                      c->receive[0], &c->x);
    }
    case BROADCAST: {
        uint32_t root = mix(c->seed, 11, 11) % n;
        PARA_TRY(both_sides(rank, p, c, root, 0, me == root ? &c->receive[0] : NULL, me == root ? NULL : &c->receive[0]));
        return para_comm_broadcast(comm, (int)root, c->receive[0]);
    }
    case ALL_REDUCE: {
        int64_t dim[] = {mix(c->seed, 12, 12) % 3000};
        PARA_TRY(para_rank_tensor(rank, &c->send[0], PARA_F32, 1, dim));
        for (int64_t i = 0; i < dim[0] && !p->dry; i++)
            ((float *)c->send[0].data)[i] = (float)mix(c->seed, me, (uint32_t)i) * 1e-3f;
        return para_comm_all_reduce(comm, c->send[0]);
    }
    case BARRIER:
    case KINDS: break;
    }
    return para_comm_barrier(comm);
}

static para_status compare_call(para_comm comm, const call *c) {
    uint32_t n = (uint32_t)comm.size, me = (uint32_t)comm.index, before = (me + n - 1) % n;
    for (uint32_t i = 0; i < (uint32_t)c->count; i++) {
        if (c->kind == ALL_TO_ALL || c->kind == LANDING) PARA_TRY(visit(c->receive[i], c->seed, i, me, false));
        if (c->kind == ALL_GATHER) PARA_TRY(visit(c->receive[i], c->seed, i, 0, false));
        if (c->kind == SHIFT) PARA_TRY(visit(c->receive[i], c->seed, before, i, false));
        if (c->kind == SEND_RECEIVE) PARA_TRY(visit(c->receive[i], c->seed, mix(c->seed, 9, 9) % n, me, false));
    }
    if (c->kind == BROADCAST) PARA_TRY(visit(c->receive[0], c->seed, mix(c->seed, 11, 11) % n, 0, false));
    for (int64_t i = 0; c->kind == ALL_REDUCE && i < c->send[0].dim[0]; i++) {
        float sum = 0;
        for (uint32_t r = 0; r < n; r++) sum += (float)mix(c->seed, r, (uint32_t)i) * 1e-3f;
        float got = ((float *)c->send[0].data)[i];
        EXPECT(got == sum, "seed %u: the sum is %.9g, not %.9g", c->seed, (double)got, (double)sum);
    }
    return PARA_OK;
}

static void dawdle(const para_rank *rank, const program *p, uint32_t at) {
    uint32_t h = mix(p->seed, (uint32_t)rank->index, at);
    if (p->delays && h % 4 == 0) usleep(h % 1500);
}

/* Stores at the others, in two goes or one. */
static para_status store(para_comm comm, const program *p, call *c) {
    int half = mix(c->seed, 13, (uint32_t)comm.index) % 2 ? comm.size / 2 : 0, first = 0;
    for (int last = half ? half : comm.size;; last = comm.size) {
        PARA_TRY(para_comm_reach(comm, 1, c->send, &c->x));
        PARA_TRY(para_comm_reach(comm, 1, c->send, &c->x));
        dawdle(comm.rank, p, c->seed + (uint32_t)last);
        for (; first < last && !p->dry; first++) PARA_TRY(visit(c->send[first], c->seed, (uint32_t)comm.index, (uint32_t)first, true));
        PARA_TRY(para_comm_leave(&c->x, last == comm.size));
        if (last == comm.size) return PARA_OK;
    }
}

/* Rounds of some calls, all started before any is waited for, and waited for in another order on each rank. */
static inline para_status run_program(para_rank *rank, void *user) {
    program *p = user;
    int64_t bytes = rank->endpoint ? rank->endpoint->bytes_sent : 0;
    int64_t messages = rank->endpoint ? rank->endpoint->messages : 0;
    for (int round = 0; round < p->rounds; round++) {
        uint32_t seed = mix(p->seed, (uint32_t)round, 99);
        para_comm comm = para_world_comm(rank);
        if (rank->size % 2 == 0 && seed % 3 == 0) /* every other rank, or one half */
            comm = seed % 2 ? (para_comm){rank, rank->index % 2, 2, rank->size / 2, rank->index / 2}
                            : (para_comm){rank, rank->index / (rank->size / 2) * (rank->size / 2), 1, rank->size / 2,
                                          rank->index % (rank->size / 2)};
        size_t mark = para_arena_mark(&rank->device->arena);
        call calls[AT_ONCE] = {0};
        int n = 1 + (int)(seed / 7 % AT_ONCE);
        for (int i = 0; i < n; i++) {
            calls[i].seed = mix(seed, (uint32_t)i, 5);
            dawdle(rank, p, (uint32_t)(round * AT_ONCE + i));
            PARA_TRY(start_call(comm, p, &calls[i]));
        }
        for (int i = 0; i < n; i++)
            if (calls[i].kind == LANDING) PARA_TRY(store(comm, p, &calls[i]));
        for (int i = 0; i < n; i++) {
            int which = (i + rank->index) % n;
            dawdle(rank, p, (uint32_t)(round * AT_ONCE + i) + 77777);
            PARA_TRY(para_comm_wait(&calls[which].x));
            EXPECT(calls[which].x.pending == NULL, "an exchange is not empty after its wait");
            PARA_TRY(para_comm_wait(&calls[which].x));
            if (!p->dry) PARA_TRY(compare_call(comm, &calls[which]));
        }
        para_arena_release(&rank->device->arena, mark);
    }
    if (rank->endpoint) {
        p->bytes[rank->index] = rank->endpoint->bytes_sent - bytes;
        p->messages[rank->index] = rank->endpoint->messages - messages;
    }
    return PARA_OK;
}

/* The same program on a dry endpoint of rank i counts what it counted there. */
static inline void dry_run_counts(const program *real, int i, int ranks) {
    program dry = {.seed = real->seed, .rounds = real->rounds, .dry = true};
    para_endpoint *endpoint;
    para_device *device;
    para_rank rank;
    assert_int_equal(para_dry_endpoint_open(&endpoint, i, ranks), PARA_OK);
    assert_int_equal(para_dry_open(&device), PARA_OK);
    assert_int_equal(para_rank_open(&rank, device, endpoint), PARA_OK);
    assert_int_equal(run_program(&rank, &dry), PARA_OK);
    assert_true(para_rank_bytes_sent(&rank) == real->bytes[i] && real->bytes[i] > 0);
    assert_true(dry.messages[i] == real->messages[i]);
    endpoint->transport->close(endpoint);
    para_rank_close(&rank);
}

#endif
