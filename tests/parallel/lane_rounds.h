/* What ranks of different processes exchange where devices wait by themselves, and how it fails: with GPUs, and with what stands for them.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_PARALLEL_LANE_ROUNDS_H
#define TESTS_PARALLEL_LANE_ROUNDS_H

#include <unistd.h>

#include "comm/rank.h"
#include "core/alloc.h"
#include "parallel/rank_checks.h"

enum { PIECES = 3 };

static inline uint32_t mixed(uint32_t a, uint32_t b) {
    uint32_t h = a * 0x9e3779b1u ^ (b + 0x7f4a7c15u) * 0x85ebca6bu;
    return h ^ h >> 15;
}

static inline float value_of(int round, int piece, int from, int64_t i) {
    return (float)(mixed((uint32_t)(round * 64 + piece * 8 + from), (uint32_t)i) % 100000);
}

/* [rows, columns], where `turned` a view of [columns, rows]: what is not contiguous is packed. */
static inline para_status new_piece(para_rank *rank, int64_t rows, int64_t columns, bool turned, para_tensor *room, para_tensor *view) {
    PARA_TRY(para_rank_tensor(rank, room, PARA_F32, 2, turned ? (int64_t[]){columns, rows} : (int64_t[]){rows, columns}));
    *view = turned ? PARA_PERMUTE(*room, 1, 0) : *room;
    return PARA_OK;
}

static inline int64_t place_of(int64_t i, int64_t rows, int64_t columns, bool turned) {
    return turned ? i % columns * rows + i / columns : i;
}

/* Several exchanges under way, each right after what fills it and before what overwrites it, without a wait of the host in between. */
static inline para_status round_trip(para_rank *rank, int round) {
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

static inline para_status rounds(para_rank *rank, void *user) {
    for (int round = 0; round < *(int *)user; round++) {
        size_t mark = para_arena_mark(&rank->device->arena);
        PARA_TRY(round_trip(rank, round));
        para_arena_release(&rank->device->arena, mark);
    }
    return PARA_OK;
}

/* ---- failures */

static inline para_status receive_something(para_rank *rank) {
    para_tensor x, none = {0};
    para_exchange e;
    float first;
    PARA_TRY(para_rank_tensor(rank, &x, PARA_F32, 1, (int64_t[]){1 << 22}));
    PARA_TRY(para_comm_send_receive(para_world_comm(rank), -1, none, 1, x, &e));
    PARA_TRY(para_comm_wait(&e));
    x.dim[0] = 1;
    return rank->device->ops->download(rank->device, &first, &x); /* the host stands here */
}

static inline para_status fail_while_waited_for(para_rank *rank, void *user) {
    (void)user;
    if (rank->index == 0) return receive_something(rank);
    usleep(300000);
    while (rank->index > 1) PARA_TRY(para_rank_check(rank));
    return para_fail(PARA_ERR_NAN, "this rank does not send");
}

/* The other lives, but never sends: the wait expires. */
static inline para_status never_send(para_rank *rank, void *user) {
    (void)user;
    if (rank->index == 0) return receive_something(rank);
    for (;;) {
        PARA_TRY(para_rank_check(rank));
        usleep(1000);
    }
}

#endif
