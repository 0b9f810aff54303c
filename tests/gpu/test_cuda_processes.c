/* Two processes with a GPU each: what arrives, that it is the picture of one rank, and that failures end and leave the world working. Started by itself it
 * starts both, where there are two GPUs. Every case is collective. SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "comm/rank.h"
#include "core/alloc.h"
#include "core/clock.h"
#include "parallel/rank_checks.h"

enum { TIMEOUT = 5, PIECES = 3 };

static para_world *world;
static int me;

/* ---- what arrives */

static uint32_t mixed(uint32_t a, uint32_t b) {
    uint32_t h = a * 0x9e3779b1u ^ (b + 0x7f4a7c15u) * 0x85ebca6bu;
    return h ^ h >> 15;
}

static float value_of(int round, int piece, int from, int64_t i) {
    return (float)(mixed((uint32_t)(round * 64 + piece * 8 + from), (uint32_t)i) % 100000);
}

/* [rows, columns], where `turned` a view of [columns, rows]: what is not contiguous is packed. */
static para_status new_piece(para_rank *rank, int64_t rows, int64_t columns, bool turned, para_tensor *room, para_tensor *view) {
    PARA_TRY(para_rank_tensor(rank, room, PARA_F32, 2, turned ? (int64_t[]){columns, rows} : (int64_t[]){rows, columns}));
    *view = turned ? PARA_PERMUTE(*room, 1, 0) : *room;
    return PARA_OK;
}

static int64_t place_of(int64_t i, int64_t rows, int64_t columns, bool turned) {
    return turned ? i % columns * rows + i / columns : i;
}

/* Several exchanges under way, each right after what fills it and before what overwrites it, without a wait of the host in between. */
static para_status round_trip(para_rank *rank, int round) {
    para_device *dev = rank->device;
    para_comm c = para_world_comm(rank);
    para_exchange x[PIECES];
    para_tensor out[PIECES], in[PIECES], in_room[PIECES];
    int64_t rows[PIECES], columns[PIECES];
    float *host = NULL;
    para_status status = PARA_OK;
    size_t most = 0;
    for (int p = 0; p < PIECES; p++) {
        rows[p] = 1 + mixed((uint32_t)round, (uint32_t)p) % 700;
        columns[p] = 1 + mixed((uint32_t)round + 99, (uint32_t)p) % 900;
        if ((size_t)(rows[p] * columns[p]) > most) most = (size_t)(rows[p] * columns[p]);
    }
    if (!(host = para_alloc(most, sizeof *host))) return PARA_ERR_MEMORY;
    for (int p = 0; p < PIECES && status == PARA_OK; p++) {
        bool out_turned = mixed((uint32_t)round, 50 + (uint32_t)p) & 1, in_turned = mixed((uint32_t)round, 60 + (uint32_t)p) & 1;
        para_tensor out_room;
        status = new_piece(rank, rows[p], columns[p], out_turned, &out_room, &out[p]);
        if (status == PARA_OK) status = new_piece(rank, rows[p], columns[p], in_turned, &in_room[p], &in[p]);
        for (int64_t i = 0; i < rows[p] * columns[p]; i++) host[place_of(i, rows[p], columns[p], out_turned)] = value_of(round, p, c.index, i);
        if (status == PARA_OK) status = dev->ops->upload(dev, out_room, host);
        if (status == PARA_OK) status = para_comm_shift(c, 1, &out[p], &in[p], &x[p]);
    }
    for (int p = 0; p < PIECES && status == PARA_OK; p++) { /* in another order than they were started */
        int k = (p + round) % PIECES;
        status = para_comm_wait(&x[k]);
        if (status == PARA_OK) status = dev->ops->copy(dev, out[k], in[k]); /* what was sent is free now */
    }
    for (int p = 0; p < PIECES && status == PARA_OK; p++) {
        bool in_turned = mixed((uint32_t)round, 60 + (uint32_t)p) & 1;
        status = dev->ops->download(dev, host, &in_room[p]);
        for (int64_t i = 0; i < rows[p] * columns[p] && status == PARA_OK; i++)
            if (host[place_of(i, rows[p], columns[p], in_turned)] != value_of(round, p, (c.index + c.size - 1) % c.size, i))
                status = para_fail(PARA_ERR_FORMAT, "round %d: element %lld of piece %d is wrong", round, (long long)i, p);
    }
    para_free(host);
    return status;
}

static para_status rounds(para_rank *rank, void *user) {
    for (int round = 0; round < *(int *)user; round++) {
        size_t mark = para_arena_mark(&rank->device->arena);
        PARA_TRY(round_trip(rank, round));
        para_arena_release(&rank->device->arena, mark);
    }
    return PARA_OK;
}

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

static para_status receive_something(para_rank *rank) {
    para_tensor x, none = {0};
    para_exchange e;
    float first;
    PARA_TRY(para_rank_tensor(rank, &x, PARA_F32, 1, (int64_t[]){1 << 22}));
    PARA_TRY(para_comm_send_receive(para_world_comm(rank), -1, none, 1, x, &e));
    PARA_TRY(para_comm_wait(&e));
    x.dim[0] = 1;
    return rank->device->ops->download(rank->device, &first, &x); /* the host stands here */
}

static para_status fail_while_waited_for(para_rank *rank, void *user) {
    (void)user;
    if (rank->index == 0) return receive_something(rank);
    usleep(300000);
    return para_fail(PARA_ERR_NAN, "this rank does not send");
}

static void a_failure(void **state) {
    (void)state;
    for (int round = 0; round < 3; round++) {
        double start = para_seconds();
        run_fails(world, fail_while_waited_for, NULL, PARA_ERR_NAN, "rank 1: this rank does not send");
        assert_true(para_seconds() - start < 10);
        run_ok(world, rounds, &(int){3});
    }
}

/* The other lives, but never sends: the wait expires. */
static para_status never_send(para_rank *rank, void *user) {
    (void)user;
    if (rank->index == 0) return receive_something(rank);
    for (;;) {
        PARA_TRY(para_rank_check(rank));
        usleep(1000);
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
