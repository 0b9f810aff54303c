/* The VAE's tiles on 1 to 8 ranks: the pixels and latents are those of one rank. SPDX-License-Identifier: Apache-2.0 */
#include "vae_on_ranks.h"

#include <stdio.h>

#include "core/rng.h"
#include "io/config.h"
#include "vae/autoencoder_kl.h"
#include "vae/vae_share.h"

/* No bit differs from one rank of as many threads. From one of two threads, for which convolutions are cut otherwise, at most this relative L2.
 * Measured: 0 for all but one encoder, 4.9e-7. */
static const double BOUND = 1e-6;

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

static para_status run_half(const void *of, bool decode, para_device *dev, const para_comm *comm, para_tensor x, bool tiling,
                            para_tensor y) {
    const fixture *f = of;
    return (decode ? para_autoencoder_kl_decode : para_autoencoder_kl_encode)(f->vae, dev, comm, x, tiling, y);
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
static float *waves(size_t n) {
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
    vae_task one = {.run = run_half,
                    .of = f,
                    .decode = decode,
                    .tiling = tiling,
                    .rank = 4,
                    .in_dim = {n, h, w, decode ? c->latent_channels : c->in_channels},
                    .out_dim = {n, oh, ow, decode ? c->out_channels : 2 * c->latent_channels}};
    float *in = waves(vae_count(&one, one.in_dim));
    one.in = in;
    float *want = vae_run_on(&one, 1, 1), *two_threads = vae_run_on(&one, 1, 2);
    for (int ranks = 1; ranks <= most; ranks++) {
        vae_task k = one;
        size_t different, unused;
        float *got = vae_run_on(&k, ranks, ranks);
        double error = relative(got, two_threads, vae_count(&k, k.out_dim), &unused);
        relative(got, want, vae_count(&k, k.out_dim), &different);
        int64_t sent = 0;
        for (int i = 1; i < ranks; i++) {
            assert_true(k.parts[i] >= 1);
            sent += k.parts[i];
        }
        assert_int_equal(k.parts[0], 0);
        assert_true(n * tiles - sent >= 1); /* the first rank's own */
        print_message("  %s, %d ranks: %zu of %zu values differ; from two threads by relative L2 %.1e; the first "
                      "computes %d of %d\n",
                      decode ? "decode" : "encode", ranks, different, vae_count(&k, k.out_dim), error,
                      (int)(n * tiles - sent), (int)(n * tiles));
        assert_int_equal(different, 0);
        assert_true(error <= BOUND);
        vae_dry_run_agrees(&k, ranks);
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
