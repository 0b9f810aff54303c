/* Times the decoders of the video VAEs, at diffusers' default configs with random weights in BF16 on a GPU, and says what memory they take of the arena.
 * SPDX-License-Identifier: Apache-2.0
 *
 *   bench_video_vae [hunyuan|mochi|cogvideox] [FRAMES HEIGHT WIDTH] [whole] [dry]
 *
 * All three at the sizes that they are used at, in tiles; `whole`: not in tiles of space; `dry`: what it takes and computes, without a GPU.
 *
 *   bench_video_vae FAMILY FRAMES HEIGHT WIDTH vae=FOLDER latents=FILE video=FILE [f32] [cpu]
 *
 * One side of bench/compare_video_vae.py: decodes `latents` of a safetensors file, [1, channels, frames, height, width], by a folder's weights, saves `video`,
 * [frames, height, width, 3], says "ready", and for each line of standard input times another decode: its milliseconds, and the bytes of weights and arena. */
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <paraattn/output.h>

#include "backend/counts.h"
#include "core/clock.h"
#include "core/error.h"
#include "io/checkpoint.h"
#include "vae/autoencoder_kl_cogvideox.h"
#include "vae/autoencoder_kl_hunyuan_video.h"
#include "vae/autoencoder_kl_mochi.h"

enum { ROUNDS = 3 };

/* A decoder behind one face. */
typedef struct decoder {
    const char *name;
    int64_t latent_channels, video[3]; /* frames, height, width */
    para_status (*open)(void **vae, const para_config *config);
    void (*close)(void **vae);
    void (*weights)(void *vae, para_weights *list);
    para_status (*encoded_size)(const void *vae, const int64_t in[3], int64_t out[3]);
    para_status (*decode)(const void *vae, para_device *dev, para_tensor latents, bool tiling, para_tensor video);
} decoder;

#define FACE(name, ...)                                                                                                \
    static para_status name##_open(void **vae, const para_config *config) {                                            \
        return para_autoencoder_kl_##name##_open((para_autoencoder_kl_##name **)vae, config);                          \
    }                                                                                                                  \
    static void name##_close(void **vae) {                                                                             \
        para_autoencoder_kl_##name##_close((para_autoencoder_kl_##name **)vae);                                        \
    }                                                                                                                  \
    static void name##_weights(void *vae, para_weights *list) {                                                        \
        para_autoencoder_kl_##name##_weights(vae, list, __VA_ARGS__ PARA_VAE_DECODER);                                 \
    }                                                                                                                  \
    static para_status name##_encoded(const void *vae, const int64_t in[3], int64_t out[3]) {                          \
        return para_autoencoder_kl_##name##_encoded_size(vae, in, false, out);                                         \
    }                                                                                                                  \
    static para_status name##_decode(const void *vae, para_device *dev, para_tensor x, bool tiling, para_tensor y) {   \
        return para_autoencoder_kl_##name##_decode(vae, dev, NULL, x, tiling, y);                                      \
    }
FACE(hunyuan_video, NULL, )
FACE(mochi)
FACE(cogvideox)

static const decoder decoders[] = {
    {"hunyuan", 16, {129, 720, 1280}, hunyuan_video_open, hunyuan_video_close, hunyuan_video_weights, hunyuan_video_encoded, hunyuan_video_decode},
    {"mochi", 12, {85, 480, 848}, mochi_open, mochi_close, mochi_weights, mochi_encoded, mochi_decode},
    {"cogvideox", 16, {49, 480, 720}, cogvideox_open, cogvideox_close, cogvideox_weights, cogvideox_encoded, cogvideox_decode},
};

static void must(para_status status) {
    if (status == PARA_OK) return;
    fprintf(stderr, "bench_video_vae: %s\n", para_last_error());
    exit(1);
}

static int by_value(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

/* What is decoded. */
typedef struct subject {
    const decoder *d;
    int64_t video[3]; /* frames, height, width */
    bool tiling, cpu;
    para_dtype type;
    const char *folder, *latents, *save; /* or all NULL: random weights and latents, and the video goes nowhere */
} subject;

/* [1, channels, frames, height, width] on the host, F32 between -1 and 1. */
static para_tensor random_latents(const subject *s, const int64_t size[3]) {
    para_tensor t = para_tensor_make(NULL, PARA_F32, 5, (int64_t[]){1, s->d->latent_channels, size[0], size[1], size[2]});
    int64_t count = para_tensor_count(&t);
    uint32_t state = 1;
    float *host = malloc((size_t)count * sizeof *host);
    for (int64_t i = 0; host && i < count; i++) host[i] = (float)(int32_t)(state = state * 1664525u + 1013904223u) * 0x1p-31f;
    t.data = host;
    return t;
}

/* [1, frames, height, width, channels] in memory that the arena has. */
static para_tensor make_latents(para_device *dev, const subject *s, const int64_t size[3]) {
    para_tensor host, from, x;
    if (s->latents) must(para_load_tensor(&host, "latents", s->latents));
    else host = random_latents(s, size);
    if (host.rank != 5) must(para_fail(PARA_ERR_SHAPE, "latents have %d dimensions, not 5", host.rank));
    must(PARA_NEW(dev, &x, s->type, 1, size[0], size[1], size[2], host.dim[1]));
    size_t mark = para_arena_mark(&dev->arena);
    must(para_new(dev, &from, host.dtype, 5, host.dim));
    must(dev->ops->upload(dev, from, host.data));
    must(dev->ops->copy(dev, x, PARA_PERMUTE(from, 0, 2, 3, 4, 1)));
    para_arena_release(&dev->arena, mark);
    if (s->latents) para_tensor_free(&host);
    else free(host.data);
    return x;
}

/* Waits for all that the device was told. */
static void wait_for(para_device *dev, para_tensor y) {
    float value;
    para_tensor one = para_tensor_make(y.data, y.dtype, 1, (int64_t[]){1});
    must(dev->ops->download(dev, &value, &one));
}

/* Seconds of a decode. */
static double decode(para_device *dev, const subject *s, const void *vae, para_tensor x, para_tensor y) {
    double start = para_seconds();
    must(s->d->decode(vae, dev, x, s->tiling, y));
    wait_for(dev, y);
    return para_seconds() - start;
}

static void save_video(para_device *dev, const subject *s, para_tensor y) {
    para_tensor host = para_tensor_make(NULL, y.dtype, 4, y.dim + 1);
    host.data = malloc((size_t)para_tensor_count(&y) * para_dtype_size(y.dtype));
    must(dev->ops->download(dev, host.data, &y));
    must(para_save_tensor(&host, "video", s->save));
    free(host.data);
}

/* For each line of standard input the milliseconds of a decode, and bytes. */
static void decode_on_demand(para_device *dev, const subject *s, const void *vae, para_tensor x, para_tensor y, int64_t bytes) {
    char line[64];
    save_video(dev, s, y);
    printf("ready\n");
    fflush(stdout);
    while (fgets(line, sizeof line, stdin)) {
        printf("%.5f %lld\n", 1e3 * decode(dev, s, vae, x, y), (long long)bytes);
        fflush(stdout);
    }
}

static void show_counts(para_device *dev, const subject *s) {
    const para_counts *c = para_dry_counts(dev);
    printf("%-10s %lld x %lld x %lld%s: arena %.2f GiB, %.0f TFLOP, %.2f TB, %lld ops\n", s->d->name, (long long)s->video[0], (long long)s->video[1],
           (long long)s->video[2], s->tiling ? " tiled" : "", (double)dev->arena.peak / 0x1p30, 1e-12 * (c->matmul_flops + c->attention_flops),
           1e-12 * c->bytes, (long long)c->ops);
    fflush(stdout);
}

static void decode_rounds(para_device *dev, const subject *s, const void *vae, para_tensor x, para_tensor y, double first) {
    double seconds[ROUNDS];
    for (int i = 0; i < ROUNDS; i++) seconds[i] = decode(dev, s, vae, x, y);
    qsort(seconds, ROUNDS, sizeof *seconds, by_value);
    printf("%-10s decode %.3f s (%.3f to %.3f; first, with loading %.1f)\n", s->d->name, seconds[ROUNDS / 2], seconds[0], seconds[ROUNDS - 1], first);
    fflush(stdout);
}

static void load(para_weights *weights, para_device *dev, const subject *s, const para_checkpoint *checkpoint, bool dry) {
    if (s->folder || dry) must(para_weights_load(weights, dev, checkpoint, s->type));
    else must(para_weights_load_random(weights, dev, s->type));
}

/* Decodes once on the dry device (arena 0), and on another one, whose arena is what the former says, as often as is asked. */
static size_t run(para_device *dev, const subject *s, size_t arena) {
    bool dry = arena == 0;
    char path[4096];
    para_config config;
    para_checkpoint *checkpoint = NULL;
    void *vae;
    para_weights *weights;
    para_tensor x, y;
    int64_t size[3];
    double first = para_seconds();
    snprintf(path, sizeof path, "%s/config.json", s->folder ? s->folder : "");
    if (s->folder) must(para_config_read(&config, path));
    else must(para_config_parse(&config, "{}", 2, "diffusers' defaults"));
    if (s->folder) must(para_checkpoint_open(&checkpoint, s->folder));
    must(s->d->open(&vae, &config));
    must(para_weights_open(&weights));
    s->d->weights(vae, weights);
    load(weights, dev, s, checkpoint, dry);
    if (!dry) must(para_device_reserve(dev, arena));
    must(s->d->encoded_size(vae, s->video, size));
    x = make_latents(dev, s, size);
    must(PARA_NEW(dev, &y, s->type, 1, s->video[0], s->video[1], s->video[2], 3));
    must(s->d->decode(vae, dev, x, s->tiling, y));
    size_t peak = dev->arena.peak;
    if (dry) {
        if (!s->folder) show_counts(dev, s);
    } else {
        wait_for(dev, y);
        if (s->folder) decode_on_demand(dev, s, vae, x, y, para_weights_bytes(weights) + (int64_t)peak);
        else decode_rounds(dev, s, vae, x, y, para_seconds() - first);
    }
    para_weights_close(&weights);
    s->d->close(&vae);
    para_checkpoint_close(&checkpoint);
    para_config_close(&config);
    return peak;
}

/* Whether the word is NAME=VALUE, and its value. */
static bool value_of(const char *word, const char *name, const char **value) {
    size_t n = strlen(name);
    if (strncmp(word, name, n) != 0 || word[n] != '=') return false;
    *value = word + n + 1;
    return true;
}

int main(int argc, char **argv) {
    subject s = {.tiling = true, .type = PARA_BF16};
    bool only_dry = false;
    const char *word = "";
    int64_t given[3];
    int numbers = 0;
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "whole") == 0) s.tiling = false;
        else if (strcmp(argv[i], "dry") == 0) only_dry = true;
        else if (strcmp(argv[i], "cpu") == 0) s.cpu = true;
        else if (strcmp(argv[i], "f32") == 0) s.type = PARA_F32;
        else if (argv[i][0] >= '0' && argv[i][0] <= '9' && numbers < 3) given[numbers++] = atoll(argv[i]);
        else if (!value_of(argv[i], "vae", &s.folder) && !value_of(argv[i], "latents", &s.latents) && !value_of(argv[i], "video", &s.save)) word = argv[i];
    }
    for (size_t i = 0; i < sizeof decoders / sizeof *decoders; i++) {
        para_device *dry, *dev;
        s.d = &decoders[i];
        memcpy(s.video, numbers == 3 ? given : s.d->video, sizeof s.video);
        if (!strstr(s.d->name, word)) continue;
        must(para_dry_open(&dry));
        para_dry_stand_for(dry, s.cpu ? PARA_CPU : PARA_CUDA);
        size_t arena = run(dry, &s, 0);
        para_device_close(&dry);
        if (only_dry) continue;
        must(para_device_open(s.cpu ? PARA_CPU : PARA_CUDA, 0, 2, &dev));
        dev->tunes = true;
        run(dev, &s, arena);
        para_device_close(&dev);
    }
    return 0;
}
