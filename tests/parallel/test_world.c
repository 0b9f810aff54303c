/* Worlds of thread ranks: how runs fail, stall, are cancelled, and go on after that. SPDX-License-Identifier: Apache-2.0 */
#include <math.h>
#include <pthread.h>
#include <stdio.h>

#include "comm/group_state.h"
#include "core/alloc.h"
#include "core/clock.h"
#include "parallel/world_state.h"
#include "random_calls.h"

static void still_works(para_world *world, uint32_t seed) {
    program p = {.seed = seed, .rounds = 3};
    run_ok(world, run_program, &p);
}

/* ---- errors */

typedef struct failing {
    int rank;        /* fails first */
    int later;       /* fails after it; -1: none */
    uint32_t seed;
    atomic_int seen; /* ranks that got the first one's error */
} failing;

static para_status until_failed(para_rank *rank, const failing *f) {
    PARA_TRY(para_comm_barrier(para_world_comm(rank))); /* all have begun */
    program p = {.seed = f->seed, .rounds = 2};
    PARA_TRY(run_program(rank, &p));
    if (rank->index == f->rank) return para_fail(PARA_ERR_NAN, "seed %u has failed", f->seed);
    for (;;) PARA_TRY(f->seed % 2 && f->later < 0 ? run_program(rank, &p) : para_rank_check(rank));
}

static para_status fail_one(para_rank *rank, void *user) {
    failing *f = user;
    para_status status = until_failed(rank, f);
    if (rank->index != f->rank && status == PARA_ERR_NAN && strstr(para_last_error(), "has failed")) atomic_fetch_add(&f->seen, 1);
    return rank->index == f->later ? para_fail(PARA_ERR_IO, "this comes second") : status;
}

static void random_rank_fails(void **state) {
    (void)state;
    for (int ranks = 1; ranks <= MOST_RANKS; ranks += ranks < 4 ? 1 : 4) {
        para_world *world = open_world(ranks, 60);
        for (uint32_t round = 0; round < (ranks == 4 ? 200 : 40); round++) {
            char sentence[64];
            int first = (int)(mix(round, 1, 2) % (uint32_t)ranks);
            failing f = {.rank = first, .seed = round, .later = ranks > 1 && round % 3 == 0 ? (first + 1) % ranks : -1};
            if (ranks > 1) snprintf(sentence, sizeof sentence, "rank %d: seed %u has failed", first, round);
            else snprintf(sentence, sizeof sentence, "seed %u has failed", round);
            double start = para_seconds();
            run_fails(world, fail_one, &f, PARA_ERR_NAN, sentence);
            assert_int_equal(strlen(para_last_error()), strlen(sentence));
            assert_true(para_seconds() - start < 20);
            assert_int_equal(f.seen, ranks - 1);
            if (round % 20 == 0) still_works(world, round);
        }
        para_world_close(&world);
    }
}

/* A body may fail without a sentence of its own. */
static para_status no_sentence(para_rank *rank, void *user) {
    (void)user;
    return rank->index == 1 ? PARA_ERR_DEVICE : para_comm_barrier(para_world_comm(rank));
}

static void status_alone(void **state) {
    (void)state;
    para_world *world = open_world(2, 60);
    run_fails(world, no_sentence, NULL, PARA_ERR_DEVICE, "rank 1: device failed or is absent");
    para_world_close(&world);
}

/* ---- cancel */

static atomic_bool cancelled;

static para_status until_cancelled(para_rank *rank, void *user) {
    int wait_ms = *(int *)user;
    PARA_TRY(para_device_reserve(rank->device, 4096));
    if (rank->index == rank->size - 1 && wait_ms) {
        usleep((useconds_t)wait_ms * 1000);
        atomic_store(&cancelled, true);
    }
    if (rank->index == 0) /* the others wait for this one */
        for (;;) PARA_TRY(para_rank_check(rank));
    return para_comm_barrier(para_world_comm(rank));
}

/* Rank 0 computes without a check until the others have left their waits. */
static para_status all_wait_until_cancelled(para_rank *rank, void *user) {
    atomic_int *waiting = user;
    PARA_TRY(para_device_reserve(rank->device, 4096));
    if (rank->index) {
        atomic_fetch_add(waiting, 1);
        para_status status = para_comm_barrier(para_world_comm(rank));
        atomic_fetch_sub(waiting, 1);
        return status;
    }
    while (atomic_load(waiting) < rank->size - 1) usleep(1000);
    atomic_store(&cancelled, true);
    for (double start = para_seconds(); atomic_load(waiting); usleep(1000))
        EXPECT(para_seconds() - start < 20, "%d ranks still wait", atomic_load(waiting));
    return para_rank_check(rank);
}

static void cancel(void **state) {
    (void)state;
    for (int ranks = 1; ranks <= 4; ranks++) {
        para_world *world = open_world(ranks, 60);
        for (int wait_ms = 0; wait_ms < 40; wait_ms += 10) {
            atomic_store(&cancelled, wait_ms == 0);
            assert_int_equal(para_world_take(world, &cancelled), PARA_OK);
            assert_int_equal(para_world_run_internal(world, until_cancelled, &wait_ms), PARA_ERR_CANCELLED);
            assert_string_equal(para_last_error(), "cancelled");
            para_world_release(world);
            still_works(world, 1);
        }
        atomic_store(&cancelled, false);
        assert_int_equal(para_world_take(world, &cancelled), PARA_OK);
        atomic_int waiting = 0;
        assert_int_equal(para_world_run_internal(world, all_wait_until_cancelled, &waiting), PARA_ERR_CANCELLED);
        para_world_release(world);
        para_world_close(&world);
    }
}

/* ---- ranks that stand still */

typedef struct standing {
    int rank;
    atomic_bool *hold; /* stands still until this is set */
    atomic_bool stands;
} standing;

static para_status stand(para_rank *rank, void *user) {
    standing *s = user;
    if (rank->index != s->rank) return para_comm_barrier(para_world_comm(rank));
    atomic_store(&s->stands, true);
    while (!atomic_load(s->hold)) usleep(1000);
    return PARA_OK;
}

/* Longer than it may, but back before it is given up. */
static void stall(void **state) {
    (void)state;
    para_world *world = open_world(3, 1);
    for (int rank = 0; rank < 3; rank += 2) {
        char sentence[64];
        standing s = {.rank = rank, .hold = &world->group->failed};
        double start = para_seconds();
        snprintf(sentence, sizeof sentence, "rank %d (process 0 on ", rank);
        run_fails(world, stand, &s, PARA_ERR_LOST, sentence);
        assert_non_null(strstr(para_last_error(), "no sign of life for 1 seconds"));
        assert_non_null(strstr(para_last_error(), "(--timeout)"));
        assert_true(para_seconds() - start >= 1 && para_seconds() - start < 20);
        still_works(world, 1);
    }
    para_world_close(&world);
}

/* Long work with signs of life is no stall, nor is waiting for it. */
static para_status work_long(para_rank *rank, void *user) {
    (void)user;
    for (int i = 0; rank->index == 1 && i < 30; i++) {
        usleep(50000); /* 1.5 s in all */
        PARA_TRY(para_rank_check(rank));
    }
    return para_comm_barrier(para_world_comm(rank));
}

static void long_work(void **state) {
    (void)state;
    para_world *world = open_world(3, 1);
    run_ok(world, work_long, NULL);
    para_world_close(&world);
}

/* Never back: the world is lost, and close does not wait. */
static void lost(void **state) {
    (void)state;
    static atomic_bool hold;
    static standing s = {.rank = 1, .hold = &hold};
    para_world *world = open_world(3, 2);
    double start = para_seconds();
    run_fails(world, stand, &s, PARA_ERR_LOST, "rank 1 (process 0 on ");
    assert_true(para_seconds() - start >= 3 && para_seconds() - start < 3.9); /* half as long again, not as long */
    assert_int_equal(para_world_run(world, stand, &s), PARA_ERR_STATE);
    assert_non_null(strstr(para_last_error(), "close it and open another"));
    para_world_close(&world); /* the rank stands still until after it */
    assert_null(world);
    atomic_store(&hold, true);
    usleep(100000); /* the rank comes back and frees what is left, which the leak checker sees */

    failing f = {.rank = 2, .seed = 3, .later = -1};
    atomic_store(&hold, false);
    world = open_world(3, 60);
    run_fails(world, fail_one, &f, PARA_ERR_NAN, "rank 2: seed 3 has failed");
    para_world_close(&world);
}

/* An error first, then a rank that does not come back: the sentence tells both. */
static para_status fail_and_stand(para_rank *rank, void *user) {
    const standing *s = user;
    while (rank->index == 0 && !atomic_load(&s->stands)) usleep(1000);
    if (rank->index == 0) return para_fail(PARA_ERR_NAN, "a bad number");
    return stand(rank, user);
}

static void lost_after_error(void **state) {
    (void)state;
    static atomic_bool hold;
    static standing s = {.rank = 2, .hold = &hold};
    para_world *world = open_world(3, 0.5);
    run_fails(world, fail_and_stand, &s, PARA_ERR_LOST, "rank 0: a bad number; then rank 2 (process 0 on ");
    assert_non_null(strstr(para_last_error(), "did not come back within 0.5 seconds"));
    atomic_store(&hold, true);
    usleep(100000);
    para_world_close(&world); /* it is back */
}

/* ---- one at a time */

static para_status nested(para_rank *rank, void *user) {
    para_status status = para_world_run(user, no_sentence, NULL);
    EXPECT(status == PARA_ERR_BUSY, "rank %d: a run in a run gave %s", rank->index, para_status_name(status));
    return PARA_OK;
}

static void busy(void **state) {
    (void)state;
    para_world *world = open_world(3, 60);
    run_ok(world, nested, world);
    assert_int_equal(para_world_run(world, NULL, NULL), PARA_ERR_ARGUMENT);
    assert_int_equal(para_world_run(NULL, nested, NULL), PARA_ERR_ARGUMENT);
    para_world_close(&world);
    para_world_close(&world);
    para_world_close(NULL);
}

/* ---- threads and numbers */

typedef struct seen {
    int threads[MOST_RANKS], serial[MOST_RANKS], after[MOST_RANKS];
} seen;

static para_status look(para_rank *rank, void *user) {
    seen *s = user;
    s->threads[para_rank_index(rank)] = rank->device->threads;
    para_rank_serial(rank, true);
    s->serial[para_rank_index(rank)] = rank->device->threads;
    para_rank_serial(rank, false);
    s->after[para_rank_index(rank)] = rank->device->threads;
    return PARA_OK;
}

static void threads(void **state) {
    (void)state;
    static const struct {
        int ranks, threads, share[4];
    } cases[] = {{1, 3, {3}}, {2, 4, {2, 2}}, {3, 5, {2, 2, 1}}, {4, 2, {1, 1, 1, 1}}, {4, 7, {2, 2, 2, 1}}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        para_world_options o = PARA_WORLD_OPTIONS_INIT;
        para_world *world;
        seen s;
        o.ranks = cases[i].ranks;
        o.threads = cases[i].threads;
        assert_int_equal(para_world_open(&world, &o), PARA_OK);
        assert_int_equal(para_world_size(world), o.ranks);
        assert_int_equal(para_world_process(world), 0);
        assert_int_equal(para_world_processes(world), 1);
        run_ok(world, look, &s);
        for (int r = 0; r < o.ranks; r++) {
            assert_int_equal(s.threads[r], cases[i].share[r]);
            assert_int_equal(s.serial[r], o.threads);
            assert_int_equal(s.after[r], cases[i].share[r]);
        }
        para_world_close(&world);
    }
}

static void bad_options(void **state) {
    (void)state;
    static const struct {
        int ranks, threads;
        double timeout;
        const char *sentence;
    } cases[] = {
        {0, 0, 1, "ranks (--ranks) is 0; give 1 to 256"},
        {257, 0, 1, "ranks (--ranks) is 257; give 1 to 256"},
        {1, -1, 1, "threads (--threads) is -1; give 0 (all) to 4096"},
        {1, 0, 0, "timeout (--timeout) is 0 seconds; give a number above 0"},
        {1, 0, -3, "timeout (--timeout) is -3 seconds; give a number above 0"},
        {1, 0, (double)NAN, "timeout (--timeout) is nan seconds; give a number above 0"},
        {1, 0, (double)INFINITY, "timeout (--timeout) is inf seconds; give a number above 0"},
    };
    para_world *world;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        para_world_options o = PARA_WORLD_OPTIONS_INIT;
        o.ranks = cases[i].ranks;
        o.threads = cases[i].threads;
        o.timeout = cases[i].timeout;
        assert_int_equal(para_world_open(&world, &o), PARA_ERR_ARGUMENT);
        assert_string_equal(para_last_error(), cases[i].sentence);
        assert_null(world);
    }
    para_world_options o = PARA_WORLD_OPTIONS_INIT;
    o.device = (para_device_kind)77;
    assert_int_equal(para_world_open(&world, &o), PARA_ERR_DEVICE);
    o.device = PARA_CUDA; /* refused before a GPU is looked for */
    o.ranks = 3;
    o.device_indices = (const int[]){0, 0};
    o.num_device_indices = 2;
    assert_int_equal(para_world_open(&world, &o), PARA_ERR_ARGUMENT);
    assert_non_null(strstr(para_last_error(), "2 GPUs are named (--device) for 3 ranks"));
    o.size = 8;
    assert_int_equal(para_world_open(&world, &o), PARA_ERR_ARGUMENT);
    assert_int_equal(para_world_open(NULL, NULL), PARA_ERR_ARGUMENT);
}

/* ---- memory */

typedef struct memory {
    int blocks[MOST_RANKS]; /* beyond the arena, at the end */
} memory;

static para_status take_much(para_rank *rank, void *user) {
    memory *m = user;
    para_tensor t[40];
    EXPECT(rank->device->arena.used == 0, "the arena is not empty at first");
    for (int i = 0; i < 40; i++) {
        int64_t dim[] = {1000 * i, 3, 5};
        PARA_TRY(para_rank_tensor(rank, &t[i], PARA_F32, 3, dim));
        EXPECT(t[i].rank == 3 && t[i].dim[0] == dim[0] && para_tensor_contiguous(&t[i]) && (uintptr_t)t[i].data % 64 == 0,
               "tensor %d is not as it was asked for", i);
        memset(t[i].data, i + 1, (size_t)(60000 * i));
    }
    for (int i = 1; i < 40; i++)
        EXPECT(*(char *)t[i].data == i + 1 && ((char *)t[i].data)[60000 * i - 1] == i + 1, "tensor %d was overwritten", i);
    size_t mark = para_arena_mark(&rank->device->arena);
    PARA_TRY(para_rank_tensor(rank, &t[0], PARA_U8, 1, (int64_t[]){5000000}));
    memset(t[0].data, 1, 5000000);
    para_arena_release(&rank->device->arena, mark);
    m->blocks[rank->index] = rank->device->arena.block != NULL;
    return PARA_OK;
}

static void arena_grows(void **state) {
    (void)state;
    para_world *world = open_world(3, 60);
    memory first, second;
    run_ok(world, take_much, &first);
    run_ok(world, take_much, &second);
    for (int i = 0; i < 3; i++) {
        assert_true(first.blocks[i]);
        assert_false(second.blocks[i]); /* it was made as large as it was needed */
    }
    para_world_close(&world);
}

static para_status bad_tensors(para_rank *rank, void *user) {
    (void)user;
    static const int64_t good[] = {2, 3}, negative[] = {2, -3}, huge[] = {INT64_MAX / 4, 3}, large[] = {1LL << 46, 1 << 10};
    para_tensor t;
    EXPECT(para_rank_tensor(rank, &t, PARA_F32, 2, negative) == PARA_ERR_ARGUMENT, "negative");
    EXPECT(para_rank_tensor(rank, &t, PARA_F32, 7, good) == PARA_ERR_ARGUMENT, "7 dimensions");
    EXPECT(para_rank_tensor(rank, &t, PARA_F32, -1, good) == PARA_ERR_ARGUMENT, "-1 dimensions");
    EXPECT(para_rank_tensor(rank, &t, PARA_DTYPE_NONE, 2, good) == PARA_ERR_ARGUMENT, "no type");
    EXPECT(para_rank_tensor(rank, &t, PARA_F32, 2, huge) == PARA_ERR_ARGUMENT, "more bytes than can be counted");
    EXPECT(para_rank_tensor(rank, &t, PARA_U8, 2, large) == PARA_ERR_MEMORY, "more bytes than there are");
    return PARA_OK;
}

static void tensors(void **state) {
    (void)state;
    para_world *world = open_world(2, 60);
    run_ok(world, bad_tensors, NULL);
    para_world_close(&world);
}

/* Each allocation fails once: open or run return PARA_ERR_MEMORY, nothing hangs, nothing leaks, and the world goes on. */
static void alloc_failure(void **state) {
    (void)state;
    para_world_options o = PARA_WORLD_OPTIONS_INIT;
    o.ranks = 3;
    o.threads = 3;
    for (long n = 1;; n++) {
        para_world *world;
        para_alloc_fail_after(n);
        para_status status = para_world_open(&world, &o);
        para_alloc_fail_after(0);
        if (status == PARA_OK) para_world_close(&world);
        if (status == PARA_OK) break;
        assert_int_equal(status, PARA_ERR_MEMORY);
        assert_null(world);
    }
    para_world *world = open_world(3, 60);
    for (long n = 1; n < 60; n++) {
        program p = {.seed = 7, .rounds = 4};
        para_alloc_fail_after(n);
        para_status status = para_world_run(world, run_program, &p);
        para_alloc_fail_after(0);
        if (status != PARA_OK) assert_int_equal(status, PARA_ERR_MEMORY);
        if (n < 10) assert_int_equal(status, PARA_ERR_MEMORY);
    }
    still_works(world, 1);
    para_world_close(&world);
}

/* ---- hosts */

static para_process process_on(const char *name, uint64_t boot, uint64_t network, int ranks) {
    para_process p = {.ranks = ranks, .host = {.boot = boot, .network = network}};
    snprintf(p.host.name, sizeof p.host.name, "%s", name);
    return p;
}

/* A launcher dealt processes out to the hosts in turn: ranks are numbered host by host. */
static void numbers_by_host(void **state) {
    (void)state;
    para_process p[] = {process_on("a", 1, 1, 2), process_on("b", 1, 1, 3), process_on("a", 2, 1, 1), process_on("a", 1, 1, 4),
                        process_on("a", 1, 7, 5), process_on("b", 1, 1, 1)};
    static const int host[] = {0, 1, 2, 0, 3, 1}, first[] = {0, 6, 10, 2, 11, 9};
    int hosts;
    assert_int_equal(para_number_ranks(p, 6, &hosts), 16);
    assert_int_equal(hosts, 4);
    for (int i = 0; i < 6; i++) {
        assert_int_equal(p[i].host_number, host[i]);
        assert_int_equal(p[i].first, first[i]);
    }
    para_host_identity here, again;
    para_host_identify(&here);
    para_host_identify(&again);
    assert_true(para_host_same(&here, &again) && here.boot && here.network && *here.name);
}

static void named_hosts(void **state) {
    (void)state;
    para_world *w;
    para_world_options o = PARA_WORLD_OPTIONS_INIT;
    o.ranks = 5;
    assert_int_equal(para_world_open(&w, &o), PARA_OK);
    assert_int_equal(para_world_hosts(w), 1);
    assert_int_equal(para_world_host_of(w, 4), 0);
    para_world_close(&w);
    o.num_hosts = 2; /* 3 and 2 */
    assert_int_equal(para_world_open(&w, &o), PARA_OK);
    assert_int_equal(para_world_hosts(w), 2);
    assert_int_equal(para_world_host_of(w, 2), 0);
    assert_int_equal(para_world_host_of(w, 3), 1);
    assert_int_equal(para_world_host_of(w, 5), -1);
    assert_int_equal(para_world_host_of(w, -1), -1);
    para_world_close(&w);
    o.host_ranks = (int[]){1, 4};
    assert_int_equal(para_world_open(&w, &o), PARA_OK);
    assert_int_equal(para_world_host_of(w, 1), 1);
    para_world_close(&w);
    static const struct {
        int hosts, ranks[3];
        const char *says;
    } bad[] = {{-1, {0}, "num_hosts (--hosts) is -1"},
               {6, {0}, "6 hosts (--hosts) for 5 ranks"},
               {2, {4, 2}, "have 6 ranks, but there are 5"},
               {2, {3, 1}, "have 4 ranks, but there are 5"},
               {2, {5, 0}, "host_ranks[1] (--hosts) is 0"}};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        o.num_hosts = bad[i].hosts;
        o.host_ranks = bad[i].ranks[0] ? bad[i].ranks : NULL;
        assert_int_equal(para_world_open(&w, &o), PARA_ERR_ARGUMENT);
        assert_non_null(strstr(para_last_error(), bad[i].says));
        assert_null(w);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(random_rank_fails), cmocka_unit_test(status_alone), cmocka_unit_test(cancel),
        cmocka_unit_test(stall),             cmocka_unit_test(long_work),    cmocka_unit_test(lost),
        cmocka_unit_test(lost_after_error),  cmocka_unit_test(busy),         cmocka_unit_test(threads),
        cmocka_unit_test(bad_options),       cmocka_unit_test(arena_grows),  cmocka_unit_test(tensors),
        cmocka_unit_test(alloc_failure),     cmocka_unit_test(numbers_by_host), cmocka_unit_test(named_hosts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
