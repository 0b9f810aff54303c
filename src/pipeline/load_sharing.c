/* Loading once for several ranks. SPDX-License-Identifier: Apache-2.0 */
#include "pipeline/load_sharing.h"

#include "comm/rendezvous.h"
#include "core/error.h"

/* Who of the process is among the world's first `ranks`; false: the own one is not, or alone, or all have one memory. */
static bool find_loaders(const para_pipeline *pipe, para_rank *rank, int ranks, para_comm *out) {
    para_comm c = {rank, para_group_first(pipe->world->group), 1, pipe->world->options.ranks, para_local_rank(pipe, rank)};
    if (c.size > ranks - c.first) c.size = ranks - c.first;
    *out = c;
    return pipe->holders > 1 && c.index < c.size && para_comm_meets(c);
}

/* Those of c that want the i-th component, if the own one is among them, and they are several and next to each other. */
static para_comm those_who_want(para_comm c, const para_load_wish *of, int i) {
    int first = c.index, end = c.index, all = 0;
    for (int k = 0; k < c.size; k++) all += of[k].component[i];
    while (end < c.size && of[end].component[i]) end++;
    while (first > 0 && of[first - 1].component[i]) first--;
    bool together = of[c.index].component[i] && all > 1 && end - first == all;
    return (para_comm){c.rank, c.first + first, 1, together ? all : 0, c.index - first};
}

para_status para_load_together(const para_pipeline *pipe, para_rank *rank, int ranks, para_load_wish *wish, para_comm *with) {
    para_comm all;
    para_load_wish of[PARA_MAX_RANKS];
    if (!find_loaders(pipe, rank, ranks, &all)) return PARA_OK;
    PARA_TRY(para_comm_rendezvous(all, PARA_OK, wish, sizeof *wish, of));
    for (int i = 0; i < PARA_MAX_COMPONENTS; i++) {
        for (int k = 0; k < all.size; k++) wish->component[i] &= !of[k].later[i];
        if (wish->component[i]) with[i] = those_who_want(all, of, i);
    }
    const para_comm *t = &with[pipe->family->transformer];
    for (int k = 0; k < t->size; k++) {
        int kept = of[t->first - all.first + k].kept;
        if (kept < wish->kept) wish->kept = kept;
    }
    return PARA_OK;
}

para_status para_load_lacking(const para_pipeline *pipe, para_rank *rank, int ranks, bool *lacks) {
    para_comm all;
    bool of[PARA_MAX_RANKS][PARA_MAX_COMPONENTS];
    if (!find_loaders(pipe, rank, ranks, &all)) return PARA_OK;
    PARA_TRY(para_comm_rendezvous(all, PARA_OK, lacks, sizeof *of, of));
    for (int k = 0; k < all.size; k++)
        for (int i = 0; i < PARA_MAX_COMPONENTS; i++) lacks[i] |= of[k][i];
    return PARA_OK;
}

static para_status pass(void *user, para_tensor block) {
    return para_comm_broadcast(*(const para_comm *)user, 0, block);
}

/* The rendezvous ends for all of them alike: either each has got them, or nobody. */
static para_status pass_host(void *user, para_host_blocks **blocks) {
    const para_comm *c = user;
    para_host_blocks *of[PARA_MAX_RANKS];
    if (c->index == 0) para_host_blocks_hold(*blocks, c->size - 1);
    para_status status = para_comm_rendezvous(*c, PARA_OK, blocks, sizeof *blocks, of);
    if (status != PARA_OK && c->index == 0) para_host_blocks_hold(*blocks, 1 - c->size);
    if (status == PARA_OK) *blocks = of[0];
    return status;
}

para_weights_sharing para_load_sharing(para_comm *with) {
    return with->size ? (para_weights_sharing){pass_host, pass, with, with->index > 0} : (para_weights_sharing){0};
}
