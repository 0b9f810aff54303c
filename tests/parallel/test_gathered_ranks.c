/* Processes of one host of which the first takes over the ranks of all: who has which, what the others can do, that they wait for it and notice its end. Started by
 * itself it starts three, and more of them for cases in which a process ends. SPDX-License-Identifier: Apache-2.0 */
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "backend/backend.h"
#include "core/clock.h"
#include "parallel/rank_checks.h"
#include "parallel/world_state.h"

enum { PROCESSES = 3, RANKS = 2 }; /* of each */

static para_world *world;

static void open_gathered(bool gather, int device_index) {
    para_world_options o = PARA_WORLD_OPTIONS_INIT;
    o.ranks = RANKS;
    o.threads = RANKS;
    o.mpi = true;
    o.gather = gather;
    o.device_index = device_index;
    o.timeout = 10;
    if (para_world_open(&world, &o) != PARA_OK) fail_msg("para_world_open: %s", para_last_error());
}

static para_status sum(para_rank *rank, void *user) {
    para_tensor x;
    PARA_TRY(para_rank_tensor(rank, &x, PARA_F32, 1, (int64_t[]){1}));
    *(float *)x.data = (float)(1 + rank->index);
    PARA_TRY(para_comm_all_reduce(para_world_comm(rank), x));
    if (rank->index == 0) *(float *)user = *(float *)x.data;
    return PARA_OK;
}

/* As many ranks as before, all in process 0; the others wait while it works. */
static void the_first_has_all(void **state) {
    (void)state;
    float got = 0;
    para_pipeline *pipe;
    open_gathered(true, 0);
    int ranks = para_world_size(world), process = para_world_process(world);
    assert_true(ranks > RANKS && ranks % RANKS == 0);
    assert_int_equal(para_world_handed_over(world), process > 0);
    if (process > 0) {
        double start = para_seconds();
        run_fails(world, sum, &got, PARA_ERR_STATE, "has handed its ranks over to process 0");
        assert_int_equal(para_bench_machine(world, NULL, "/tmp/none.json"), PARA_ERR_STATE);
        assert_string_equal(para_world_device_name(world), "CPU");
        assert_int_equal(para_pipeline_open(&pipe, world, PARA_SOURCE_DIR "/models/tiny-flux", NULL), PARA_ERR_STATE);
        assert_null(pipe);
        if (process == 1) { /* the others close without having waited */
            assert_int_equal(para_world_await(world), PARA_OK);
            assert_int_equal(para_world_await(world), PARA_OK);
            assert_true(para_seconds() - start > 0.5);
        }
    } else {
        assert_int_equal(para_world_processes(world), 1);
        assert_int_equal(world->threads, ranks);
        assert_int_equal(para_world_await(world), PARA_OK);
        run_ok(world, sum, &got);
        assert_true(got == (float)(ranks * (ranks + 1) / 2));
        usleep(700000);
    }
    para_world_close(&world);
}

/* The program is linked with --wrap for it. */
static bool device_fails;
para_status __real_para_device_open(para_device_kind kind, int index, int threads, para_device **out);
para_status __wrap_para_device_open(para_device_kind kind, int index, int threads, para_device **out);

para_status __wrap_para_device_open(para_device_kind kind, int index, int threads, para_device **out) {
    return device_fails ? para_fail(PARA_ERR_DEVICE, "this failure was asked for")
                        : __real_para_device_open(kind, index, threads, out);
}

static void the_first_cannot_open(void **state) {
    (void)state;
    para_world_options o = PARA_WORLD_OPTIONS_INIT;
    o.mpi = o.gather = true;
    o.timeout = 10;
    device_fails = true; /* the others open none */
    para_status status = para_world_open(&world, &o);
    if (status != PARA_OK) {
        assert_int_equal(status, PARA_ERR_DEVICE);
        assert_string_equal(para_last_error(), "this failure was asked for");
        return;
    }
    assert_true(para_world_handed_over(world));
    assert_int_equal(para_world_await(world), PARA_ERR_DEVICE);
    assert_non_null(
        strstr(para_last_error(), "process 0, which has taken over the ranks of this one, could not open its world"));
    para_world_close(&world);
}

/* Another that waits ends without a word: whoever waits hears of it, and process 0 goes on. */
static void another_is_lost(void **state) {
    (void)state;
    float got = 0;
    open_gathered(true, 0);
    if (para_world_process(world) == 2) _exit(0);
    if (para_world_process(world) == 1) {
        assert_int_equal(para_world_await(world), PARA_ERR_LOST);
        assert_non_null(strstr(para_last_error(), "process 2"));
        para_clear_error();
        assert_int_equal(para_world_await(world), PARA_ERR_LOST);
        assert_non_null(strstr(para_last_error(), "process 2"));
    } else {
        usleep(500000);
        run_ok(world, sum, &got);
        assert_true(got > 0);
    }
    para_world_close(&world);
}

static int usable(void) {
    cpu_set_t set;
    assert_int_equal(sched_getaffinity(0, sizeof set, &set), 0);
    return CPU_COUNT(&set);
}

/* Processes on a processor each, the first two on different ones where there are two: process 0 may use both until it closes. */
static void processors_are_lent(void **state) {
    (void)state;
    cpu_set_t set, own;
    const int all = usable(), wanted = atoi(getenv("RANK")) == 1 && all > 1;
    assert_int_equal(sched_getaffinity(0, sizeof set, &set), 0);
    int cpu = 0, before = 0;
    for (; !CPU_ISSET(cpu, &set) || before++ < wanted; cpu++) {
    }
    CPU_ZERO(&own);
    CPU_SET(cpu, &own);
    assert_int_equal(sched_setaffinity(0, sizeof own, &own), 0);
    open_gathered(true, 0);
    assert_int_equal(usable(), para_world_process(world) == 0 && all > 1 ? 2 : 1);
    para_world_close(&world);
    assert_int_equal(usable(), 1);
}

static void nothing_is_handed_over(bool gather, int device_index) {
    float got = 0;
    open_gathered(gather, device_index);
    assert_false(para_world_handed_over(world));
    assert_true(para_world_processes(world) > 1);
    run_ok(world, sum, &got);
    assert_int_equal(para_world_await(world), PARA_OK);
    para_world_close(&world);
}

/* Only where all want to. */
static void one_does_not_want_to(void **state) {
    (void)state;
    const char *number = getenv("RANK") ? getenv("RANK") : getenv("OMPI_COMM_WORLD_RANK");
    nothing_is_handed_over(atoi(number) != 1, 0);
}

static void a_device_was_chosen(void **state) {
    (void)state;
    nothing_is_handed_over(true, 1);
}

/* Process 0 ends without a word. */
static void the_first_is_lost(void **state) {
    (void)state;
    open_gathered(true, 0);
    if (para_world_process(world) == 0) _exit(0);
    assert_int_equal(para_world_await(world), PARA_ERR_LOST);
    assert_non_null(strstr(para_last_error(), "process 0"));
    para_world_close(&world);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(the_first_has_all),     cmocka_unit_test(one_does_not_want_to),
    cmocka_unit_test(a_device_was_chosen),   cmocka_unit_test(the_first_is_lost),
    cmocka_unit_test(the_first_cannot_open), cmocka_unit_test(another_is_lost),
    cmocka_unit_test(processors_are_lent)};

/* A case in processes of its own: a world over MPI is opened once in a process. */
static int start(const char *program, const char *number) {
    int status = 0;
    pid_t child = fork();
    if (child == 0) {
        execl(PARA_BINARY_DIR "/launch", "launch", "-n", "3", program, number, (char *)NULL);
        _exit(127);
    }
    if (child < 0 || waitpid(child, &status, 0) != child) return 1;
    return !WIFEXITED(status) || WEXITSTATUS(status) != 0;
}

int main(int argc, char **argv) {
    if (para_started_by_launcher() || para_started_by_mpi()) {
        const struct CMUnitTest one[] = {tests[argc > 1 ? atoi(argv[1]) : 0]};
        return cmocka_run_group_tests(one, NULL, NULL);
    }
    int failed = 0;
    for (int i = 0; i < (int)(sizeof tests / sizeof *tests); i++) {
        char number[16];
        snprintf(number, sizeof number, "%d", i);
        failed += start(argv[0], number);
    }
    printf("%d cases in %d processes of %d ranks, %d failed\n", (int)(sizeof tests / sizeof *tests), (int)PROCESSES,
           (int)RANKS, failed);
    return failed != 0;
}
