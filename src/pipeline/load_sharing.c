/* Loading once for several ranks. SPDX-License-Identifier: Apache-2.0 */
#include "pipeline/load_sharing.h"

#include "comm/rendezvous.h"
#include "core/error.h"

typedef bool wants[PARA_MAX_COMPONENTS]; /* of a rank */

/* Those that take part in the request, from the process's first rank on. */
static para_comm loaders(const para_pipeline *pipe, para_rank *rank, const para_request *request) {
    para_comm c = {rank, para_group_first(pipe->world->group), 1, 0, para_local_rank(pipe, rank)};
    for (int i = 0; i < pipe->world->options.ranks; i++)
        c.size += !request || para_run_takes_part(pipe, &pipe->work.mesh, c.first + i);
    return c;
}

/* Those of c that want the i-th component, if the own one is among them, and they are several and next to each other. */
static para_comm those_who_want(para_comm c, const wants *rank, int i) {
    int first = c.index, end = c.index, all = 0;
    for (int k = 0; k < c.size; k++) all += rank[k][i];
    while (end < c.size && rank[end][i]) end++;
    while (first > 0 && rank[first - 1][i]) first--;
    bool together = rank[c.index][i] && all > 1 && end - first == all;
    return (para_comm){c.rank, c.first + first, 1, together ? all : 0, c.index - first};
}

para_status para_load_together(const para_pipeline *pipe, para_rank *rank, const para_request *request, const bool *wanted, para_comm *with) {
    para_comm all = loaders(pipe, rank, request);
    wants of[PARA_MAX_RANKS];
    if (!para_comm_meets(all)) return PARA_OK;
    PARA_TRY(para_comm_rendezvous(all, PARA_OK, wanted, sizeof *of, of));
    for (int i = 0; i < PARA_MAX_COMPONENTS; i++) with[i] = those_who_want(all, of, i);
    return PARA_OK;
}

static para_status pass(void *user, para_tensor block) {
    return para_comm_broadcast(*(const para_comm *)user, 0, block);
}

para_weights_sharing para_load_sharing(para_comm *with) {
    return with->size ? (para_weights_sharing){pass, with, with->index > 0} : (para_weights_sharing){0};
}
