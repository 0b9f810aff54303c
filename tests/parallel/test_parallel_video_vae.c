/* The tiles of video VAEs in space and time on 1 to 8 ranks: the pixels and latents are those of one rank. SPDX-License-Identifier: Apache-2.0 */
#include "golden/video_vae_case.h"

#include "vae_on_ranks.h"

/* No bit differs from one rank of as many threads. From one of two threads, for which convolutions are cut otherwise, at most this relative L2.
 * Measured: at most 6.1e-8. */
static const double BOUND = 1e-5;

static para_status run_half(const void *of, bool decode, para_device *dev, const para_comm *comm, para_tensor x, bool tiling,
                            para_tensor y) {
    const video_vae_case *g = of;
    return g->class->run(g->vae, decode, dev, comm, x, tiling, y);
}

/* One run of a golden case on 1 to `most` ranks, in `tiles` tiles. */
static void ranks_agree(video_vae_case *g, bool decode, const char *name, int tiles, int most) {
    vae_task one = {.run = run_half, .of = g, .decode = decode, .rank = 5};
    const json_t *settings = json_object_get(json_object_get(g->about.root, decode ? "decode" : "encode"), name);
    float *in = video_vae_input(g, decode, name, settings, one.in_dim, &one.tiling);
    one.in = in;
    one.out_dim[0] = one.in_dim[0];
    OK(g->class->size(g->vae, decode, one.in_dim + 1, one.tiling, one.out_dim + 1));
    one.out_dim[4] = g->class->channels(g->vae, decode, false);
    size_t n = video_count(one.out_dim);
    float *want = vae_run_on(&one, 1, 1), *two_threads = vae_run_on(&one, 1, 2);
    for (int ranks = 1; ranks <= most; ranks += ranks < 4 ? 1 : 2) {
        vae_task k = one;
        float *got = vae_run_on(&k, ranks, ranks);
        double error = video_relative(got, two_threads, n);
        size_t different = 0;
        int64_t sent = 0;
        for (size_t i = 0; i < n; i++) different += memcmp(&got[i], &want[i], sizeof *got) != 0;
        for (int i = 1; i < ranks; i++) sent += k.parts[i];
        assert_int_equal(k.parts[0], 0);
        print_message("  %s %s.%s, %d ranks: %zu of %zu values differ; from two threads by relative L2 %.1e; the first "
                      "computes %d of %d\n",
                      g->class->name, decode ? "decode" : "encode", name, ranks, different, n, error, tiles - (int)sent,
                      tiles);
        assert_int_equal(different, 0);
        assert_true(error <= BOUND && sent <= tiles && (ranks == 1 || sent >= ranks - 1 || sent == tiles));
        vae_dry_run_agrees(&k, ranks);
        free(got);
    }
    free(two_threads), free(want), free(in);
}

/* The same of several runs: their names, directions and tiles. */
typedef struct shared_run {
    const char *name;
    bool decode;
    int tiles, most;
} shared_run;

static void case_on_ranks(const char *folder, const shared_run *runs, size_t count) {
    video_vae_case g;
    para_weights *weights;
    para_device *device;
    video_vae_open(&g, folder);
    OK(test_open_device(&device));
    OK(para_weights_open(&weights));
    g.class->weights(g.vae, weights, g.checkpoint, PARA_VAE_DECODER | PARA_VAE_ENCODER);
    OK(para_weights_load(weights, device, g.checkpoint, PARA_F32));
    for (size_t i = 0; i < count; i++) ranks_agree(&g, runs[i].decode, runs[i].name, runs[i].tiles, runs[i].most);
    para_weights_close(&weights);
    para_device_close(&device);
    video_vae_close(&g);
}

/* 2 tiles in time of 3 × 2 in space; tiles in time alone; two whole videos; encoded tiles. */
static void hunyuan_video(void **state) {
    (void)state;
    static const shared_run runs[] = {
        {"tiled", true, 12, MOST_RANKS}, {"frames", true, 3, 3}, {"whole", true, 2, 3}, {"tiled", false, 8, 4}};
    case_on_ranks("video-vae-hunyuan", runs, sizeof runs / sizeof *runs);
}

/* 3 × 3 tiles of all frames; two whole videos. */
static void mochi(void **state) {
    (void)state;
    static const shared_run runs[] = {{"tiled", true, 12, MOST_RANKS}, {"whole", true, 2, 2}, {"tiled", false, 9, 4}};
    case_on_ranks("video-vae-mochi", runs, sizeof runs / sizeof *runs);
}

/* Tiles of space, in batches of frames; two whole videos. */
static void cogvideox(void **state) {
    (void)state;
    static const shared_run runs[] = {{"whole", true, 2, 2}, {"factors", true, 6, MOST_RANKS}, {"tiled", false, 6, 4}};
    case_on_ranks("video-vae-cogvideox", runs, sizeof runs / sizeof *runs);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(hunyuan_video),
        cmocka_unit_test(mochi),
        cmocka_unit_test(cogvideox),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
