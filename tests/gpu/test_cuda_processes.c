/* Two processes with a GPU each: what arrives, that it is the picture of one rank, and that failures end and leave the world working. Started by itself it
 * starts both, where there are two GPUs. Every case is collective. SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "core/clock.h"
#include "parallel/lane_rounds.h"

enum { TIMEOUT = 15 }; /* opening NCCL is within it, on a machine that is busy */

static para_world *world;
static int me;

/* ---- what arrives */

static void what_arrives(void **state) {
    (void)state;
    run_ok(world, rounds, &(int){200});
}

/* ---- a picture */

static void same_picture(void **state) {
    (void)state;
    for (int ring = 1; ring <= 2; ring++) {
        para_pipeline *pipe;
        para_parallel_options p = PARA_PARALLEL_OPTIONS_INIT;
        para_request r = PARA_REQUEST_INIT;
        para_verify_report report = {0};
        r.prompt = "a red heart on a blue background";
        r.num_inference_steps = 4;
        p.ring = ring;
        para_status status = para_pipeline_open(&pipe, world, PARA_SOURCE_DIR "/models/tiny-flux", NULL);
        if (status == PARA_OK) status = para_parallelize(pipe, &p);
        if (status == PARA_OK) status = para_verify(pipe, &r, NULL, &report);
        if (status != PARA_OK) fail_msg("process %d: %s", me, para_last_error());
        if (me == 0) {
            print_message("ring %d: %d stages, the worst, %s, at %.2f of its bound; %lld bytes exchanged\n", ring, report.stages, report.worst,
                          report.worst_ratio, (long long)report.exchanged_bytes);
            assert_int_equal(report.ranks, 2);
            assert_true(report.stages > 10 && report.beyond == 0 && report.exchanged_bytes > 0);
        }
        para_pipeline_close(&pipe);
    }
}

/* ---- failures */

static void a_failure(void **state) {
    (void)state;
    for (int round = 0; round < 3; round++) {
        double start = para_seconds();
        run_fails(world, fail_while_waited_for, NULL, PARA_ERR_NAN, "rank 1: this rank does not send");
        assert_true(para_seconds() - start < 10);
        run_ok(world, rounds, &(int){3});
    }
}

static void an_expired_wait(void **state) {
    (void)state;
    double start = para_seconds();
    para_status status = para_world_run(world, never_send, NULL);
    if (status != PARA_ERR_LOST) fail_msg("%s: %s", para_status_name(status), para_last_error());
    assert_true(para_seconds() - start < 4 * TIMEOUT);
    run_ok(world, rounds, &(int){3});
}

int main(int argc, char **argv) {
    (void)argc;
    if (!para_started_by_launcher() && !para_started_by_mpi()) {
        if (para_cuda_count() < 2) {
            printf("skipped: two processes with a GPU each need two GPUs\n");
            return 77;
        }
        execl(PARA_BINARY_DIR "/launch", "launch", "-n", "2", argv[0], (char *)NULL);
        perror(PARA_BINARY_DIR "/launch");
        return 1;
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_arrives),
        cmocka_unit_test(same_picture),
        cmocka_unit_test(a_failure),
        cmocka_unit_test(an_expired_wait),
    };
    para_world_options o = PARA_WORLD_OPTIONS_INIT;
    o.device = PARA_CUDA;
    o.mpi = true;
    o.timeout = TIMEOUT;
    para_status status = para_world_open(&world, &o);
    if (status != PARA_OK) {
        fprintf(stderr, "para_world_open: %s\n", para_last_error());
        return 1;
    }
    me = para_world_process(world);
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    para_world_close(&world);
    return failed != 0;
}
