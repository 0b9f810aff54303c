/* The tiles of video VAEs in space and time on 1 to 8 ranks: the pixels and latents are those of one rank. SPDX-License-Identifier: Apache-2.0 */
#include "golden/video_vae_case.h"

#include "comm/rank.h"
#include "rank_checks.h"
#include "test_device.h"

enum { MOST_RANKS = 8 };

/* No bit differs from one rank of as many threads. From one of two threads, for which convolutions are cut otherwise, at most this relative L2.
 * Measured: at most 6.1e-8. */
static const double BOUND = 1e-5;

/* What every rank is asked to do, and what it needed for it. */
typedef struct task {
    const video_vae_case *g;
    bool decode, tiling;
    int64_t in_dim[5], out_dim[5]; /* [n, f, h, w, C] */
    const float *in;
    float *out; /* of the first rank */
    bool dry;
    size_t peak[MOST_RANKS];
    int64_t bytes[MOST_RANKS], parts[MOST_RANKS]; /* sent */
} task;

static para_status run_one(para_rank *rank, void *user) {
    task *k = user;
    para_device *dev = rank->device;
    para_comm comm = para_world_comm(rank);
    int64_t bytes = para_rank_bytes_sent(rank), messages = rank->endpoint ? rank->endpoint->messages : 0;
    dev->arena.peak = dev->arena.used;
    para_tensor x, y = para_tensor_make(NULL, PARA_F32, 5, k->out_dim);
    PARA_TRY(para_new(dev, &x, PARA_F32, 5, k->in_dim));
    if (rank->index == 0) PARA_TRY(para_new(dev, &y, PARA_F32, 5, k->out_dim));
    PARA_TRY(dev->ops->upload(dev, x, k->in));
    size_t mark = para_arena_mark(&dev->arena);
    PARA_TRY(k->g->class->run(k->g->vae, k->decode, dev, &comm, x, k->tiling, y));
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
    k->out = malloc(video_count(k->out_dim) * sizeof *k->out);
    for (size_t i = 0; i < video_count(k->out_dim); i++) k->out[i] = NAN;
    run_ok(world, run_one, k);
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
        OK(run_one(&rank, &k));
        para_rank_close(&rank);
        endpoint->transport->close(endpoint);
        assert_int_equal(k.peak[i], real->peak[i]);
        assert_int_equal(k.bytes[i], real->bytes[i]);
        assert_int_equal(k.parts[i], real->parts[i]);
    }
}

/* One run of a golden case on 1 to `most` ranks, in `tiles` tiles. */
static void ranks_agree(video_vae_case *g, bool decode, const char *name, int tiles, int most) {
    task one = {.g = g, .decode = decode};
    const json_t *settings = json_object_get(json_object_get(g->about.root, decode ? "decode" : "encode"), name);
    float *in = video_vae_input(g, decode, name, settings, one.in_dim, &one.tiling);
    one.in = in;
    one.out_dim[0] = one.in_dim[0];
    OK(g->class->size(g->vae, decode, one.in_dim + 1, one.tiling, one.out_dim + 1));
    one.out_dim[4] = g->class->channels(g->vae, decode, false);
    size_t n = video_count(one.out_dim);
    float *want = run_on(&one, 1, 1), *two_threads = run_on(&one, 1, 2);
    for (int ranks = 1; ranks <= most; ranks += ranks < 4 ? 1 : 2) {
        task k = one;
        float *got = run_on(&k, ranks, ranks);
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
        dry_run_agrees(&k, ranks);
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
