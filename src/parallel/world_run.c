/* Running a function on every rank. SPDX-License-Identifier: Apache-2.0 */
#include <signal.h>

#include "core/error.h"
#include "parallel/world_state.h"

static para_status check_rank(void *worker) {
    const para_worker *w = worker;
    return para_group_check(w->world->group, w->local);
}

/* What a run before left, perhaps on a failure, is gone. */
static para_status prepare(para_worker *w, bool grow) {
    para_rank *rank = &w->rank;
    rank->modes = 0;
    para_arena_release(&rank->host, 0);
    para_rank_serial(rank, false);
    rank->device->trace = NULL;
    rank->device->check = check_rank;
    rank->device->check_user = w;
    return para_device_let_grow(rank->device, grow);
}

static para_status run_body(para_worker *w, bool grow, para_rank_body body, void *user) {
    para_clear_error();
    PARA_TRY(prepare(w, grow));
    PARA_TRY(para_rank_check(&w->rank));
    para_status status = body(&w->rank, user);
    w->rank.device->check = NULL;
    return status;
}

/* A rank's thread, from open to close. */
static void *work(void *arg) {
    para_worker *w = arg;
    para_world *world = w->world;
    int64_t seen = 0;
    pthread_mutex_lock(&world->lock);
    for (;;) {
        while (!world->closing && world->runs == seen) pthread_cond_wait(&world->start, &world->lock);
        if (world->closing) break;
        seen = world->runs;
        bool grow = world->grow;
        para_rank_body body = world->body;
        void *user = world->user;
        pthread_mutex_unlock(&world->lock);
        para_status status = run_body(w, grow, body, user);
        pthread_mutex_lock(&world->lock);
        w->working = false;
        bool closed = world->closing; /* nobody waits for this thread any more */
        pthread_mutex_unlock(&world->lock);
        para_group_finish(world->group, w->local, status);
        pthread_mutex_lock(&world->lock);
        if (!closed) continue;
        bool last = --world->away == 0 && world->left;
        pthread_mutex_unlock(&world->lock);
        if (last) para_world_free(world);
        return NULL;
    }
    pthread_mutex_unlock(&world->lock);
    return NULL;
}

para_status para_world_start_threads(para_world *world) {
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before); /* signals are for the program's own threads */
    para_status status = PARA_OK;
    for (int i = 1; i < world->options.ranks && status == PARA_OK; i++) {
        para_worker *w = &world->worker[i];
        w->started = pthread_create(&w->thread, NULL, work, w) == 0;
        if (!w->started)
            status = para_fail(PARA_ERR_MEMORY, "the thread of rank %d of %d could not be started; use fewer ranks (--ranks)",
                               i, world->options.ranks);
    }
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return status;
}

void para_world_end_threads(para_world **out) {
    para_world *world = *out;
    int ranks = world->worker ? world->options.ranks : 0;
    *out = NULL;
    pthread_mutex_lock(&world->lock);
    world->closing = true;
    pthread_cond_broadcast(&world->start);
    for (int i = 1; i < ranks; i++) {
        para_worker *w = &world->worker[i];
        if (!w->started || !w->working) continue;
        pthread_detach(w->thread);
        w->started = false;
        world->away++;
    }
    pthread_mutex_unlock(&world->lock);
    for (int i = 1; i < ranks; i++)
        if (world->worker[i].started) pthread_join(world->worker[i].thread, NULL);
    if (world->group) para_group_leave(world->group);
    if (world->others) para_group_leave(world->others);
    para_world_give_back_processors(world);
    pthread_mutex_lock(&world->lock);
    world->left = true;
    bool last = world->away == 0;
    pthread_mutex_unlock(&world->lock);
    if (last) para_world_free(world);
}

/* ---- taking the world, and runs */

para_status para_world_works(const para_world *world) {
    if (!world->handed_over) return PARA_OK;
    return para_fail(PARA_ERR_STATE, "process %d has handed its ranks over to process 0 (gather): para_world_await waits for that one", para_world_process(world));
}

para_status para_world_take(para_world *world, const atomic_bool *cancel) {
    PARA_TRY(para_world_works(world));
    if (atomic_flag_test_and_set(&world->busy))
        return para_fail(PARA_ERR_BUSY, "the world is busy with another request; wait for it or open a second world");
    world->cancel = cancel;
    return PARA_OK;
}

void para_world_release(para_world *world) {
    world->cancel = NULL;
    atomic_flag_clear(&world->busy);
}

static para_status run(para_world *world, para_rank_body body, void *user, bool grow) {
    PARA_TRY(para_group_begin(world->group, world->cancel));
    pthread_mutex_lock(&world->lock);
    world->grow = grow;
    world->body = body;
    world->user = user;
    world->runs++;
    for (int i = 1; i < world->options.ranks; i++) world->worker[i].working = true;
    pthread_cond_broadcast(&world->start);
    pthread_mutex_unlock(&world->lock);
    para_group_finish(world->group, 0, run_body(&world->worker[0], grow, body, user));
    return para_group_end(world->group, &world->lost);
}

para_status para_world_run_internal(para_world *world, para_rank_body body, void *user) {
    return run(world, body, user, false);
}

para_status para_world_run(para_world *world, para_rank_body body, void *user) {
    if (!world || !body) return para_fail(PARA_ERR_ARGUMENT, "para_world_run: the world and the body must not be NULL");
    PARA_TRY(para_world_take(world, NULL));
    para_status status = run(world, body, user, true);
    para_world_release(world);
    return status;
}
