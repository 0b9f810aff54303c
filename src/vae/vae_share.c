/* Parts of pictures, shared out over ranks. SPDX-License-Identifier: Apache-2.0 */
#include "vae/vae_share.h"

#include <stdlib.h>

#include "core/alloc.h"
#include "core/error.h"

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

static para_status make_room(para_device *dev, para_tensor *y) {
    return y->data ? PARA_OK : para_new(dev, y, y->dtype, y->rank, y->dim);
}

/* One rank alone: it holds one part at a time. */
static para_status run_alone(const para_vae_parts *parts, para_device *dev) {
    for (int i = 0; i < parts->count; i++) {
        size_t mark = para_arena_mark(&dev->arena);
        para_tensor y = parts->room(parts->user, i);
        PARA_TRY(make_room(dev, &y));
        PARA_TRY(parts->compute(parts->user, i, y));
        PARA_TRY(parts->join(parts->user, i, y));
        para_arena_release(&dev->arena, mark);
    }
    return PARA_OK;
}

/* A part as one of several ranks sees it. */
typedef struct shared_part {
    int rank;  /* that computes it */
    bool here; /* this rank has to do with it */
    para_tensor y;
    para_exchange x;
} shared_part;

static para_status share(const para_vae_parts *parts, int ranks, shared_part *part) {
    int64_t *cost = para_alloc((size_t)parts->count, sizeof *cost);
    int *rank = para_alloc((size_t)parts->count, sizeof *rank);
    para_status status = cost && rank ? PARA_OK : PARA_ERR_MEMORY;
    for (int i = 0; status == PARA_OK && i < parts->count; i++) {
        part[i].y = parts->room(parts->user, i);
        cost[i] = para_tensor_count(&part[i].y);
    }
    if (status == PARA_OK) status = para_vae_share(parts->count, cost, ranks, rank);
    for (int i = 0; status == PARA_OK && i < parts->count; i++) part[i].rank = rank[i];
    para_free(cost);
    para_free(rank);
    return status;
}

/* The first rank starts to receive before it computes, so that nobody waits for it. */
static para_status open_parts(const para_vae_parts *parts, para_device *dev, const para_comm *comm, shared_part *part) {
    for (int i = 0; i < parts->count; i++) {
        shared_part *p = &part[i];
        bool mine = p->rank == comm->index;
        p->here = mine || comm->index == 0;
        if (!p->here) continue;
        if (comm->index) p->y.data = NULL;
        PARA_TRY(make_room(dev, &p->y));
        if (!mine) PARA_TRY(para_comm_send_receive(*comm, -1, p->y, p->rank, p->y, &p->x));
    }
    return PARA_OK;
}

static para_status compute_parts(const para_vae_parts *parts, const para_comm *comm, shared_part *part) {
    for (int i = 0; i < parts->count; i++) {
        shared_part *p = &part[i];
        if (p->rank != comm->index) continue;
        PARA_TRY(parts->compute(parts->user, i, p->y));
        if (comm->index) PARA_TRY(para_comm_send_receive(*comm, 0, p->y, -1, p->y, &p->x));
    }
    return PARA_OK;
}

static para_status close_parts(const para_vae_parts *parts, const para_comm *comm, shared_part *part) {
    for (int i = 0; i < parts->count; i++) {
        if (!part[i].here) continue;
        PARA_TRY(para_comm_wait(&part[i].x));
        if (comm->index == 0) PARA_TRY(parts->join(parts->user, i, part[i].y));
    }
    return PARA_OK;
}

para_status para_vae_parts_run(const para_vae_parts *parts, para_device *dev, const para_comm *comm) {
    if (!comm || comm->size == 1) return run_alone(parts, dev);
    size_t mark = para_arena_mark(&dev->arena);
    shared_part *part = para_alloc((size_t)parts->count, sizeof *part);
    if (!part) return PARA_ERR_MEMORY;
    para_status status = share(parts, comm->size, part);
    if (status == PARA_OK) status = open_parts(parts, dev, comm, part);
    if (status == PARA_OK) status = compute_parts(parts, comm, part);
    if (status == PARA_OK) status = close_parts(parts, comm, part);
    para_free(part);
    /* After a failure transfers may still be under way, until the rank gives up: their memory stays. */
    if (status == PARA_OK) para_arena_release(&dev->arena, mark);
    return status;
}
