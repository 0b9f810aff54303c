/* Half a VAE on the ranks of a world, and what it takes there, beside a dry run. SPDX-License-Identifier: Apache-2.0 */
#ifndef PARA_TESTS_VAE_ON_RANKS_H
#define PARA_TESTS_VAE_ON_RANKS_H

#include <math.h>
#include <stdlib.h>

#include "comm/rank.h"
#include "rank_checks.h"
#include "test_device.h"

enum { MOST_RANKS = 8 };

#ifndef OK
#define OK(expr)                                                                                                       \
    do {                                                                                                               \
        if ((expr) != PARA_OK) fail_msg("%s: %s", #expr, para_last_error());                                           \
    } while (0)
#endif

/* What every rank is asked to do, and what it needed for it. */
typedef struct vae_task {
    /* y = decoder(x), or encoder(x), of the VAE `of`. */
    para_status (*run)(const void *of, bool decode, para_device *dev, const para_comm *comm, para_tensor x, bool tiling,
                       para_tensor y);
    const void *of;
    bool decode, tiling;
    int rank;                      /* of the tensors */
    int64_t in_dim[5], out_dim[5]; /* [n, h, w, C] or [n, f, h, w, C] */
    const float *in;
    float *out; /* of the first rank */
    bool dry;
    size_t peak[MOST_RANKS];
    int64_t bytes[MOST_RANKS], parts[MOST_RANKS]; /* sent */
} vae_task;

static inline size_t vae_count(const vae_task *k, const int64_t *dim) {
    size_t n = 1;
    for (int i = 0; i < k->rank; i++) n *= (size_t)dim[i];
    return n;
}

static para_status vae_task_body(para_rank *rank, void *user) {
    vae_task *k = user;
    para_device *dev = rank->device;
    para_comm comm = para_world_comm(rank);
    int64_t bytes = para_rank_bytes_sent(rank), messages = rank->endpoint ? rank->endpoint->messages : 0;
    dev->arena.peak = dev->arena.used;
    para_tensor x, y = para_tensor_make(NULL, PARA_F32, k->rank, k->out_dim);
    PARA_TRY(para_new(dev, &x, PARA_F32, k->rank, k->in_dim));
    if (rank->index == 0) PARA_TRY(para_new(dev, &y, PARA_F32, k->rank, k->out_dim));
    PARA_TRY(dev->ops->upload(dev, x, k->in));
    size_t mark = para_arena_mark(&dev->arena);
    PARA_TRY(k->run(k->of, k->decode, dev, &comm, x, k->tiling, y));
    EXPECT(para_arena_mark(&dev->arena) == mark, "the arena is not as before");
    if (rank->index == 0 && !k->dry) PARA_TRY(dev->ops->download(dev, k->out, &y));
    k->peak[rank->index] = dev->arena.peak;
    k->bytes[rank->index] = para_rank_bytes_sent(rank) - bytes;
    k->parts[rank->index] = rank->endpoint ? rank->endpoint->messages - messages : 0;
    return PARA_OK;
}

/* Runs it; the result is in malloc memory. */
static float *vae_run_on(vae_task *k, int ranks, int threads) {
    para_world_options o = PARA_WORLD_OPTIONS_INIT;
    para_world *world;
    o.ranks = ranks;
    o.threads = threads;
    test_choose_device(&o);
    OK(para_world_open(&world, &o));
    k->out = malloc(vae_count(k, k->out_dim) * sizeof *k->out);
    for (size_t i = 0; i < vae_count(k, k->out_dim); i++) k->out[i] = NAN;
    run_ok(world, vae_task_body, k);
    para_world_close(&world);
    return k->out;
}

/* A dry rank needs as much memory and sends as much as the real one. */
static void vae_dry_run_agrees(const vae_task *real, int ranks) {
    vae_task k = *real;
    k.dry = true;
    for (int i = 0; i < ranks; i++) {
        para_device *dev;
        para_endpoint *endpoint;
        para_rank rank;
        OK(para_dry_open(&dev));
        para_dry_stand_for(dev, test_device_kind());
        OK(para_dry_endpoint_open(&endpoint, i, ranks));
        OK(para_rank_open(&rank, dev, endpoint));
        OK(vae_task_body(&rank, &k));
        para_rank_close(&rank);
        endpoint->transport->close(endpoint);
        /* On a GPU the plan has room for each library's refusal, too: 1.02 to 1.07 of what is taken. */
        bool exact = test_device_kind() == PARA_CPU;
        assert_in_range(k.peak[i], real->peak[i], real->peak[i] + (exact ? 0 : real->peak[i] / 10));
        assert_int_equal(k.bytes[i], real->bytes[i]);
        assert_int_equal(k.parts[i], real->parts[i]);
    }
}

#endif
