/* Parts of pictures, shared out over ranks. SPDX-License-Identifier: Apache-2.0 */
#include "vae/vae_share.h"

#include <stdlib.h>

#include "core/alloc.h"
#include "core/error.h"

/* Parts that the first rank has room for, for each rank: fewer, and it waits for others where they are not equally fast; more save nothing. Another rank has
 * room for the one that it computes and for one on its way. */
enum { AHEAD = 4, SENDING = 2 };

typedef struct weighed {
    int64_t cost;
    int part;
} weighed;

static int heavier_first(const void *a, const void *b) {
    const weighed *x = a, *y = b;
    if (x->cost != y->cost) return x->cost > y->cost ? -1 : 1;
    return x->part - y->part;
}

static int least_loaded(const int64_t *load, int ranks) {
    int least = ranks - 1;
    for (int r = ranks - 2; r >= 0; r--)
        if (load[r] < load[least]) least = r;
    return least;
}

para_status para_vae_share(int parts, const int64_t *cost, int ranks, int *rank) {
    weighed *order = para_alloc((size_t)parts, sizeof *order);
    int64_t *load = para_alloc((size_t)ranks, sizeof *load);
    if (order && load) {
        for (int i = 0; i < parts; i++) order[i] = (weighed){cost[i], i};
        qsort(order, (size_t)parts, sizeof *order, heavier_first);
        for (int i = 0; i < parts; i++) {
            int r = rank[order[i].part] = least_loaded(load, ranks);
            load[r] += order[i].cost;
        }
    }
    para_status status = order && load ? PARA_OK : PARA_ERR_MEMORY;
    para_free(order);
    para_free(load);
    return status;
}

/* One rank alone. */
static para_status run_alone(const para_vae_parts *parts, para_device *dev) {
    for (int i = 0; i < parts->count; i++) {
        size_t mark = para_arena_mark(&dev->arena);
        PARA_TRY(parts->alone(parts->user, i));
        para_arena_release(&dev->arena, mark);
    }
    return PARA_OK;
}

/* A part as each of several ranks sees it. */
typedef struct shared_part {
    int rank;    /* that computes it */
    int64_t due; /* what that rank has computed by then, in elements */
    para_tensor y;
    para_exchange x;
} shared_part;

static para_status share(const para_vae_parts *parts, int ranks, shared_part *part) {
    int64_t *cost = para_alloc((size_t)parts->count, sizeof *cost),
            *load = para_alloc((size_t)ranks, sizeof *load); /* zeroed */
    int *rank = para_alloc((size_t)parts->count, sizeof *rank);
    para_status status = cost && load && rank ? PARA_OK : PARA_ERR_MEMORY;
    for (int i = 0; status == PARA_OK && i < parts->count; i++) {
        part[i].y = parts->room(parts->user, i);
        cost[i] = para_tensor_count(&part[i].y);
    }
    if (status == PARA_OK) status = para_vae_share(parts->count, cost, ranks, rank);
    for (int i = 0; status == PARA_OK && i < parts->count; i++) {
        part[i].rank = rank[i];
        part[i].due = load[rank[i]] += cost[i];
    }
    para_free(cost);
    para_free(load);
    para_free(rank);
    return status;
}

static int64_t whole_lines(int64_t elements) { /* so that each part begins with a line of memory, in any type */
    return (elements + PARA_ARENA_ALIGN - 1) / PARA_ARENA_ALIGN * PARA_ARENA_ALIGN;
}

/* Room for parts, on the first rank for all of them that have none, on another for its own: they take turns in so many places, or each has its own where that is
 * not more. */
static para_status place_parts(const para_vae_parts *parts, para_device *dev, int index, shared_part *part,
                               int places) {
    int64_t most = 0, all = 0, at = 0;
    int n = 0;
    para_tensor room; /* [elements], in the parts' type */
    for (int i = 0; i < parts->count; i++) {
        int64_t count = whole_lines(para_tensor_count(&part[i].y));
        if (index > 0) part[i].y.data = NULL;
        if (part[i].y.data || (index > 0 && part[i].rank != index)) continue;
        if (count > most) most = count;
        all += count;
        n++;
    }
    bool turns = n > places && all > places * most;
    if (n == 0) return PARA_OK;
    PARA_TRY(PARA_NEW(dev, &room, part[0].y.dtype, turns ? places * most : all));
    for (int i = 0, k = 0; i < parts->count; i++) {
        if (part[i].y.data || (index > 0 && part[i].rank != index)) continue;
        int64_t first = turns ? k++ % places * most : at;
        part[i].y.data = para_rows(room, first, para_tensor_count(&part[i].y)).data;
        at += whole_lines(para_tensor_count(&part[i].y));
    }
    return PARA_OK;
}

/* ---- The first rank */

/* Computes its own parts from *next on, of the first `end`, that it would have begun with by the time that `due` elements take, and one more: what others have
 * computed then may still be on its way. */
static para_status compute_own(const para_vae_parts *parts, shared_part *part, int *next, int end, int64_t due) {
    for (; *next < end; ++*next) {
        const shared_part *p = &part[*next];
        if (p->rank != 0) continue;
        if (p->due - 2 * para_tensor_count(&p->y) >= due) return PARA_OK;
        PARA_TRY(parts->compute(parts->user, *next, p->y));
    }
    return PARA_OK;
}

/* It joins parts in order. Those of others are received while it computes its own, which it does as if all were equally fast: so it hardly ever waits, and
 * nobody waits for it. */
static para_status lead(const para_vae_parts *parts, para_device *dev, const para_comm *comm, shared_part *part) {
    int window = AHEAD * comm->size, opened = 0, next = 0;
    PARA_TRY(place_parts(parts, dev, 0, part, window));
    for (int i = 0; i < parts->count; i++) {
        int end = i + window < parts->count ? i + window : parts->count;
        shared_part *p = &part[i];
        for (; opened < end; opened++)
            if (part[opened].rank != 0)
                PARA_TRY(para_comm_send_receive(*comm, -1, part[opened].y, part[opened].rank, part[opened].y,
                                                &part[opened].x));
        PARA_TRY(compute_own(parts, part, &next, end, p->due));
        if (p->rank != 0) PARA_TRY(para_comm_wait(&p->x));
        PARA_TRY(parts->join(parts->user, i, p->y));
    }
    return PARA_OK;
}

/* ---- The others */

static para_status follow(const para_vae_parts *parts, para_device *dev, const para_comm *comm, shared_part *part) {
    shared_part *sent[SENDING] = {0};
    int n = 0;
    PARA_TRY(place_parts(parts, dev, comm->index, part, SENDING));
    for (int i = 0; i < parts->count; i++) {
        shared_part *p = &part[i], **before = &sent[n % SENDING];
        if (p->rank != comm->index) continue;
        if (*before) PARA_TRY(para_comm_wait(&(*before)->x)); /* its room */
        PARA_TRY(parts->compute(parts->user, i, p->y));
        PARA_TRY(para_comm_send_receive(*comm, 0, p->y, -1, p->y, &p->x));
        *before = p;
        n++;
    }
    for (int i = 0; i < SENDING; i++, n++)
        if (sent[n % SENDING]) PARA_TRY(para_comm_wait(&sent[n % SENDING]->x));
    return PARA_OK;
}

para_status para_vae_parts_run(const para_vae_parts *parts, para_device *dev, const para_comm *comm) {
    if (!comm || comm->size == 1) return run_alone(parts, dev);
    if (parts->count == 1) return comm->index == 0 ? run_alone(parts, dev) : PARA_OK;
    size_t mark = para_arena_mark(&dev->arena);
    shared_part *part = para_alloc((size_t)parts->count, sizeof *part);
    if (!part) return PARA_ERR_MEMORY;
    para_status status = share(parts, comm->size, part);
    if (status == PARA_OK) status = (comm->index == 0 ? lead : follow)(parts, dev, comm, part);
    para_free(part);
    /* After a failure transfers may still be under way, until the rank gives up: their memory stays. */
    if (status == PARA_OK) para_arena_release(&dev->arena, mark);
    return status;
}
