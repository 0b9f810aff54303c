/* Times the decoders of the video VAEs on a GPU, at diffusers' default configs with random weights in BF16, and says what memory they take of the arena.
 * SPDX-License-Identifier: Apache-2.0
 *
 *   bench_video_vae [hunyuan|mochi|cogvideox] [FRAMES HEIGHT WIDTH] [whole] [dry]
 *
 * All three at the sizes that they are used at, in tiles; `whole`: not in tiles of space; `dry`: what it takes and computes, without a GPU.
 * bench/peers/video_vae_torch.py times diffusers at the same. */
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backend/counts.h"
#include "core/clock.h"
#include "core/error.h"
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

/* The latents, between -1 and 1, into memory that the arena has. */
static para_tensor make_latents(para_device *dev, const decoder *d, const int64_t size[3]) {
    para_tensor values = para_tensor_make(NULL, PARA_F32, 5, (int64_t[]){1, size[0], size[1], size[2], d->latent_channels}), x, from;
    int64_t count = para_tensor_count(&values);
    uint32_t state = 1;
    float *host = malloc((size_t)count * sizeof *host);
    for (int64_t i = 0; host && i < count; i++) host[i] = (float)(int32_t)(state = state * 1664525u + 1013904223u) * 0x1p-31f;
    must(para_new(dev, &x, PARA_BF16, 5, values.dim));
    size_t mark = para_arena_mark(&dev->arena);
    must(para_new(dev, &from, PARA_F32, 5, values.dim));
    must(dev->ops->upload(dev, from, host));
    must(dev->ops->copy(dev, x, from));
    para_arena_release(&dev->arena, mark);
    free(host);
    return x;
}

/* Waits for all that the device was told. */
static void wait_for(para_device *dev, para_tensor y) {
    uint16_t value;
    para_tensor one = para_tensor_make(y.data, PARA_BF16, 1, (int64_t[]){1});
    must(dev->ops->download(dev, &value, &one));
}

/* Decodes once on the dry device, and if there is a GPU on that; the arena is what the former says. */
static size_t run(para_device *dev, const decoder *d, const int64_t video[3], bool tiling, size_t arena) {
    bool dry = arena == 0;
    para_config config;
    void *vae;
    para_weights *weights;
    para_tensor x, y;
    int64_t size[3];
    double seconds[ROUNDS], first = para_seconds();
    must(para_config_parse(&config, "{}", 2, "diffusers' defaults"));
    must(d->open(&vae, &config));
    must(para_weights_open(&weights));
    d->weights(vae, weights);
    if (dry) must(para_weights_load(weights, dev, NULL, PARA_BF16));
    else must(para_weights_load_random(weights, dev, PARA_BF16));
    if (!dry) must(para_device_reserve(dev, arena));
    must(d->encoded_size(vae, video, size));
    x = make_latents(dev, d, size);
    must(PARA_NEW(dev, &y, PARA_BF16, 1, video[0], video[1], video[2], 3));
    must(d->decode(vae, dev, x, tiling, y));
    size_t peak = dev->arena.peak;
    if (dry) {
        const para_counts *c = para_dry_counts(dev);
        printf("%-10s %lld x %lld x %lld%s: arena %.2f GiB, %.0f TFLOP, %.2f TB, %lld ops\n", d->name, (long long)video[0], (long long)video[1],
               (long long)video[2], tiling ? " tiled" : "", (double)peak / 0x1p30, 1e-12 * (c->matmul_flops + c->attention_flops), 1e-12 * c->bytes,
               (long long)c->ops);
    } else {
        wait_for(dev, y);
        first = para_seconds() - first;
        for (int i = 0; i < ROUNDS; i++) {
            seconds[i] = -para_seconds();
            must(d->decode(vae, dev, x, tiling, y));
            wait_for(dev, y);
            seconds[i] += para_seconds();
        }
        qsort(seconds, ROUNDS, sizeof *seconds, by_value);
        printf("%-10s decode %.3f s (%.3f to %.3f; first, with loading %.1f)\n", d->name, seconds[ROUNDS / 2], seconds[0], seconds[ROUNDS - 1], first);
    }
    fflush(stdout);
    para_weights_close(&weights);
    d->close(&vae);
    para_config_close(&config);
    return peak;
}

int main(int argc, char **argv) {
    bool tiling = true, gpu = true;
    const char *word = "";
    int64_t given[3];
    int numbers = 0;
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "whole") == 0) tiling = false;
        else if (strcmp(argv[i], "dry") == 0) gpu = false;
        else if (argv[i][0] >= '0' && argv[i][0] <= '9' && numbers < 3) given[numbers++] = atoll(argv[i]);
        else word = argv[i];
    }
    for (size_t i = 0; i < sizeof decoders / sizeof *decoders; i++) {
        const decoder *d = &decoders[i];
        const int64_t *video = numbers == 3 ? given : d->video;
        para_device *dry, *dev;
        if (!strstr(d->name, word)) continue;
        must(para_dry_open(&dry));
        para_dry_stand_for(dry, PARA_CUDA);
        size_t arena = run(dry, d, video, tiling, 0);
        para_device_close(&dry);
        if (!gpu) continue;
        must(para_cuda_open(&dev, 0));
        dev->tunes = true;
        run(dev, d, video, tiling, arena);
        para_device_close(&dev);
    }
    return 0;
}
