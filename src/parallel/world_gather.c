/* The ranks of all processes of a host as threads of the first: they reach each other's memory there. SPDX-License-Identifier: Apache-2.0 */
#include <sched.h>

#include "core/error.h"
#include "parallel/world_state.h"

/* Whether this process would have all ranks in one: nobody has chosen GPUs, and it sees as many as there are ranks. */
static bool is_willing(const para_world *world) {
    const para_world_options *o = &world->options;
    const int ranks = para_group_size(world->group);
    if (!o->gather || o->device_indices || o->device_index || ranks > PARA_MAX_RANKS) return false;
    return o->device != PARA_CUDA || para_cuda_count() >= ranks;
}

/* A launcher may have given each process processors of its own: those of all are for the ranks of all. */
static para_status take_over(para_world *world, para_group_options *g, const cpu_set_t *processors, int *usable) {
    (void)sched_setaffinity(0, sizeof *processors, processors); /* what is refused stays as it was */
    *usable = para_world_usable_threads(&g->cores);
    world->options.threads *= para_group_processes(world->group);
    world->options.ranks = g->ranks = para_group_size(world->group);
    world->others = world->group;
    world->group = NULL;
    g->mpi = false;
    return para_group_open(&world->group, g);
}

para_status para_world_gather(para_world *world, para_group_options *g, int *usable) {
    cpu_set_t processors;
    bool all;
    if (para_group_processes(world->group) == 1) return PARA_OK;
    if (sched_getaffinity(0, sizeof processors, &processors) != 0) CPU_ZERO(&processors);
    PARA_TRY(para_group_all_willing(world->group, is_willing(world), &processors, &all));
    world->handed_over = all && para_group_process(world->group) > 0;
    return all && !world->handed_over ? take_over(world, g, &processors, usable) : PARA_OK;
}

bool para_world_handed_over(const para_world *world) {
    return world && world->handed_over;
}

para_status para_world_await(para_world *world) {
    if (!world) return para_fail(PARA_ERR_ARGUMENT, "para_world_await: the world is NULL");
    return world->handed_over ? para_group_part(world->group) : PARA_OK;
}
