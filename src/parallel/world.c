/* Opening and closing a world. SPDX-License-Identifier: Apache-2.0 */
#include <math.h>
#include <sched.h>
#include <stdarg.h>
#include <stdio.h>

#include "comm/launch_variables.h"
#include "comm/meeting.h"
#include "core/alloc.h"
#include "core/error.h"
#include "parallel/world_state.h"

/* Processors that this process may use: how many, and a number that is equal for equal sets. */
static int usable_threads(uint64_t *cores) {
    cpu_set_t set;
    *cores = 0;
    if (sched_getaffinity(0, sizeof set, &set) != 0) return 1;
    for (int i = 0; i < CPU_SETSIZE; i++)
        if (CPU_ISSET(i, &set)) *cores = (*cores ^ (uint64_t)i) * 0x100000001b3u + 1;
    int n = CPU_COUNT(&set);
    return n > 0 ? n : 1;
}

static para_status check_hosts(const para_world_options *o) {
    if (o->num_hosts < 0)
        return para_fail(PARA_ERR_ARGUMENT, "num_hosts (--hosts) is %d; give 1 or more, or 0 for those where the ranks are", o->num_hosts);
    for (int i = 0; i < o->num_hosts && o->host_ranks; i++)
        if (o->host_ranks[i] < 1 || o->host_ranks[i] > PARA_MAX_RANKS)
            return para_fail(PARA_ERR_ARGUMENT, "host_ranks[%d] (--hosts) is %d; give each host 1 to %d ranks", i, o->host_ranks[i], (int)PARA_MAX_RANKS);
    return PARA_OK;
}

static para_status check_options(const para_world_options *o) {
    PARA_TRY(para_check_size(o->size, sizeof *o, "para_world_open: options", "PARA_WORLD_OPTIONS_INIT"));
    if (o->device != PARA_CPU && o->device != PARA_CUDA)
        return para_fail(PARA_ERR_DEVICE, "there is no device of kind %d; use PARA_CPU or PARA_CUDA", (int)o->device);
    if (o->ranks < 1 || o->ranks > PARA_MAX_RANKS)
        return para_fail(PARA_ERR_ARGUMENT, "ranks (--ranks) is %d; give 1 to %d", o->ranks, (int)PARA_MAX_RANKS);
    if (o->device_indices && o->num_device_indices != o->ranks)
        return para_fail(PARA_ERR_ARGUMENT,
                         "%d GPUs are named (--device) for %d ranks (--ranks); name one for each rank",
                         o->num_device_indices, o->ranks);
    if (o->threads < 0 || o->threads > PARA_MAX_THREADS)
        return para_fail(PARA_ERR_ARGUMENT, "threads (--threads) is %d; give 0 (all) to %d", o->threads,
                         (int)PARA_MAX_THREADS);
    if (o->memory_limit < 0)
        return para_fail(PARA_ERR_ARGUMENT,
                         "memory_limit (--memory-limit) is %lld bytes; give a number above 0, or 0 for all",
                         (long long)o->memory_limit);
    PARA_TRY(check_hosts(o));
    if (!(o->timeout > 0) || !isfinite(o->timeout))
        return para_fail(PARA_ERR_ARGUMENT, "timeout (--timeout) is %g seconds; give a number above 0", o->timeout);
    return PARA_OK;
}

static void note(void *world, para_log_level level, const char *line) {
    para_world_log(world, level, "%s", line);
}

/* The local-th rank with its share of the threads, the first ones one more. */
static para_status open_worker(para_world *world, int local) {
    para_worker *w = &world->worker[local];
    int ranks = world->options.ranks, share = world->threads / ranks + (local < world->threads % ranks);
    para_device *device;
    w->world = world;
    w->local = local;
    PARA_TRY(para_device_open(world->options.device, world->gpu[local], share > 0 ? share : 1, &device));
    device->note = note;
    device->note_user = world;
    device->memory_limit = world->options.memory_limit;
    para_status status = para_rank_open(&w->rank, device, para_group_endpoint(world->group, local));
    if (status != PARA_OK) {
        para_device_close(&device);
        return status;
    }
    if (world->threads > w->rank.threads) w->rank.process_threads = world->threads;
    return PARA_OK;
}

/* Every rank's device copies from those of the others. */
static para_status reach_each_other(para_world *world) {
    for (int i = 0; i < world->options.ranks; i++) {
        para_device *dev = world->worker[i].rank.device;
        for (int k = 0; k < world->options.ranks && dev->ops->reach; k++)
            PARA_TRY(dev->ops->reach(dev, world->worker[k].rank.device));
    }
    return PARA_OK;
}

/* Where none is named, processes of a host take theirs one after the other, as far as each sees those of the others. */
static para_status choose_gpus(para_world *world) {
    const para_world_options *o = &world->options;
    int first = o->device_index, place = -1;
    world->gpu = para_alloc((size_t)o->ranks, sizeof *world->gpu);
    if (!world->gpu) return PARA_ERR_MEMORY;
    if (o->device == PARA_CUDA && para_group_processes(world->group) > 1 && !o->device_indices && o->device_index == 0) {
        PARA_TRY(para_launch_local(&place));
        first = place < 0 || o->ranks > 1 ? para_group_earlier_here(world->group) : place;
        if (para_cuda_count() <= o->ranks) first = 0;
    }
    for (int i = 0; i < o->ranks; i++) world->gpu[i] = o->device_indices ? o->device_indices[i] : first + i;
    return PARA_OK;
}

/* All processes on one kind of device. */
static para_status check_same(para_world *world) {
    PARA_TRY(para_meet_same(world->group, &world->options.device, sizeof world->options.device, "device (--device)"));
    return para_meet_same(world->group, para_group_host_list(world->group), (size_t)para_group_size(world->group) * sizeof(int),
                          "list of hosts (--hosts)");
}

static para_status open_parts(para_world *world) {
    para_group_options g = {
        .ranks = world->options.ranks, .timeout = world->options.timeout, .mpi = world->options.mpi,
        .hosts = world->options.num_hosts, .host_ranks = world->options.host_ranks};
    usable_threads(&g.cores);
    PARA_TRY(para_group_open(&world->group, &g));
    PARA_TRY(check_same(world));
    PARA_TRY(para_world_gather(world, &g));
    if (world->handed_over) return PARA_OK;
    /* Processes that may use the same processors share them. */
    int share = usable_threads(&g.cores) / para_group_neighbours(world->group);
    world->threads = world->options.threads ? world->options.threads : share > 0 ? share : 1;
    world->worker = para_alloc((size_t)world->options.ranks, sizeof *world->worker);
    if (!world->worker) return PARA_ERR_MEMORY;
    PARA_TRY(choose_gpus(world));
    for (int i = 0; i < world->options.ranks; i++) PARA_TRY(open_worker(world, i));
    PARA_TRY(reach_each_other(world));
    if (world->options.device == PARA_CUDA) PARA_TRY(para_group_join_gpus(world->group, world->gpu));
    return para_world_start_threads(world);
}

para_status para_world_open(para_world **out, const para_world_options *options) {
    if (!out) return para_fail(PARA_ERR_ARGUMENT, "para_world_open: out is NULL");
    *out = NULL;
    para_world_options o = PARA_WORLD_OPTIONS_INIT;
    if (options) o = *options;
    PARA_TRY(check_options(&o));
    para_world *world = para_alloc(1, sizeof *world);
    if (!world) return PARA_ERR_MEMORY;
    world->options = o;
    atomic_flag_clear(&world->busy);
    pthread_mutex_init(&world->lock, NULL);
    pthread_cond_init(&world->start, NULL);
    para_status status = open_parts(world);
    if (status == PARA_OK) {
        *out = world;
        return PARA_OK;
    }
    para_status said;
    if (world->others) (void)para_group_part(world->others, status, &said); /* whoever waits for this process hears why */
    para_world_end_threads(&world);
    return status;
}

void para_world_close(para_world **world) {
    if (!world || !*world) return;
    para_world_end_threads(world);
}

void para_world_free(para_world *world) {
    for (int i = 0; world->worker && i < world->options.ranks; i++) {
        para_rank *rank = &world->worker[i].rank;
        if (rank->device) para_group_free_staging(world->group, i, rank->device);
        para_rank_close(rank);
    }
    para_free(world->gpu);
    para_group_close(&world->group);
    para_group_close(&world->others);
    para_free(world->worker);
    pthread_cond_destroy(&world->start);
    pthread_mutex_destroy(&world->lock);
    para_free(world);
}

void para_world_log(const para_world *world, para_log_level level, const char *format, ...) {
    if (!world->options.log) return;
    char line[1024];
    va_list args;
    va_start(args, format);
    vsnprintf(line, sizeof line, format, args);
    va_end(args);
    world->options.log(world->options.log_user, level, line);
}

/* A process that is gone takes the world with it. */
static para_status after_meeting(para_world *world, para_status status) {
    if (status == PARA_ERR_LOST) world->lost = true;
    return status;
}

para_status para_world_broadcast(para_world *world, void **bytes, size_t *size) {
    return after_meeting(world, para_meet_broadcast(world->group, bytes, size));
}

para_status para_world_same(para_world *world, const void *bytes, size_t n, const char *what) {
    return after_meeting(world, para_meet_same(world->group, bytes, n, what));
}

int para_world_size(const para_world *world) {
    return para_group_size(world->group);
}

int para_world_process(const para_world *world) {
    return para_group_process(world->group);
}

int para_world_processes(const para_world *world) {
    return para_group_processes(world->group);
}

int para_world_hosts(const para_world *world) {
    return para_group_hosts(world->group);
}

int para_world_host_of(const para_world *world, int rank) {
    return rank >= 0 && rank < para_world_size(world) ? para_group_host_list(world->group)[rank] : -1;
}
