/* A great many exchanges, by copies and by stores at the others, many under way, with random delays of ranks and of their devices: every element that arrives says in
 * which exchange, by whom, for whom and where it was sent. PARA_TEST_DEVICE puts the ranks on GPUs; `launch -n 2` in processes; PARA_FULL=1: a million exchanges.
 * SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <stdlib.h>

#include "comm/landing.h"
#include "parallel/lane_rounds.h"

enum { SLOTS = 32, MOST_RANKS = 8, MOST_ELEMENTS = 300, WORDS = 3, FEW = 16000, MANY = 1000000 };

/* What a rank has for a batch of exchanges. */
typedef struct room {
    para_tensor out, in; /* I32 [SLOTS, ranks, MOST_ELEMENTS * WORDS] */
    para_tensor idle[2]; /* copied to keep the device busy */
    int32_t *host;       /* as out */
    para_exchange x[SLOTS];
    para_tensor place[SLOTS][MOST_RANKS]; /* where this rank stores at the others */
    uint32_t random;                      /* this rank's own */
} room;

static uint32_t next(room *r) {
    return r->random = mixed(r->random, 1);
}

static int64_t words_of(uint32_t epoch) {
    return WORDS * (1 + (int64_t)(mixed(epoch, 2) % MOST_ELEMENTS));
}

static bool by_stores(para_comm c, uint32_t epoch) {
    return para_comm_addressable(c) && mixed(epoch, 3) % 2;
}

static para_tensor part(para_tensor of, uint32_t epoch, int peer) {
    para_tensor slot = para_slice(para_slice(of, 0, epoch % SLOTS, 1), 1, peer, 1);
    return PARA_RESHAPE(para_slice(slot, 2, 0, words_of(epoch)), words_of(epoch));
}

static int32_t *host_part(const room *r, int ranks, uint32_t epoch, int peer) {
    return r->host + ((int64_t)(epoch % SLOTS) * ranks + peer) * MOST_ELEMENTS * WORDS;
}

/* The host dawdles, or the device does. */
static para_status delay(para_rank *rank, room *r) {
    uint32_t h = next(r);
    if (h % 64 == 0) usleep(h / 64 % 200);
    if (h % 64 == 1) /* for up to 2 ms of a GPU: its host is ahead by then */
        for (uint32_t i = 0; i < h / 64 % 128; i++)
            PARA_TRY(rank->device->ops->copy(rank->device, r->idle[i % 2], r->idle[(i + 1) % 2]));
    return PARA_OK;
}

static para_status begin(para_comm c, room *r, uint32_t epoch) {
    para_tensor send[MOST_RANKS], receive[MOST_RANKS], *place = r->place[epoch % SLOTS];
    for (int i = 0; i < c.size; i++) {
        send[i] = part(r->out, epoch, i);
        receive[i] = part(r->in, epoch, i);
        place[i] = i == c.index ? receive[i] : para_tensor_make(NULL, PARA_I32, 1, (int64_t[]){words_of(epoch)});
    }
    if (by_stores(c, epoch)) return para_comm_offer(c, 1, receive, place, &r->x[epoch % SLOTS]);
    return para_comm_all_to_all(c, send, receive, &r->x[epoch % SLOTS]);
}

static para_status store(para_comm c, room *r, uint32_t epoch) {
    para_device *dev = c.rank->device;
    const para_exchange *x = &r->x[epoch % SLOTS];
    para_tensor *place = r->place[epoch % SLOTS];
    PARA_TRY(para_comm_reach(c, 1, place, x));
    para_status status = delay(c.rank, r);
    for (int i = 0; i < c.size && status == PARA_OK; i++)
        status = dev->ops->copy(dev, place[i], part(r->out, epoch, i));
    para_status left = para_comm_leave(x, true);
    return status == PARA_OK ? left : status;
}

static para_status visit(para_comm c, room *r, uint32_t epoch, bool fill) {
    for (int peer = 0; peer < c.size; peer++) {
        int32_t *at = host_part(r, c.size, epoch, peer);
        int32_t way = fill ? c.index * MOST_RANKS + peer : peer * MOST_RANKS + c.index;
        for (int32_t i = 0; i < words_of(epoch) / WORDS; i++, at += WORDS) {
            if (fill) at[0] = (int32_t)epoch, at[1] = way, at[2] = i;
            else
                EXPECT(at[0] == (int32_t)epoch && at[1] == way && at[2] == i,
                       "exchange %u: element %d of rank %d is element %d of exchange %d from %d to %d", epoch, i, peer,
                       at[2], at[0], at[1] / MOST_RANKS, at[1] % MOST_RANKS);
        }
    }
    return PARA_OK;
}

static para_status batch(para_comm c, room *r, uint32_t first) {
    para_device *dev = c.rank->device;
    for (uint32_t e = first; e < first + SLOTS; e++) PARA_TRY(visit(c, r, e, true));
    PARA_TRY(dev->ops->upload(dev, r->out, r->host));
    for (uint32_t e = first; e < first + SLOTS; e++) {
        PARA_TRY(delay(c.rank, r));
        PARA_TRY(begin(c, r, e));
    }
    for (uint32_t e = first; e < first + SLOTS; e++)
        if (by_stores(c, e)) PARA_TRY(store(c, r, e));
    uint32_t turn = next(r);
    for (uint32_t i = 0; i < SLOTS; i++) { /* each rank in an order of its own */
        uint32_t e = first + (i * 5 + turn) % SLOTS;
        PARA_TRY(delay(c.rank, r));
        PARA_TRY(para_comm_wait(&r->x[e % SLOTS]));
        for (int peer = 0; peer < c.size; peer++)
            PARA_TRY(dev->ops->copy(dev, part(r->out, e, peer),
                                    part(r->in, e, (peer + 1) % c.size))); /* what was sent is free */
    }
    PARA_TRY(dev->ops->download(dev, r->host, &r->in));
    for (uint32_t e = first; e < first + SLOTS; e++) PARA_TRY(visit(c, r, e, false));
    return PARA_OK;
}

static para_status exchanges(para_rank *rank, void *user) {
    para_comm c = para_world_comm(rank);
    room r = {.random = (uint32_t)rank->index + 1};
    int64_t dim[] = {SLOTS, c.size, MOST_ELEMENTS * WORDS}, idle = rank->device->ops->fetch ? 8 << 20 : 1 << 14;
    PARA_TRY(para_rank_tensor(rank, &r.out, PARA_I32, 3, dim));
    PARA_TRY(para_rank_tensor(rank, &r.in, PARA_I32, 3, dim));
    for (int i = 0; i < 2; i++) PARA_TRY(para_rank_tensor(rank, &r.idle[i], PARA_I32, 1, &idle));
    r.host = para_alloc((size_t)para_tensor_count(&r.out), sizeof *r.host);
    para_status status = r.host ? PARA_OK : PARA_ERR_MEMORY;
    for (int e = 0; e < *(int *)user && status == PARA_OK; e += SLOTS) status = batch(c, &r, (uint32_t)e);
    para_free(r.host);
    return status;
}

static int count(void) {
    return getenv("PARA_FULL") ? MANY : FEW;
}

static void ranks_of_one_process(void **state) {
    (void)state;
    for (int ranks = 2; ranks <= 3; ranks++) {
        int n = ranks == 2 ? count() : FEW;
        para_world *world = open_world(ranks, 60);
        run_ok(world, exchanges, &n);
        para_world_close(&world);
        print_message("%d exchanges of %d ranks: no mismatch\n", n, ranks);
    }
}

static void processes(void **state) {
    (void)state;
    para_world_options o = PARA_WORLD_OPTIONS_INIT;
    para_world *world;
    o.device = test_device_kind();
    o.mpi = true;
    o.threads = 1;
    o.timeout = 60;
    if (para_world_open(&world, &o) != PARA_OK) fail_msg("para_world_open: %s", para_last_error());
    run_ok(world, exchanges, &(int){count()});
    if (para_world_process(world) == 0) print_message("%d exchanges of processes: no mismatch\n", count());
    para_world_close(&world);
}

int main(void) {
    const struct CMUnitTest alone[] = {cmocka_unit_test(ranks_of_one_process)},
                            launched[] = {cmocka_unit_test(processes)};
    if (para_started_by_launcher() || para_started_by_mpi()) return cmocka_run_group_tests(launched, NULL, NULL);
    return cmocka_run_group_tests(alone, NULL, NULL);
}
