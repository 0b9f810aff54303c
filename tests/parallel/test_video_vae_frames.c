/* Frames that video VAEs hand out: in order, the very pixels of a decoded video, as soon as they are done, on 1 to 3 ranks; and the memory that takes.
 * SPDX-License-Identifier: Apache-2.0 */
#include "golden/video_vae_case.h"

#include "comm/rank.h"
#include "rank_checks.h"
#include "test_device.h"

enum { MOST_RANKS = 3, SHORT = 17, LONG = 33 /* frames of latents */ };

/* A decoder at work. */
typedef struct decoding {
    const char *folder, *run;      /* whose weights and tiles; how, as case.json has it */
    int64_t videos, height, width; /* latents */
    double first; /* of the work before the first frame, at most, on one rank; beside it what was measured */
    bool holds;   /* tiles in space hold all frames until the last of them */
} decoding;

static const decoding decodings[] = {
    {"video-vae-hunyuan", "frames", 2, 2, 1, 0.05, false},    /* 0.03 */
    {"video-vae-hunyuan", "tiled", 1, 3, 4, 0.10, false},     /* 0.09 */
    {"video-vae-mochi", "whole", 1, 3, 2, 0.13, false},       /* 0.11 */
    {"video-vae-mochi", "tiled", 1, 9, 7, 0.95, true},        /* 0.93: 11 of 12 tiles, and 2 of 17 frames of latents */
    {"video-vae-cogvideox", "batches", 1, 2, 1, 0.14, false}, /* 0.12 */
    {"video-vae-cogvideox", "factors", 1, 3, 4, 0.87, true},  /* 0.85: 5 of 6 tiles, and 3 of 17 frames of latents */
};

/* What the ranks are asked to do, and what the first found. */
typedef struct task {
    const video_vae_case *g;
    const decoding *d;
    bool tiling;
    int64_t in_dim[5], out_dim[5]; /* [n, f, h, w, C] */
    const float *in, *want;
    int64_t fail_at;            /* the sink fails with this frame, from 1 on; 0: never */
    int64_t frames;             /* that came */
    int64_t asked, asked_first; /* how often the device's check was asked: in all, and before the first frame */
    size_t bytes;               /* of the arena, beside the latents */
    para_rank *rank;
    para_status (*check)(void *user);
    void *check_user;
} task;

static para_status count_check(void *user) {
    task *k = user;
    k->asked++;
    return k->check ? k->check(k->check_user) : PARA_OK;
}

/* Some frames [f, H, W, C]: the next ones, bit by bit. */
static para_status take(void *user, int64_t item, int64_t first, para_tensor frames) {
    task *k = user;
    para_device *dev = k->rank->device;
    const int64_t *dim = k->out_dim;
    size_t mark = para_arena_mark(&dev->arena), values = (size_t)(frames.dim[0] * dim[2] * dim[3] * dim[4]),
           before = (size_t)(k->frames * dim[2] * dim[3] * dim[4]);
    para_tensor copy;
    if (k->frames == 0) k->asked_first = k->asked;
    EXPECT(k->rank->index == 0, "rank %d gets frames", k->rank->index);
    EXPECT(item * dim[1] + first == k->frames, "frame %d of video %d comes after %d frames", (int)first, (int)item,
           (int)k->frames);
    EXPECT(frames.rank == 4 && frames.dim[0] > 0 && frames.dim[1] == dim[2] && frames.dim[2] == dim[3] &&
               frames.dim[3] == dim[4],
           "frames are of another size");
    float *host = malloc(values * sizeof *host);
    PARA_TRY(para_new(dev, &copy, PARA_F32, 4, frames.dim));
    PARA_TRY(dev->ops->copy(dev, copy, frames));
    PARA_TRY(dev->ops->download(dev, host, &copy));
    bool same = memcmp(host, k->want + before, values * sizeof *host) == 0;
    free(host);
    EXPECT(same, "frames from %d on are not those of the whole video", (int)k->frames);
    para_arena_release(&dev->arena, mark);
    k->frames += frames.dim[0];
    return k->fail_at && k->frames >= k->fail_at ? para_fail(PARA_ERR_IO, "the sink is full") : PARA_OK;
}

/* With `want` frame by frame, else into `out`. */
static para_status decode(para_rank *rank, void *user) {
    task *k = user;
    para_device *dev = rank->device;
    para_comm comm = para_world_comm(rank);
    para_tensor x, y;
    PARA_TRY(para_new(dev, &x, PARA_F32, 5, k->in_dim));
    PARA_TRY(dev->ops->upload(dev, x, k->in));
    size_t mark = para_arena_mark(&dev->arena);
    if (!k->want) {
        float *out = malloc(video_count(k->out_dim) * sizeof *out);
        PARA_TRY(para_new(dev, &y, PARA_F32, 5, k->out_dim));
        PARA_TRY(k->g->class->run(k->g->vae, true, dev, NULL, x, k->tiling, y));
        PARA_TRY(dev->ops->download(dev, out, &y));
        k->want = out;
        return PARA_OK;
    }
    if (rank->index) return k->g->class->decode_frames(k->g->vae, dev, &comm, x, k->tiling, &(para_vae_sink){take, k});
    k->rank = rank;
    k->check = dev->check, k->check_user = dev->check_user;
    dev->check = count_check, dev->check_user = k;
    dev->arena.peak = dev->arena.used;
    para_status status = k->g->class->decode_frames(k->g->vae, dev, &comm, x, k->tiling, &(para_vae_sink){take, k});
    dev->check = k->check, dev->check_user = k->check_user;
    PARA_TRY(status);
    EXPECT(para_arena_mark(&dev->arena) == mark, "the arena is not as before");
    k->bytes = dev->arena.peak - mark;
    return PARA_OK;
}

/* Latents from -1 to 1. */
static float *make_latents(const int64_t dim[5]) {
    float *x = malloc(video_count(dim) * sizeof *x);
    uint32_t s = 7;
    for (size_t i = 0; i < video_count(dim); i++) x[i] = (float)(int32_t)(s = s * 1664525u + 1013904223u) * 0x1p-31f;
    return x;
}

/* Decodes so many frames of latents on 1 to 3 ranks; the bytes of each. */
static void decode_on_ranks(video_vae_case *g, const decoding *d, int64_t frames, size_t bytes[MOST_RANKS]) {
    const json_t *settings = json_object_get(json_object_get(g->about.root, "decode"), d->run);
    task k = {.g = g, .d = d, .in_dim = {d->videos, frames, d->height, d->width}, .out_dim = {d->videos}};
    g->class->set_tiles(g->vae, json_object_get(settings, "tiles"));
    k.tiling = json_is_true(json_object_get(settings, "tiling"));
    k.in_dim[4] = g->class->channels(g->vae, true, true);
    k.out_dim[4] = g->class->channels(g->vae, true, false);
    OK(g->class->size(g->vae, true, k.in_dim + 1, k.tiling, k.out_dim + 1));
    float *in = make_latents(k.in_dim);
    k.in = in;
    for (int ranks = 0; ranks <= MOST_RANKS; ranks++) { /* 0: the whole video */
        para_world *world = open_world(ranks ? ranks : 1, 60);
        k.frames = k.asked = 0;
        run_ok(world, decode, &k);
        if (ranks) {
            assert_int_equal(k.frames, d->videos * k.out_dim[1]);
            bytes[ranks - 1] = k.bytes;
            print_message("  %s %s, %d frames, %d ranks: the first after %.2f of the first rank's work; %.2f MB\n",
                          g->class->name, d->run, (int)k.frames, ranks, (double)k.asked_first / (double)k.asked,
                          (double)k.bytes / 1e6);
        }
        /* Ranks work on as many tiles at a time, and the first is a tile ahead, so that the first frame comes after more of them. */
        if (ranks == 1 || (ranks > 1 && !d->holds))
            assert_true((double)k.asked_first <= d->first * (ranks > 1 ? 1 + ranks : 1) * (double)k.asked);
        para_world_close(&world);
    }
    if (frames == SHORT) {
        para_world *world = open_world(MOST_RANKS, 60);
        k.frames = k.asked = 0;
        k.fail_at = k.out_dim[1] / 2;
        run_fails(world, decode, &k, PARA_ERR_IO, "the sink is full");
        assert_true(k.frames < d->videos * k.out_dim[1] || d->holds);
        para_world_close(&world);
    }
    free((void *)(uintptr_t)k.want);
    free(in);
}

static void frames_come_as_they_are_done(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof decodings / sizeof *decodings; i++) {
        const decoding *d = &decodings[i];
        video_vae_case g;
        para_weights *weights;
        para_device *device;
        size_t few[MOST_RANKS], many[MOST_RANKS];
        video_vae_open(&g, d->folder);
        OK(test_open_device(&device));
        OK(para_weights_open(&weights));
        g.class->weights(g.vae, weights, g.checkpoint, PARA_VAE_DECODER);
        OK(para_weights_load(weights, device, g.checkpoint, PARA_F32));
        decode_on_ranks(&g, d, SHORT, few);
        decode_on_ranks(&g, d, LONG, many);
        /* A longer video takes no more, but where tiles are of all frames. */
        for (int r = 0; r < MOST_RANKS && !d->holds; r++) assert_int_equal(few[r], many[r]);
        para_weights_close(&weights);
        para_device_close(&device);
        video_vae_close(&g);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(frames_come_as_they_are_done),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
