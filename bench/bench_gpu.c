/* Times what the cuda back end leaves to cuBLASLt and cuDNN, at FLUX's shapes: products as proposed and as tuned, few rows, convolutions, both attention kernels, and
 * FLUX's VAE as a whole on random weights; and what goes over memory between them, of FLUX and of Mochi. SPDX-License-Identifier: Apache-2.0
 *
 *   bench_gpu [--config FOLDER] [WORD]     only lines that contain WORD; FOLDER: of a VAE's config.json (bench/configs/flux.1-dev/vae)
 *
 * Medians of rounds, which wait at their end; the sides of a comparison take turns. */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backend/weights.h"
#include "core/clock.h"
#include "core/error.h"
#include "vae/autoencoder_kl.h"

enum { ROUNDS = 5, SIDES = 2 };
static const double ROUND_SECONDS = 0.04; /* of one side, after half as much that is not timed: at the power limit, as in a model's steps */

static para_device *dev;
static para_tensor probe; /* [1] F32: to wait by */
static const char *word = "";
static bool apart; /* of the side that runs */

static void must(para_status status) {
    if (status == PARA_OK) return;
    fprintf(stderr, "bench_gpu: %s\n", para_last_error());
    exit(1);
}

static void note(void *user, para_log_level level, const char *line) {
    (void)user;
    (void)level;
    printf("  %s\n", line);
}

static void wait_for_gpu(void) {
    float value;
    must(dev->ops->download(dev, &value, &probe));
}

/* Numbers between -1 and 1. */
static para_tensor make(para_dtype type, int rank, const int64_t *dim) {
    enum { BLOCK = 1 << 20 };
    static float *noise;
    para_tensor t = para_tensor_make(NULL, type, rank, dim), block = para_tensor_make(NULL, PARA_F32, 1, (int64_t[]){BLOCK});
    int64_t count = para_tensor_count(&t);
    uint32_t state = 1;
    if (!noise) {
        noise = malloc(BLOCK * sizeof *noise);
        for (int64_t i = 0; noise && i < BLOCK; i++) noise[i] = (float)(int32_t)(state = state * 1664525u + 1013904223u) * 0x1p-31f;
    }
    must(dev->ops->alloc(dev, (size_t)count * para_dtype_size(type), &t.data));
    must(dev->ops->alloc(dev, BLOCK * sizeof *noise, &block.data));
    must(dev->ops->upload(dev, block, noise));
    for (int64_t at = 0; at < count; at += BLOCK) {
        int64_t now = count - at < BLOCK ? count - at : BLOCK;
        must(dev->ops->copy(dev, para_tensor_make((char *)t.data + at * (int64_t)para_dtype_size(type), type, 1, &now), para_rows(block, 0, now)));
    }
    dev->ops->free(dev, block.data);
    return t;
}
#define MAKE(type, ...) make(type, (int)(sizeof((int64_t[]){__VA_ARGS__}) / sizeof(int64_t)), (int64_t[]){__VA_ARGS__})

/* A vector as a checkpoint's: BF16 holds it, and it stays as it is. */
static para_tensor make_constant(int64_t n) {
    para_tensor t = MAKE(PARA_F32, n);
    float *values = malloc((size_t)n * sizeof *values);
    for (int64_t i = 0; values && i < n; i++) values[i] = (float)(i % 64) / 64;
    must(dev->ops->upload(dev, t, values));
    must(dev->ops->constant(dev, t));
    free(values);
    return t;
}

static void drop(para_tensor *t) {
    if (t->data) dev->ops->free(dev, t->data);
    t->data = NULL;
}

static int by_value(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

typedef struct side {
    const char *name;
    bool tunes;
    para_attention_kernel attention;
    bool bytes; /* its work is bytes, not FLOPs */
    bool apart; /* operands of one call go in calls of their own */
    double first, once, seconds[ROUNDS];
} side;

typedef para_status (*timed)(void *args);

/* Seconds that so many calls take. */
static double spend(timed run, void *args, int calls) {
    double start = para_seconds();
    for (int i = 0; i < calls; i++) must(run(args));
    wait_for_gpu();
    return para_seconds() - start;
}

/* Runs and prints the sides; work of one call, in FLOPs or bytes. */
static void measure(timed run, void *args, double work, side *sides, int count, const char *format, ...) {
    char name[96];
    va_list list;
    va_start(list, format);
    vsnprintf(name, sizeof name, format, list);
    va_end(list);
    if (!strstr(name, word)) return;
    for (int round = -1; round < ROUNDS; round++)
        for (int i = 0; i < count; i++) {
            side *s = &sides[(i + round + 1) % count];
            dev->tunes = s->tunes;
            dev->attention = s->attention;
            apart = s->apart;
            if (round < 0) s->first = spend(run, args, 1), s->once = spend(run, args, 3) / 3;
            int calls = (int)(ROUND_SECONDS / s->once) + 1;
            if (round >= 0) spend(run, args, calls / 2), s->seconds[round] = spend(run, args, calls) / calls;
        }
    for (int i = 0; i < count; i++) {
        side *s = &sides[i];
        qsort(s->seconds, ROUNDS, sizeof *s->seconds, by_value);
        double median = s->seconds[ROUNDS / 2];
        printf("%-50s %-9s %9.1f us %7.2f T%s/s   first %.0f ms\n", name, s->name, 1e6 * median, 1e-12 * work / median,
               s->bytes ? "B" : "FLOP", 1e3 * s->first);
    }
    fflush(stdout);
}

static para_status run_linear(void *a) {
    return dev->ops->linear(dev, a);
}
static para_status run_conv(void *a) {
    return dev->ops->conv2d(dev, a);
}
static para_status run_attention(void *a) {
    return dev->ops->attention(dev, a);
}

static void linear(para_dtype type, int64_t m, int64_t n, int64_t k, para_activation f, bool accumulate) {
    para_linear w = {MAKE(PARA_BF16, n, k), accumulate ? (para_tensor){0} : make_constant(n)};
    para_linear_args a = {.x = MAKE(type, m, k), .w = &w, .y = MAKE(type, m, n), .activation = f, .accumulate = accumulate};
    side sides[SIDES] = {{.name = "proposed"}, {.name = "tuned", .tunes = true}};
    measure(run_linear, &a, 2.0 * (double)m * (double)n * (double)k, sides, type == PARA_F32 ? 1 : 2, "linear %lldx%lldx%lld %s%s%s", (long long)m,
            (long long)n, (long long)k, para_dtype_name(type), f ? " gelu" : "", accumulate ? " added" : "");
    drop(&w.weight), drop(&w.bias), drop(&a.x), drop(&a.y);
}

static void conv(int64_t size, int64_t in, int64_t out, bool held) {
    para_linear w = {MAKE(PARA_BF16, out, in, 3, 3), held ? make_constant(out) : MAKE(PARA_F32, out)};
    para_conv2d_args a = {.x = MAKE(PARA_BF16, 1, size, size, in), .w = &w, .stride = 1, .pad_top = 1, .pad_left = 1, .pad_bottom = 1, .pad_right = 1,
                          .y = MAKE(PARA_BF16, 1, size, size, out)};
    side sides[] = {{.name = held ? "bias BF16" : "bias F32", .tunes = true}};
    measure(run_conv, &a, 18.0 * (double)(size * size * in * out), sides, 1, "conv2d %lldpx %lld->%lld", (long long)size, (long long)in, (long long)out);
    drop(&w.weight), drop(&w.bias), drop(&a.x), drop(&a.y);
}

static void attention(int64_t b, int64_t h, int64_t s, int64_t d) {
    para_tensor out = MAKE(PARA_BF16, b, s, h, d);
    para_attention_args a = {.q = MAKE(PARA_BF16, b, h, s, d), .k = MAKE(PARA_BF16, b, h, s, d), .v = MAKE(PARA_BF16, b, h, s, d),
                             .out = PARA_PERMUTE(out, 0, 2, 1, 3), .scale = 0.088f};
    side sides[SIDES] = {{.name = "para", .tunes = true}, {.name = "cudnn", .tunes = true, .attention = PARA_ATTENTION_CUDNN}};
    measure(run_attention, &a, 4.0 * (double)(b * h * s) * (double)(s * d), sides, d > 128 ? 1 : 2, "attention %lldx%lldx%lldx%lld", (long long)b, (long long)h,
            (long long)s, (long long)d);
    drop(&out), drop(&a.q), drop(&a.k), drop(&a.v);
}

static para_status run_residual(void *a) {
    return dev->ops->residual(dev, a);
}
/* The end of a block: x += gate · y, or Mochi's gate · rms(y), and the next block's norm. */
static void residual(int64_t m, int64_t d, bool rms) {
    para_norm_args norm = {.kind = rms ? PARA_NORM_RMS : PARA_NORM_LAYER, .eps = 1e-6f, .scale = MAKE(PARA_F32, d), .shift = MAKE(PARA_F32, d),
                           .y = MAKE(PARA_BF16, m, d)};
    para_residual_args a = {.x = MAKE(PARA_BF16, m, d), .gate = MAKE(PARA_F32, d), .y = MAKE(PARA_BF16, m, d), .rms_norm = rms, .eps = 1e-6f,
                            .norm = &norm};
    side sides[] = {{.name = "memory", .bytes = true}};
    measure(run_residual, &a, 8.0 * (double)(m * d), sides, 1, "residual%s and norm %lldx%lld", rms ? " of rms" : "", (long long)m, (long long)d);
    drop(&norm.scale), drop(&norm.shift), drop(&norm.y), drop(&a.x), drop(&a.gate), drop(&a.y);
}

/* Norm and rotation of n operands of attention: queries, keys, values. */
typedef struct head_rows {
    int n;
    para_head_args operand[PARA_OPERANDS];
    para_tensor part[PARA_OPERANDS][2]; /* [H/2, S, D] */
} head_rows;

static para_status run_heads(void *of) {
    const head_rows *a = of;
    if (!apart) return dev->ops->heads(dev, a->n, a->operand);
    for (int i = 0; i < a->n; i++) PARA_TRY(dev->ops->heads(dev, 1, &a->operand[i]));
    return PARA_OK;
}

/* Operands lie in rows beside each other, and stay there; or each goes to two places, as where attention moves to two ranks. By tables, or by Mochi's
 * frequencies. Several are also measured in a launch each. */
static void heads(int64_t s, int64_t h, int64_t d, bool frequencies, int n, bool parts) {
    static const char *const names[] = {"", " Q+K", " Q+K+V"};
    para_tensor rows = MAKE(PARA_BF16, s, PARA_OPERANDS * h * d);
    para_tensor turn[] = {frequencies ? MAKE(PARA_F32, s, 3) : MAKE(PARA_F32, s, d), frequencies ? MAKE(PARA_F32, 3, h, d / 2) : MAKE(PARA_F32, s, d)};
    head_rows a = {.n = n};
    for (int i = 0; i < n; i++) {
        para_tensor x = para_tensor_make((uint16_t *)rows.data + i * h * d, PARA_BF16, 3, (int64_t[]){s, h, d});
        x.stride[0] = PARA_OPERANDS * h * d;
        a.operand[i] = (para_head_args){.x = x, .eps = 1e-6f, .rope_interleaved = true, .y = PARA_PERMUTE(x, 1, 0, 2)};
        for (int k = 0; k < 2 && parts; k++) a.part[i][k] = MAKE(PARA_BF16, h / 2, s, d);
        if (parts) a.operand[i].parts = 2, a.operand[i].part = a.part[i];
        if (i == PARA_VALUE) continue;
        a.operand[i].weight = MAKE(PARA_F32, d);
        if (frequencies) a.operand[i].positions = turn[0], a.operand[i].frequencies = turn[1];
        else a.operand[i].cos = turn[0], a.operand[i].sin = turn[1];
    }
    side sides[] = {{.name = n > 1 ? "together" : "memory", .bytes = true}, {.name = "apart", .bytes = true, .apart = true}};
    measure(run_heads, &a, 4.0 * (double)(n * s * h * d), sides, n > 1 ? 2 : 1, "norm and rotation %lldx%lldx%lld%s%s%s", (long long)s, (long long)h, (long long)d,
            frequencies ? " by frequencies" : "", names[n - 1], parts ? " to two parts" : "");
    for (int i = 0; i < n; i++) drop(&a.operand[i].weight), drop(&a.part[i][0]), drop(&a.part[i][1]);
    drop(&rows), drop(&turn[0]), drop(&turn[1]);
}

typedef struct decoding {
    const para_autoencoder_kl *vae;
    para_tensor latents, image;
} decoding;

static para_status run_decode(void *args) {
    const decoding *d = args;
    return para_autoencoder_kl_decode(d->vae, dev, NULL, d->latents, false, d->image);
}

static void decode(const char *folder, para_dtype type, int64_t size) {
    char path[4096];
    para_config config = {0};
    para_autoencoder_kl *vae;
    para_weights *weights;
    snprintf(path, sizeof path, "%s/config.json", folder);
    must(para_config_read(&config, path));
    must(para_autoencoder_kl_open(&vae, &config));
    must(para_weights_open(&weights));
    para_autoencoder_kl_weights(vae, weights, NULL, PARA_VAE_DECODER);
    must(para_weights_load_random(weights, dev, type));
    decoding d = {vae, MAKE(type, 1, size / 8, size / 8, 16), MAKE(type, 1, size, size, 3)};
    side sides[SIDES] = {{.name = "proposed"}, {.name = "tuned", .tunes = true}};
    measure(run_decode, &d, 0, sides, 2, "vae decode %lldpx %s", (long long)size, para_dtype_name(type));
    drop(&d.latents), drop(&d.image);
    para_weights_close(&weights);
    para_autoencoder_kl_close(&vae);
    para_config_close(&config);
}

static void all(const char *vae_folder) {
    static const int64_t flux[][2] = {{9216, 3072}, {12288, 3072}, {3072, 12288}, {3072, 3072}}, rows[] = {4608, 4096, 512};
    for (int i = 0; i < 3; i++)
        for (int j = 0; j < 4; j++) linear(PARA_BF16, rows[i], flux[j][0], flux[j][1], j == 1 ? PARA_ACT_GELU_TANH : PARA_ACT_NONE, false);
    linear(PARA_BF16, 4608, 3072, 3072, PARA_ACT_NONE, true);
    linear(PARA_F32, 28, 18432, 3072, PARA_ACT_NONE, false);
    linear(PARA_F32, 28, 9216, 3072, PARA_ACT_NONE, false);
    linear(PARA_F32, 1, 9216, 3072, PARA_ACT_NONE, false);
    residual(4608, 3072, false);
    residual(512, 3072, false);
    residual(23850, 3072, false);
    residual(23850, 3072, true);
    heads(4608, 24, 128, false, 1, false);
    heads(512, 24, 128, false, 1, false);
    heads(23850, 24, 128, false, 1, false);
    heads(23850, 24, 128, true, 1, false);
    heads(4608, 24, 128, false, 2, false);
    heads(2304, 24, 128, false, 3, true);
    heads(23850, 24, 128, true, 2, false);
    conv(128, 16, 512, true);
    conv(128, 512, 512, true);
    conv(128, 512, 512, false);
    conv(512, 512, 256, true);
    conv(1024, 256, 256, true);
    conv(1024, 256, 128, true);
    conv(1024, 128, 128, true);
    conv(1024, 128, 3, true);
    attention(1, 24, 4608, 128);
    attention(1, 1, 16384, 512);
    decode(vae_folder, PARA_BF16, 1024);
}

int main(int argc, char **argv) {
    const char *folder = "bench/configs/flux.1-dev/vae";
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--config") == 0 && i + 1 < argc) folder = argv[++i];
        else word = argv[i];
    }
    must(para_cuda_open(&dev, 0));
    dev->note = note;
    must(para_device_reserve(dev, (size_t)6 << 30));
    probe = MAKE(PARA_F32, 1);
    all(folder);
    drop(&probe);
    para_device_close(&dev);
    return 0;
}
