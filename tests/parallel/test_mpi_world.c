/* One world over the processes that mpirun starts, one or two ranks in each. Every case is collective. SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <stdlib.h>

#include "comm/group_state.h"
#include "core/alloc.h"
#include "core/clock.h"
#include "parallel/world_state.h"
#include "random_calls.h"

enum { TIMEOUT = 4 }; /* seconds, which a loaded machine needs to start a program */

static para_world *world;
static int me, all;

/* ---- what arrives */

static void random_programs(void **state) {
    (void)state;
    for (uint32_t seed = 1; seed <= 6; seed++) {
        program p = {.seed = seed * 1000, .rounds = 30, .delays = seed % 2};
        run_ok(world, run_program, &p);
        for (int i = 0; i < world->options.ranks; i++)
            dry_run_counts(&p, world->worker[i].rank.index, para_world_size(world));
    }
}

/* 8 MB at once between all: MPI does not keep them, both sides must be there. */
static para_status large(para_rank *rank, void *user) {
    (void)user;
    para_comm c = para_world_comm(rank);
    para_tensor send[MOST_RANKS], receive[MOST_RANKS];
    para_exchange x[2];
    int64_t dim[] = {1000, 2000};
    for (int i = 0; i < c.size; i++) {
        PARA_TRY(para_rank_tensor(rank, &send[i], PARA_F32, 2, dim));
        PARA_TRY(para_rank_tensor(rank, &receive[i], PARA_F32, 2, dim));
        for (int64_t j = 0; j < 2000000; j++) ((float *)send[i].data)[j] = (float)(c.index * 1000 + i * 100 + j % 97);
        send[i] = PARA_PERMUTE(send[i], 1, 0);
        receive[i] = PARA_PERMUTE(receive[i], 1, 0);
    }
    PARA_TRY(para_comm_all_to_all(c, send, receive, &x[0]));
    PARA_TRY(para_comm_shift(c, 1, &send[0], &receive[c.index], &x[1])); /* the own part is there already */
    PARA_TRY(para_comm_wait(&x[c.index % 2]));
    PARA_TRY(para_comm_wait(&x[1 - c.index % 2]));
    for (int i = 0; i < c.size; i++)
        for (int64_t j = 0; j < 2000000; j++) {
            int from = i == c.index ? (c.index + c.size - 1) % c.size : i, to = i == c.index ? 0 : c.index;
            EXPECT(((float *)receive[i].data)[j] == (float)(from * 1000 + to * 100 + j % 97), "element %lld from %d is wrong",
                   (long long)j, i);
        }
    return PARA_OK;
}

static void large_tensors(void **state) {
    (void)state;
    run_ok(world, large, NULL);
}

/* ---- failures */

typedef struct failing {
    int rank, round;
} failing;

static para_status fail_somewhere(para_rank *rank, void *user) {
    const failing *f = user;
    program p = {.seed = (uint32_t)f->round, .rounds = 3, .delays = true};
    PARA_TRY(run_program(rank, &p));
    if (rank->index == f->rank) return para_fail(PARA_ERR_NAN, "round %d has failed", f->round);
    for (;;) PARA_TRY(run_program(rank, &p));
}

static void failures(void **state) {
    (void)state;
    for (int round = 0; round < 40; round++) {
        failing f = {.rank = (int)(mix((uint32_t)round, 1, 1) % (uint32_t)para_world_size(world)), .round = round};
        char sentence[64];
        double start = para_seconds();
        snprintf(sentence, sizeof sentence, "rank %d: round %d has failed", f.rank, round);
        run_fails(world, fail_somewhere, &f, PARA_ERR_NAN, sentence);
        assert_true(para_seconds() - start < 10);
        program p = {.seed = (uint32_t)round + 500, .rounds = 2};
        if (round % 4 == 0) run_ok(world, run_program, &p);
    }
}

/* All at once, each with its own sentence: every process tells the same. */
static para_status fail_everywhere(para_rank *rank, void *user) {
    (void)user;
    return para_fail(PARA_ERR_NAN, "it is %d", rank->index);
}

static void one_sentence(void **state) {
    (void)state;
    for (int round = 0; round < 20; round++) {
        run_fails(world, fail_everywhere, NULL, PARA_ERR_NAN, "rank ");
        assert_int_equal(para_world_same(world, para_last_error(), strlen(para_last_error()), "sentence"), PARA_OK);
    }
}

static atomic_bool cancelled;

static para_status cancel_later(para_rank *rank, void *user) {
    (void)user;
    usleep(20000);
    if (rank->index == rank->size - 1) atomic_store(&cancelled, true);
    for (;;) PARA_TRY(para_rank_check(rank));
}

static void cancel(void **state) {
    (void)state;
    for (int round = 0; round < 5; round++) {
        double start = para_seconds();
        assert_int_equal(para_world_take(world, &cancelled), PARA_OK);
        assert_int_equal(para_world_run_internal(world, cancel_later, NULL), PARA_ERR_CANCELLED);
        assert_string_equal(para_last_error(), "cancelled");
        atomic_store(&cancelled, false);
        para_world_release(world);
        assert_true(para_seconds() - start < 10);
    }
}

/* ---- what all must know */

static void broadcast(void **state) {
    (void)state;
    for (size_t size = 0; size < 3000000; size = size * 9 + 1) {
        char *bytes = NULL;
        size_t got = size;
        if (me == 0) assert_non_null(bytes = para_alloc(size, 1));
        for (size_t i = 0; bytes && i < size; i++) bytes[i] = (char)(i * 7 % 251);
        if (me) got = 99;
        assert_int_equal(para_world_broadcast(world, (void **)&bytes, &got), PARA_OK);
        assert_true(got == size && bytes);
        for (size_t i = 0; i < size; i++) assert_int_equal(bytes[i], (char)(i * 7 % 251));
        para_free(bytes);
    }
}

static void same(void **state) {
    (void)state;
    const char *text = me == all - 1 ? "the sea" : "the sky";
    char sentence[128];
    assert_int_equal(para_world_same(world, "the sky", 7, "prompt"), PARA_OK);
    assert_int_equal(para_world_same(world, text, 7, "prompt"), PARA_ERR_ARGUMENT);
    snprintf(sentence, sizeof sentence, "process %d was started with another prompt than process 0; start all with the same", all - 1);
    assert_string_equal(para_last_error(), sentence);
    assert_int_equal(para_world_same(world, text, (size_t)(me == all - 1 ? 6 : 7), "prompt"), PARA_ERR_ARGUMENT);
}

/* ---- what takes until the timeout */

/* One does not send what the others wait for. */
static para_status nobody_sends(para_rank *rank, void *user) {
    (void)user;
    para_tensor x, none = {0};
    para_exchange exchange;
    PARA_TRY(para_rank_tensor(rank, &x, PARA_F32, 1, (int64_t[]){4}));
    if (rank->index) return PARA_OK;
    PARA_TRY(para_comm_send_receive(para_world_comm(rank), -1, none, rank->size - 1, x, &exchange));
    return para_comm_wait(&exchange);
}

static void all_wait(void **state) {
    (void)state;
    run_fails(world, nobody_sends, NULL, PARA_ERR_STATE, "all ranks wait for each other since 4 seconds");
    program p = {.seed = 1, .rounds = 2};
    run_ok(world, run_program, &p);
}

/* The last rank stands still for longer than it may, but comes back before it is given up. */
static para_status stand_still(para_rank *rank, void *user) {
    (void)user;
    while (rank->index == rank->size - 1 && !atomic_load(&world->group->failed)) usleep(1000);
    return para_comm_barrier(para_world_comm(rank));
}

static void stall(void **state) {
    (void)state;
    double start = para_seconds();
    char sentence[64];
    snprintf(sentence, sizeof sentence, "rank %d (process %d on ", para_world_size(world) - 1, all - 1);
    run_fails(world, stand_still, NULL, PARA_ERR_LOST, sentence);
    assert_true(para_seconds() - start < 10 * TIMEOUT);
    program p = {.seed = 1, .rounds = 2};
    run_ok(world, run_program, &p);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(random_programs), cmocka_unit_test(large_tensors), cmocka_unit_test(failures),
        cmocka_unit_test(one_sentence),    cmocka_unit_test(cancel),        cmocka_unit_test(broadcast),
        cmocka_unit_test(same),            cmocka_unit_test(all_wait),      cmocka_unit_test(stall),
    };
    para_world_options o = PARA_WORLD_OPTIONS_INIT;
    const char *place = getenv("OMPI_COMM_WORLD_RANK") ? getenv("OMPI_COMM_WORLD_RANK") : getenv("RANK");
    o.mpi = true;
    o.timeout = TIMEOUT;
    o.ranks = 1 + (place && atoi(place) % 2); /* 1, 2, 1, 2, … */
    o.threads = o.ranks;
    if (para_world_open(&world, &o) != PARA_OK) {
        fprintf(stderr, "para_world_open: %s\n", para_last_error());
        return 1;
    }
    me = para_world_process(world);
    all = para_world_processes(world);
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    para_world_close(&world);
    return failed;
}
