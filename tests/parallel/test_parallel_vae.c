/* The VAE's tiles on 1 to 8 ranks: the pixels and latents are those of one rank. SPDX-License-Identifier: Apache-2.0 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "comm/rank.h"
#include "core/rng.h"
#include "io/config.h"
#include "rank_checks.h"
#include "vae/autoencoder_kl.h"
#include "vae/vae_share.h"
#include "test_device.h"

enum { MOST_RANKS = 8 };

/* No bit differs from one rank of as many threads. From one of two threads, for which convolutions are cut otherwise, at most this relative L2.
 * Measured: 0 for all but one encoder, 4.9e-7. */
static const double BOUND = 1e-6;

#define OK(expr)                                                                                                       \
    do {                                                                                                               \
        if ((expr) != PARA_OK) fail_msg("%s: %s", #expr, para_last_error());                                           \
    } while (0)

/* A golden folder's VAE, its weights for every CPU rank of the process. */
typedef struct fixture {
    para_config config;
    para_checkpoint *checkpoint;
    para_autoencoder_kl *vae;
    para_weights *weights;
    para_device *device;
} fixture;

static void fixture_open(fixture *f, const char *name) {
    char path[512];
    snprintf(path, sizeof path, PARA_SOURCE_DIR "/tests/golden/%s/vae/config.json", name);
    OK(para_config_read(&f->config, path));
    snprintf(path, sizeof path, PARA_SOURCE_DIR "/tests/golden/%s/vae", name);
    OK(para_checkpoint_open(&f->checkpoint, path));
    OK(para_autoencoder_kl_open(&f->vae, &f->config));
    OK(test_open_device(&f->device));
    OK(para_weights_open(&f->weights));
    para_autoencoder_kl_weights(f->vae, f->weights, f->checkpoint, PARA_VAE_DECODER | PARA_VAE_ENCODER);
    OK(para_weights_load(f->weights, f->device, f->checkpoint, PARA_F32));
}

static void fixture_close(fixture *f) {
    para_weights_close(&f->weights);
    para_device_close(&f->device);
    para_autoencoder_kl_close(&f->vae);
    para_checkpoint_close(&f->checkpoint);
    para_config_close(&f->config);
}

/* What every rank is asked to do, and what it needed for it. */
typedef struct task {
    const fixture *f;
    bool decode, tiling;
    int64_t in_dim[4], out_dim[4]; /* [n, h, w, C] */
    const float *in;
    float *out; /* of the first rank */
    bool dry;
    size_t peak[MOST_RANKS];
    int64_t bytes[MOST_RANKS], parts[MOST_RANKS]; /* sent */
} task;

static size_t count_of(const int64_t dim[4]) {
    return (size_t)(dim[0] * dim[1] * dim[2] * dim[3]);
}

static para_status run_half(para_rank *rank, void *user) {
    task *k = user;
    para_device *dev = rank->device;
    para_comm comm = para_world_comm(rank);
    int64_t bytes = para_rank_bytes_sent(rank), messages = rank->endpoint ? rank->endpoint->messages : 0;
    dev->arena.peak = dev->arena.used;
    para_tensor x, y = para_tensor_make(NULL, PARA_F32, 4, k->out_dim);
    PARA_TRY(para_new(dev, &x, PARA_F32, 4, k->in_dim));
    if (rank->index == 0) PARA_TRY(para_new(dev, &y, PARA_F32, 4, k->out_dim));
    PARA_TRY(dev->ops->upload(dev, x, k->in));
    size_t mark = para_arena_mark(&dev->arena);
    PARA_TRY(
        (k->decode ? para_autoencoder_kl_decode : para_autoencoder_kl_encode)(k->f->vae, dev, &comm, x, k->tiling, y));
    EXPECT(para_arena_mark(&dev->arena) == mark, "the arena is not as before");
    if (rank->index == 0 && !k->dry) PARA_TRY(dev->ops->download(dev, k->out, &y));
    k->peak[rank->index] = dev->arena.peak;
    k->bytes[rank->index] = para_rank_bytes_sent(rank) - bytes;
    k->parts[rank->index] = rank->endpoint ? rank->endpoint->messages - messages : 0;
    return PARA_OK;
}

/* Runs it; the result is in malloc memory. */
static float *run_on(task *k, int ranks, int threads) {
    para_world_options o = PARA_WORLD_OPTIONS_INIT;
    para_world *world;
    o.ranks = ranks;
    o.threads = threads;
    test_choose_device(&o);
    OK(para_world_open(&world, &o));
    k->out = malloc(count_of(k->out_dim) * sizeof *k->out);
    for (size_t i = 0; i < count_of(k->out_dim); i++) k->out[i] = NAN;
    run_ok(world, run_half, k);
    para_world_close(&world);
    return k->out;
}

/* A dry rank needs as much memory and sends as much as the real one. */
static void dry_run_agrees(const task *real, int ranks) {
    task k = *real;
    k.dry = true;
    for (int i = 0; i < ranks; i++) {
        para_device *dev;
        para_endpoint *endpoint;
        para_rank rank;
        OK(para_dry_open(&dev));
        para_dry_stand_for(dev, test_device_kind());
        OK(para_dry_endpoint_open(&endpoint, i, ranks));
        OK(para_rank_open(&rank, dev, endpoint));
        OK(run_half(&rank, &k));
        para_rank_close(&rank);
        endpoint->transport->close(endpoint);
        assert_int_equal(k.peak[i], real->peak[i]);
        assert_int_equal(k.bytes[i], real->bytes[i]);
        assert_int_equal(k.parts[i], real->parts[i]);
    }
}

static double relative(const float *got, const float *want, size_t n, size_t *different) {
    double error = 0, size = 0;
    *different = 0;
    for (size_t i = 0; i < n; i++) {
        double d = (double)got[i] - want[i];
        error += d * d, size += (double)want[i] * want[i];
        *different += memcmp(&got[i], &want[i], sizeof *got) != 0;
    }
    return sqrt(error / size);
}

/* Smooth waves and noise of a few tenths. */
static float *waves(const int64_t dim[4]) {
    size_t n = count_of(dim);
    float *x = malloc(n * sizeof *x);
    para_rng *rng = malloc(sizeof *rng);
    para_rng_seed(rng, PARA_RNG_CPU, 7);
    para_rng_normal(rng, x, PARA_F32, (int64_t)n);
    for (size_t i = 0; i < n; i++) x[i] = 0.3f * x[i] + sinf(0.003f * (float)i);
    free(rng);
    return x;
}

/* n pictures of h × w (latents or pixels) on 1 to `most` ranks, in `tiles` tiles each. */
static void ranks_agree(const fixture *f, bool decode, bool tiling, int64_t n, int64_t h, int64_t w, int tiles,
                        int most) {
    const para_autoencoder_kl_config *c = para_autoencoder_kl_settings(f->vae);
    int64_t oh, ow;
    OK((decode ? para_autoencoder_kl_decoded_size : para_autoencoder_kl_encoded_size)(f->vae, h, w, tiling, &oh, &ow));
    task one = {.f = f,
                .decode = decode,
                .tiling = tiling,
                .in_dim = {n, h, w, decode ? c->latent_channels : c->in_channels},
                .out_dim = {n, oh, ow, decode ? c->out_channels : 2 * c->latent_channels}};
    float *in = waves(one.in_dim);
    one.in = in;
    float *want = run_on(&one, 1, 1), *two_threads = run_on(&one, 1, 2);
    for (int ranks = 1; ranks <= most; ranks++) {
        task k = one;
        size_t different, unused;
        float *got = run_on(&k, ranks, ranks);
        double error = relative(got, two_threads, count_of(k.out_dim), &unused);
        relative(got, want, count_of(k.out_dim), &different);
        int64_t sent = 0;
        for (int i = 1; i < ranks; i++) {
            assert_true(k.parts[i] >= 1);
            sent += k.parts[i];
        }
        assert_int_equal(k.parts[0], 0);
        assert_true(n * tiles - sent >= 1); /* the first rank's own */
        print_message("  %s, %d ranks: %zu of %zu values differ; from two threads by relative L2 %.1e; the first "
                      "computes %d of %d\n",
                      decode ? "decode" : "encode", ranks, different, count_of(k.out_dim), error,
                      (int)(n * tiles - sent), (int)(n * tiles));
        assert_int_equal(different, 0);
        assert_true(error <= BOUND);
        dry_run_agrees(&k, ranks);
        free(got);
    }
    free(two_threads), free(want), free(in);
}

/* 60 × 76 latents in tiles of 32 with a step of 24: 3 × 4 tiles of six shapes. */
static void decoded_tiles_are_those_of_one_rank(void **state) {
    fixture f = {0};
    (void)state;
    fixture_open(&f, "flux-odd");
    ranks_agree(&f, true, true, 1, 60, 76, 12, MOST_RANKS);
    fixture_close(&f);
}

static void encoded_tiles_are_those_of_one_rank(void **state) {
    fixture f = {0};
    (void)state;
    fixture_open(&f, "flux-odd");
    ranks_agree(&f, false, true, 1, 118, 150, 12, MOST_RANKS);
    fixture_close(&f);
}

/* Tiles of both pictures are shared out together: five ranks for 2 × 4 tiles. */
static void pictures_of_a_batch_share_the_ranks(void **state) {
    fixture f = {0};
    (void)state;
    fixture_open(&f, "flux-dev");
    ranks_agree(&f, true, true, 2, 20, 23, 4, 5);
    ranks_agree(&f, false, true, 2, 168, 184, 4, 3);
    fixture_close(&f);
}

/* Without tiles a rank takes a whole picture. */
static void whole_pictures_are_shared_out(void **state) {
    fixture f = {0};
    (void)state;
    fixture_open(&f, "flux-odd");
    ranks_agree(&f, true, false, 3, 20, 18, 1, 3);
    fixture_close(&f);
}

static void parts_are_shared_out_evenly(void **state) {
    (void)state;
    int rank[9];
    OK(para_vae_share(6, (int64_t[]){4, 9, 4, 2, 9, 1}, 2, rank));
    /* 9 to the last, 9 to the first, then 4 last, 4 first, 2 last, 1 first */
    assert_memory_equal(rank, ((int[]){1, 1, 0, 1, 0, 0}), 6 * sizeof *rank);
    OK(para_vae_share(2, (int64_t[]){5, 5}, 4, rank)); /* the first joins what the others compute */
    assert_memory_equal(rank, ((int[]){3, 2}), 2 * sizeof *rank);
    /* 3 × 3 tiles of a picture of 2.5 tiles: largest first leaves nobody more than a ninth above the mean. */
    OK(para_vae_share(9, (int64_t[]){16, 16, 8, 16, 16, 8, 8, 8, 4}, 4, rank));
    int64_t load[4] = {0};
    for (int i = 0; i < 9; i++) load[rank[i]] += ((int64_t[]){16, 16, 8, 16, 16, 8, 8, 8, 4})[i];
    for (int i = 0; i < 4; i++) assert_true(load[i] <= 28 && load[i] >= 24);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(parts_are_shared_out_evenly),         cmocka_unit_test(decoded_tiles_are_those_of_one_rank),
        cmocka_unit_test(encoded_tiles_are_those_of_one_rank), cmocka_unit_test(pictures_of_a_batch_share_the_ranks),
        cmocka_unit_test(whole_pictures_are_shared_out),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
