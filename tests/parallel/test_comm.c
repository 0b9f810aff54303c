/* Every collective call on 1 to 8 ranks: what arrives, in which order, and how many bytes were counted. SPDX-License-Identifier: Apache-2.0 */
#include "comm/rendezvous.h"
#include "random_calls.h"

/* ---- random programs */

static void random_programs(void **state) {
    (void)state;
    for (int ranks = 1; ranks <= MOST_RANKS; ranks++) {
        para_world *world = open_world(ranks, 60);
        for (uint32_t seed = 1; seed <= 6; seed++) {
            program p = {.seed = seed * 1000 + (uint32_t)ranks, .rounds = 40, .delays = seed % 2};
            run_ok(world, run_program, &p);
        }
        para_world_close(&world);
    }
}

static void dry_counts_the_same(void **state) {
    (void)state;
    for (int ranks = 2; ranks <= MOST_RANKS; ranks++) {
        program real = {.seed = 4000 + (uint32_t)ranks, .rounds = 40};
        para_world *world = open_world(ranks, 60);
        run_ok(world, run_program, &real);
        para_world_close(&world);
        for (int i = 0; i < ranks; i++) dry_run_counts(&real, i, ranks);
    }
}

/* ---- bytes, by hand */

static para_status counted(para_rank *rank, void *user) {
    (void)user;
    para_comm c = para_world_comm(rank);
    int n = c.size;
    int64_t at = para_rank_bytes_sent(rank), dim[] = {5, 3};
    para_tensor send[MOST_RANKS], receive[MOST_RANKS];
    para_exchange x;
    for (int i = 0; i < MOST_RANKS; i++) {
        PARA_TRY(para_rank_tensor(rank, &send[i], PARA_F32, 2, dim));
        PARA_TRY(para_rank_tensor(rank, &receive[i], PARA_F32, 2, dim));
        memset(send[i].data, 0, 60);
    }
    PARA_TRY(para_comm_all_to_all(c, send, receive, &x));
    PARA_TRY(para_comm_wait(&x));
    EXPECT(para_rank_bytes_sent(rank) - at == (n - 1) * 60, "the own part is not sent");
    EXPECT(!rank->endpoint || rank->endpoint->messages == n - 1, "messages");
    at = para_rank_bytes_sent(rank);
    para_tensor own = receive[c.index];
    receive[c.index] = send[0];
    PARA_TRY(para_comm_all_gather(c, send[0], receive, &x));
    PARA_TRY(para_comm_wait(&x));
    receive[c.index] = own;
    EXPECT(para_rank_bytes_sent(rank) - at == (n - 1) * 60, "all-gather");
    at = para_rank_bytes_sent(rank);
    PARA_TRY(para_comm_shift(c, 2, send, receive, &x));
    PARA_TRY(para_comm_wait(&x));
    EXPECT(para_rank_bytes_sent(rank) - at == (n > 1 ? 120 : 0), "shift");
    at = para_rank_bytes_sent(rank);
    PARA_TRY(para_comm_broadcast(c, n - 1, send[0]));
    EXPECT(para_rank_bytes_sent(rank) - at == (c.index == n - 1 ? (n - 1) * 60 : 0), "broadcast");
    at = para_rank_bytes_sent(rank);
    PARA_TRY(para_comm_all_reduce(c, send[0]));
    EXPECT(para_rank_bytes_sent(rank) - at == (n - 1) * 60, "all-reduce");
    at = para_rank_bytes_sent(rank);
    PARA_TRY(para_comm_barrier(c));
    EXPECT(para_rank_bytes_sent(rank) - at == n - 1, "barrier");
    return PARA_OK;
}

static void bytes(void **state) {
    (void)state;
    for (int ranks = 1; ranks <= MOST_RANKS; ranks++) {
        para_world *world = open_world(ranks, 60);
        run_ok(world, counted, NULL);
        para_world_close(&world);
    }
}

/* ---- barriers keep what is before apart from what is after */

static para_status count_up(para_rank *rank, void *user) {
    atomic_int *count = user;
    for (int round = 1; round <= 50; round++) {
        if ((rank->index + round) % 3 == 0) usleep(200);
        atomic_fetch_add(count, 1);
        PARA_TRY(para_comm_barrier(para_world_comm(rank)));
        int seen = atomic_load(count);
        EXPECT(seen >= round * rank->size, "round %d: %d of %d have passed", round, seen, round * rank->size);
        PARA_TRY(para_comm_barrier(para_world_comm(rank)));
    }
    return PARA_OK;
}

static void barrier(void **state) {
    (void)state;
    for (int ranks = 1; ranks <= MOST_RANKS; ranks++) {
        atomic_int count = 0;
        para_world *world = open_world(ranks, 60);
        run_ok(world, count_up, &count);
        para_world_close(&world);
    }
}

/* ---- coming together */

/* Any of them, all in one order, each of which some ranks know nothing of. */
static para_status meet(para_rank *rank, void *user) {
    const program *p = user;
    for (uint32_t round = 0; round < (uint32_t)p->rounds; round++) {
        uint32_t which = mix(p->seed, round, 0), n = (uint32_t)rank->size;
        int first = (int)(which % n), stride = 1 + (int)(which / 16 % 2), most = (rank->size - 1 - first) / stride + 1, size = 1 + (int)(which / 64 % (uint32_t)most);
        int index = (rank->index - first) / stride;
        if (rank->index < first || (rank->index - first) % stride || index >= size) continue;
        para_comm c = {rank, first, stride, size, index};
        uint32_t note[] = {round, (uint32_t)rank->index}, all[MOST_RANKS][2];
        dawdle(rank, p, round);
        if (!para_comm_meets(c)) continue;
        PARA_TRY(para_comm_rendezvous(c, PARA_OK, note, sizeof note, all));
        for (int i = 0; i < size; i++) EXPECT(all[i][0] == round && (int)all[i][1] == first + i * stride, "round %u: rank %u of %u came", round, all[i][1], all[i][0]);
    }
    return PARA_OK;
}

/* Two meet, the third fails instead of coming: neither waits for ever, and all is well in the next run. */
static para_status meet_without(para_rank *rank, void *user) {
    (void)user;
    uint32_t note = 0, all[3];
    PARA_TRY(para_comm_rendezvous((para_comm){rank, 0, 1, 3, rank->index}, PARA_OK, &note, sizeof note, all));
    if (rank->index == 2) return para_fail(PARA_ERR_DEVICE, "this failure was asked for");
    PARA_TRY(para_comm_rendezvous((para_comm){rank, 0, 1, 2, rank->index}, PARA_OK, &note, sizeof note, all));
    return para_comm_rendezvous((para_comm){rank, 0, 1, 3, rank->index}, PARA_OK, &note, sizeof note, all);
}

static void meetings(void **state) {
    (void)state;
    for (int ranks = 2; ranks <= MOST_RANKS; ranks++) {
        para_world *world = open_world(ranks, 20);
        for (uint32_t seed = 1; seed <= 4; seed++) run_ok(world, meet, &(program){.seed = seed * 100 + (uint32_t)ranks, .rounds = 200, .delays = seed % 2});
        if (ranks == 3) run_fails(world, meet_without, NULL, PARA_ERR_DEVICE, "rank 2: this failure was asked for");
        run_ok(world, meet, &(program){.seed = 7, .rounds = 50});
        para_world_close(&world);
    }
}

/* ---- calls that cannot be right */

static para_status other_shape(para_rank *rank, void *user) {
    (void)user;
    int64_t dim[] = {rank->index == 1 ? 3 : 4};
    para_tensor x;
    PARA_TRY(para_rank_tensor(rank, &x, PARA_F32, 1, dim));
    return para_comm_broadcast(para_world_comm(rank), 0, x);
}

static para_status without_wait(para_rank *rank, void *user) {
    (void)user;
    para_tensor x;
    para_exchange exchange;
    PARA_TRY(para_rank_tensor(rank, &x, PARA_F32, 1, (int64_t[]){4}));
    memset(x.data, 0, 16);
    if (rank->index != 2) return para_comm_broadcast(para_world_comm(rank), 2, x);
    para_tensor none = {0};
    for (int to = 0; to < rank->size; to++)
        if (to != 2) PARA_TRY(para_comm_send_receive(para_world_comm(rank), to, x, -1, none, &exchange));
    return PARA_OK;
}

static para_status wrong_root(para_rank *rank, void *user) {
    (void)user;
    para_tensor x;
    PARA_TRY(para_rank_tensor(rank, &x, PARA_F32, 1, (int64_t[]){4}));
    return para_comm_broadcast(para_world_comm(rank), 3, x);
}

static para_status half_precision(para_rank *rank, void *user) {
    (void)user;
    para_tensor x;
    PARA_TRY(para_rank_tensor(rank, &x, PARA_BF16, 1, (int64_t[]){4}));
    return para_comm_all_reduce(para_world_comm(rank), x);
}

/* Rank 0 waits for what nobody sends. */
static para_status nobody_sends(para_rank *rank, void *user) {
    (void)user;
    para_tensor x, none = {0};
    para_exchange exchange;
    PARA_TRY(para_rank_tensor(rank, &x, PARA_F32, 1, (int64_t[]){4}));
    if (rank->index) return PARA_OK;
    PARA_TRY(para_comm_send_receive(para_world_comm(rank), -1, none, 1, x, &exchange));
    return para_comm_wait(&exchange);
}

/* ---- room for others */

/* Every rank offers `room` elements to each and stores 4 at each. */
static para_status offer(para_rank *rank, int64_t room, para_tensor *own, para_tensor *place, para_exchange *x) {
    para_comm c = para_world_comm(rank);
    for (int i = 0; i < c.size; i++) {
        PARA_TRY(para_rank_tensor(rank, &own[i], PARA_F32, 1, &room));
        place[i] = para_tensor_make(own[i].data, PARA_F32, 1, (int64_t[]){4});
    }
    place[c.index] = own[c.index];
    return para_comm_offer(c, 1, own, place, x);
}

static para_status other_room(para_rank *rank, void *user) {
    (void)user;
    para_tensor own[MOST_RANKS], place[MOST_RANKS];
    para_exchange x;
    PARA_TRY(offer(rank, rank->index == 1 ? 3 : 4, own, place, &x));
    PARA_TRY(para_comm_reach(para_world_comm(rank), 1, place, &x));
    PARA_TRY(para_comm_leave(&x, true));
    return para_comm_wait(&x);
}

static para_status without_leave(para_rank *rank, void *user) {
    (void)user;
    para_tensor own[MOST_RANKS], place[MOST_RANKS];
    para_exchange x;
    PARA_TRY(offer(rank, 4, own, place, &x));
    PARA_TRY(para_comm_reach(para_world_comm(rank), 1, place, &x));
    if (rank->index == 2) return PARA_OK;
    PARA_TRY(para_comm_leave(&x, true));
    return para_comm_wait(&x);
}

/* Rank 1 fails at once, and may not come back while rank 0 still stores there. */
typedef struct owner_that_fails {
    atomic_bool holds;
    bool left; /* rank 0 found it as it was */
} owner_that_fails;

static para_status while_held(para_rank *rank, void *user) {
    owner_that_fails *f = user;
    para_tensor own[MOST_RANKS], place[MOST_RANKS];
    para_exchange x;
    PARA_TRY(offer(rank, 4, own, place, &x));
    if (rank->index == 1) {
        while (!atomic_load(&f->holds)) usleep(100);
        return para_fail(PARA_ERR_DEVICE, "this failure was asked for");
    }
    PARA_TRY(para_comm_reach(para_world_comm(rank), 1, place, &x));
    if (rank->index == 0) {
        atomic_store(&f->holds, true);
        while (para_rank_check(rank) == PARA_OK) usleep(100);
        usleep(20000);
        for (int i = 0; i < 4; i++) ((float *)place[1].data)[i] = (float)i;
        f->left = para_comm_leave(&x, true) == PARA_OK;
    }
    return para_comm_wait(&x);
}

static void wrong_rooms(void **state) {
    (void)state;
    para_world *world = open_world(3, 60);
    run_fails(world, other_room, NULL, PARA_ERR_SHAPE, "rank 1 has room for 3 elements of F32");
    run_fails(world, without_leave, NULL, PARA_ERR_STATE, "rank 2: returned without waiting for 1 of its exchanges");
    for (int i = 0; i < 20; i++) {
        owner_that_fails f = {0};
        run_fails(world, while_held, &f, PARA_ERR_DEVICE, "rank 1: this failure was asked for");
        assert_true(f.left);
    }
    program p = {.seed = 6, .rounds = 20};
    run_ok(world, run_program, &p);
    para_world_close(&world);
}

static void wrong_calls(void **state) {
    (void)state;
    para_world *world = open_world(3, 60);
    run_fails(world, other_shape, NULL, PARA_ERR_SHAPE, "rank 1: rank 0 sent 4 elements of F32");
    run_fails(world, without_wait, NULL, PARA_ERR_STATE, "rank 2: returned without waiting for 2 of its exchanges");
    run_fails(world, wrong_root, NULL, PARA_ERR_ARGUMENT, "root is 3, but there are 3 ranks");
    run_fails(world, half_precision, NULL, PARA_ERR_SHAPE, "must be F32 and contiguous");
    para_world_close(&world);
    world = open_world(3, 1);
    run_fails(world, nobody_sends, NULL, PARA_ERR_STATE, "all ranks wait for each other since 1 seconds");
    program p = {.seed = 5, .rounds = 20};
    run_ok(world, run_program, &p);
    para_world_close(&world);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(random_programs), cmocka_unit_test(dry_counts_the_same), cmocka_unit_test(bytes),
        cmocka_unit_test(barrier),         cmocka_unit_test(wrong_calls),
        cmocka_unit_test(wrong_rooms),     cmocka_unit_test(meetings),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
