/* The library's side of exchanges between GPUs of several processes, without GPUs: the CPU stands for a device that waits by itself, and files for NCCL. How the
 * processes join, what is packed, in which order it moves, and that failures end and leave the world working. Every case is collective.
 * SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>

#include "comm/group_state.h"
#include "core/clock.h"
#include "parallel/lane_rounds.h"
#include "parallel/world_state.h"

enum { TIMEOUT = 3, MOST = 16 };

static para_world *world;
static int me, copies, joins;

/* ---- what stands for the device: all is done when it returns */

struct para_mark {
    int nothing;
};

static para_status fake_mark(para_device *dev, para_mark **out) {
    (void)dev;
    *out = para_alloc(1, sizeof **out);
    return *out ? PARA_OK : PARA_ERR_MEMORY;
}

static para_status fake_after(para_device *dev, const para_mark *mark) {
    (void)dev;
    assert_non_null(mark);
    return PARA_OK;
}

static void fake_mark_close(para_device *dev, para_mark **mark) {
    (void)dev;
    para_free(*mark);
    *mark = NULL;
}

static para_status fake_lane(para_device *dev, const para_mark *after, void **stream) {
    *stream = dev;
    return after ? PARA_OK : PARA_ERR_STATE;
}

static para_status (*real_copy)(para_device *dev, para_tensor dst, para_tensor src);

static para_status counted_copy(para_device *dev, para_tensor dst, para_tensor src) {
    __atomic_add_fetch(&copies, 1, __ATOMIC_RELAXED);
    return real_copy(dev, dst, src);
}

/* ---- what stands for NCCL: the n-th piece from one rank to another is a file of that name */

struct para_nccl_comm {
    char folder[64];
    int rank, waiting;
    para_nccl_piece piece[MOST]; /* [waiting] */
    int sent[MOST], received[MOST];
};

static void path_of(const para_nccl_comm *c, int from, int to, int number, char path[128]) {
    snprintf(path, 128, "%s/%d-%d-%d", c->folder, from, to, number);
}

static int fake_new_id(unsigned char id[PARA_NCCL_ID]) {
    unsigned number;
    if (getrandom(&number, sizeof number, 0) != sizeof number) return 1;
    snprintf((char *)id, PARA_NCCL_ID, "/tmp/para-lane-%08x", number);
    return 0;
}

static int fake_open(const para_nccl_host *host, const unsigned char *id, int all, int first, int local, const int *gpu, para_nccl_comm **out) {
    (void)host;
    if (all > MOST || gpu[0] != 7) return 1;
    mkdir((const char *)id, 0700);
    for (int i = 0; i < local; i++) {
        out[i] = calloc(1, sizeof *out[i]);
        snprintf(out[i]->folder, sizeof out[i]->folder, "%s", (const char *)id);
        out[i]->rank = first + i;
    }
    joins++;
    return 0;
}

static int fake_exchange(para_nccl_comm *c, void *stream, int sends, const para_nccl_piece *send, int receives, const para_nccl_piece *receive) {
    if (!stream || c->waiting) return 2;
    for (int i = 0; i < sends; i++) {
        char path[128], hidden[136];
        path_of(c, c->rank, send[i].rank, c->sent[send[i].rank]++, path);
        snprintf(hidden, sizeof hidden, "%s.part", path);
        FILE *f = fopen(hidden, "wb");
        if (!f) return 3;
        size_t n = fwrite(send[i].data, 1, send[i].bytes, f);
        if (fclose(f) != 0 || n != send[i].bytes || rename(hidden, path) != 0) return 4;
    }
    for (int i = 0; i < receives; i++) c->piece[c->waiting++] = receive[i];
    return 0;
}

static int fake_ready(para_nccl_comm *c, bool *done) {
    while (c->waiting) {
        para_nccl_piece *p = &c->piece[c->waiting - 1];
        char path[128];
        path_of(c, p->rank, c->rank, c->received[p->rank], path);
        FILE *f = fopen(path, "rb");
        *done = false;
        if (!f) return 0;
        size_t n = fread(p->data, 1, p->bytes, f);
        bool more = fgetc(f) != EOF;
        fclose(f);
        remove(path);
        if (n != p->bytes || more) return 5;
        c->received[p->rank]++;
        c->waiting--;
    }
    *done = true;
    return 0;
}

static void fake_end(para_nccl_comm *c) {
    char command[128];
    snprintf(command, sizeof command, "rm -rf %s", c->folder);
    free(c);
    if (me == 0 && system(command) != 0) fprintf(stderr, "%s: %s\n", command, strerror(errno));
}

static void fake_error_text(int result, char text[PARA_NCCL_TEXT_MAX]) {
    snprintf(text, PARA_NCCL_TEXT_MAX, "it is number %d", result);
}

static const para_nccl_module fake = {.abi = PARA_NCCL_ABI, .size = sizeof fake, .error_text = fake_error_text, .new_id = fake_new_id, .open = fake_open,
                                      .ready = fake_ready, .exchange = fake_exchange, .end = fake_end};
static bool absent;

para_status __wrap_para_nccl_load(const para_nccl_module **out);
para_status __wrap_para_nccl_load(const para_nccl_module **out) {
    *out = &fake;
    return absent ? para_fail(PARA_ERR_LIBRARY, "there is no such module") : PARA_OK;
}

/* ---- cases */

/* One process has no module: all learn it. */
static void not_everywhere(void **state) {
    (void)state;
    absent = me == 1;
    para_status status = para_group_join_gpus(world->group, (int[]){7, 8});
    assert_int_equal(status, PARA_ERR_LIBRARY);
    assert_non_null(strstr(para_last_error(), me == 1 ? "no such module" : "process 1 cannot"));
    absent = false;
    para_free(world->group->gpu);
    world->group->gpu = NULL;
}

static void joined(void **state) {
    (void)state;
    static para_ops ops;
    para_status status = para_group_join_gpus(world->group, (int[]){7, 8});
    if (status != PARA_OK) fail_msg("process %d: %s", me, para_last_error());
    ops = *world->worker[0].rank.device->ops;
    real_copy = ops.copy;
    ops.copy = counted_copy;
    ops.mark = ops.lane_mark = fake_mark;
    ops.after = fake_after;
    ops.mark_close = fake_mark_close;
    ops.lane = fake_lane;
    for (int i = 0; i < world->options.ranks; i++) world->worker[i].rank.device->ops = &ops;
}

static void what_arrives(void **state) {
    (void)state;
    run_ok(world, rounds, &(int){30});
    assert_true(copies > 30);
    run_ok(world, rounds, &(int){3});
}

static para_status all_meet(para_rank *rank, void *user) {
    (void)user;
    for (int i = 0; i < 20; i++) PARA_TRY(para_comm_barrier(para_world_comm(rank)));
    return PARA_OK;
}

static void barriers(void **state) {
    (void)state;
    run_ok(world, all_meet, NULL);
}

static para_status one_is_late(para_rank *rank, void *user) {
    if (rank->index == *(const int *)user % rank->size) usleep(700);
    return PARA_OK;
}

/* Who ends a run last makes the next call before the others have read that it has ended. */
static void calls_in_a_row(void **state) {
    (void)state;
    int before = joins;
    for (int i = 0; i < 300; i++) {
        run_ok(world, one_is_late, &i);
        if (para_world_same(world, &i, sizeof i, "number") != PARA_OK) fail_msg("process %d, call %d: %s", me, i, para_last_error());
    }
    assert_int_equal(joins, before);
}

static void a_failure(void **state) {
    (void)state;
    for (int round = 0; round < 4; round++) {
        int before = joins;
        double start = para_seconds();
        run_fails(world, fail_while_waited_for, NULL, PARA_ERR_NAN, "rank 1: this rank does not send");
        assert_true(para_seconds() - start < TIMEOUT);
        assert_int_equal(joins, before);
        run_ok(world, rounds, &(int){2});
        assert_int_equal(joins, before + 1);
    }
}

static void an_expired_wait(void **state) {
    (void)state;
    double start = para_seconds();
    run_fails(world, never_send, NULL, PARA_ERR_LOST, "did not answer within 3 seconds");
    assert_true(para_seconds() - start < 3 * TIMEOUT);
    run_ok(world, rounds, &(int){2});
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(not_everywhere), cmocka_unit_test(joined),    cmocka_unit_test(what_arrives),
        cmocka_unit_test(barriers),       cmocka_unit_test(calls_in_a_row), cmocka_unit_test(a_failure), cmocka_unit_test(an_expired_wait),
    };
    para_world_options o = PARA_WORLD_OPTIONS_INIT;
    const char *place = getenv("RANK");
    o.mpi = true;
    o.timeout = TIMEOUT;
    o.ranks = o.threads = 1 + (place && atoi(place) % 2);
    if (para_world_open(&world, &o) != PARA_OK) {
        fprintf(stderr, "para_world_open: %s\n", para_last_error());
        return 1;
    }
    me = para_world_process(world);
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    para_world_close(&world);
    return failed;
}
