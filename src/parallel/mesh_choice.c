/* Choosing a mesh. SPDX-License-Identifier: Apache-2.0 */
#include "parallel/mesh_choice.h"

#include "core/alloc.h"
#include "core/error.h"
#include "parallel/mesh_hosts.h"

/* A mesh may leave its busiest rank this much more than the best mesh does, where it exchanges less. */
static const double WORTH = 1.1;
/* Predicted times that are nearer than this are the same. */
static const double EQUAL = 1.01;

static double whole_parts(int64_t n, int64_t parts) {
    return (double)((n + parts - 1) / parts);
}

double para_mesh_share(para_mesh m, const para_mesh_needs *n) {
    /* Matrix products go by tokens. Attention goes by the queries of a place on the ring and the heads of a place on the Ulysses axis. */
    double products = whole_parts(n->tokens, (int64_t)m.ring * m.ulysses) / (double)n->tokens,
           attention =
               whole_parts(n->tokens, m.ring) / (double)n->tokens * whole_parts(n->heads, m.ulysses) / (double)n->heads;
    return whole_parts(n->items, m.batch) / (double)n->items * (products > attention ? products : attention);
}

static bool fits(int wish, int axis) {
    return wish == 0 || wish == axis;
}

/* The next mesh of the ranks that agrees with the wish, in order of batch, then of Ulysses, both from large to small. Starts with a zeroed one. */
static bool next_mesh(para_mesh *m, para_mesh wish, int ranks, int64_t most_batch) {
    int batch = m->batch ? m->batch : ranks, ulysses = m->batch ? m->ulysses - 1 : ranks;
    for (; batch > 0; batch--, ulysses = ranks)
        for (; ulysses > 0; ulysses--) {
            if (ranks % batch || ranks / batch % ulysses) continue;
            *m = (para_mesh){batch, ranks / batch / ulysses, ulysses};
            if (batch <= most_batch && fits(wish.batch, batch) && fits(wish.ring, m->ring) &&
                fits(wish.ulysses, ulysses))
                return true;
        }
    return false;
}

para_status para_mesh_check(para_mesh wish, int ranks) {
    para_mesh m = {0};
    if (wish.batch >= 0 && wish.ring >= 0 && wish.ulysses >= 0 && next_mesh(&m, wish, ranks, ranks)) return PARA_OK;
    return para_mesh_misfit(wish, ranks, ranks);
}

/* Whether the wish leaves a mesh whose ulysses groups are on one host each. */
static bool can_keep_hosts(para_mesh wish, const para_mesh_needs *n) {
    for (para_mesh m = {0}; next_mesh(&m, wish, n->ranks, n->items);)
        if (para_mesh_axis_in_hosts(m, PARA_AXIS_ULYSSES, n->host)) return true;
    return false;
}

/* What meshes are compared by: predicted time, or else the share of the busiest rank. */
static para_status cost_of(para_mesh m, const para_mesh_needs *n, double *out) {
    if (n->seconds) return n->seconds(n->user, m, out);
    *out = para_mesh_share(m, n);
    return PARA_OK;
}

/* A mesh and what it costs. */
typedef struct candidate {
    para_mesh mesh;
    double cost;
} candidate;

/* Of those that cost little more than the best: batch first, since items need no exchange while they are computed; then Ulysses, which exchanges less than a
 * ring. */
static const candidate *first_good(const candidate *all, size_t count, double worth) {
    double best = all->cost;
    for (size_t i = 1; i < count; i++)
        if (all[i].cost < best) best = all[i].cost;
    while (all->cost > worth * best) all++;
    return all;
}

para_status para_mesh_choose(para_mesh *out, para_mesh wish, const para_mesh_needs *n) {
    PARA_TRY(para_mesh_check(wish, n->ranks));
    const int *host = can_keep_hosts(wish, n) ? n->host : NULL;
    candidate *all = NULL;
    size_t count = 0, room = 0;
    para_status status = PARA_OK;
    for (para_mesh m = {0}; status == PARA_OK && next_mesh(&m, wish, n->ranks, n->items);) {
        if (!para_mesh_axis_in_hosts(m, PARA_AXIS_ULYSSES, host)) continue;
        if (!para_grow((void **)&all, count, &room, sizeof *all)) {
            status = PARA_ERR_MEMORY;
            break;
        }
        all[count].mesh = m;
        status = cost_of(m, n, &all[count++].cost);
    }
    if (status == PARA_OK && count == 0) status = para_mesh_misfit(wish, n->ranks, n->items);
    if (status == PARA_OK) *out = first_good(all, count, n->seconds ? EQUAL : WORTH)->mesh;
    para_free(all);
    return status;
}
