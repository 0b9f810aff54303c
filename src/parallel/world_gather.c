/* The ranks of all processes of a host as threads of the first: they reach each other's memory there. SPDX-License-Identifier: Apache-2.0 */
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/error.h"
#include "core/hash.h"
#include "parallel/world_state.h"

/* Whether this process would have all ranks in one: nobody has chosen GPUs or hosts, and it sees as many GPUs as there are ranks. */
static bool is_willing(const para_world *world) {
    const para_world_options *o = &world->options;
    const int ranks = para_group_size(world->group);
    if (!o->gather || o->device_indices || o->device_index || o->num_hosts || para_group_hosts(world->group) > 1 || ranks > PARA_MAX_RANKS) return false;
    return o->device != PARA_CUDA || para_cuda_count() >= ranks;
}

/* What decides which GPUs a process sees, and in which order. */
static uint64_t list_of_gpus(void) {
    static const char *const name[] = {"CUDA_VISIBLE_DEVICES", "NVIDIA_VISIBLE_DEVICES", "CUDA_DEVICE_ORDER"};
    uint64_t hash = PARA_HASH_START;
    for (size_t i = 0; i < sizeof name / sizeof *name; i++) {
        const char *value = getenv(name[i]);
        hash = para_hash(hash, value ? value : "-", value ? strlen(value) + 1 : 1);
    }
    return hash;
}

/* A launcher may have given each process processors of its own: those of all are for the ranks of all. */
static void take_processors(para_world *world, const cpu_set_t *before, const cpu_set_t *all) {
    if (CPU_EQUAL(before, all) || sched_setaffinity(0, sizeof *all, all) != 0)
        return; /* what is refused stays as it was */
    world->processors = *before;
    world->opener = gettid();
}

void para_world_give_back_processors(const para_world *world) {
    if (world->opener && world->opener == gettid())
        (void)sched_setaffinity(0, sizeof world->processors, &world->processors);
}

static para_status take_over(para_world *world, para_group_options *g, const para_group_offer *offer) {
    world->options.threads = offer->threads < PARA_MAX_THREADS ? (int)offer->threads : PARA_MAX_THREADS;
    world->options.ranks = g->ranks = para_group_size(world->group);
    world->others = world->group;
    world->group = NULL;
    g->mpi = false;
    return para_group_open(&world->group, g);
}

para_status para_world_gather(para_world *world, para_group_options *g) {
    para_group_offer offer;
    cpu_set_t own;
    bool all;
    if (para_group_processes(world->group) == 1) return PARA_OK;
    if (sched_getaffinity(0, sizeof own, &own) != 0) CPU_ZERO(&own);
    offer = (para_group_offer){is_willing(world), world->options.threads, list_of_gpus(), own};
    PARA_TRY(para_group_all_willing(world->group, &offer, &all));
    if (!all) return PARA_OK;
    world->handed_over = para_group_process(world->group) > 0;
    if (world->handed_over) return PARA_OK;
    take_processors(world, &own, &offer.processors);
    return take_over(world, g, &offer);
}

bool para_world_handed_over(const para_world *world) {
    return world && world->handed_over;
}

para_status para_world_await(para_world *world) {
    para_status said;
    if (!world) return para_fail(PARA_ERR_ARGUMENT, "para_world_await: the world is NULL");
    if (!world->handed_over) return PARA_OK;
    PARA_TRY(para_group_part(world->group, PARA_OK, &said));
    return said == PARA_OK
               ? PARA_OK
               : para_fail(said, "process 0, which has taken over the ranks of this one, could not open its world: %s",
                           para_status_text(said));
}
