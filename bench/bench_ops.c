/* Times the ops of the cpu back end at the shapes of a middle FLUX config and of its autoencoder.
 * SPDX-License-Identifier: Apache-2.0
 *
 *   bench_ops [--threads N] [--repeats N] [WORD]     only lines that contain WORD
 *
 * Prints the best wall-clock time and the best CPU time per thread: on a busy machine the second is the one to read
 * (with one thread). tools/bench_torch_ops.py prints the same lines for PyTorch. */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "backend/backend.h"
#include "core/error.h"

enum { ARENA = 900 << 20 };

static para_device *dev;
static int repeats = 5;
static const char *word = "";

static void must(para_status status) {
    if (status == PARA_OK) return;
    fprintf(stderr, "bench_ops: %s\n", para_last_error());
    exit(1);
}

static double seconds(clockid_t clock) {
    struct timespec t;
    clock_gettime(clock, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* Values between -1 and 1 that no branch predictor or flush of zeros makes cheap. */
static para_tensor make(para_dtype type, int rank, const int64_t *dim) {
    para_tensor t;
    must(para_new(dev, &t, type, rank, dim));
    uint32_t state = 1;
    for (int64_t i = 0; i < para_tensor_count(&t); i++) {
        state = state * 1664525u + 1013904223u;
        float f = (float)(int32_t)state * 0x1p-31f;
        if (type == PARA_F32) ((float *)t.data)[i] = f;
        else memcpy((char *)t.data + 2 * i, (char *)&f + 2, 2); /* bf16, cut off */
    }
    return t;
}
#define MAKE(type, ...) make(type, (int)(sizeof((int64_t[]){__VA_ARGS__}) / sizeof(int64_t)), (int64_t[]){__VA_ARGS__})

typedef para_status (*timed)(void *args);

/* Runs and prints; gigas is GFLOP or GB of one run. */
static void measure(timed run, void *args, double gigas, const char *unit, const char *format, ...) {
    char name[96];
    va_list list;
    va_start(list, format);
    vsnprintf(name, sizeof name, format, list);
    va_end(list);
    if (!strstr(name, word)) return;
    double wall = 1e9, cpu = 1e9;
    must(run(args));
    for (int i = 0; i < repeats; i++) {
        double w = seconds(CLOCK_MONOTONIC), c = seconds(CLOCK_PROCESS_CPUTIME_ID);
        must(run(args));
        w = seconds(CLOCK_MONOTONIC) - w;
        c = (seconds(CLOCK_PROCESS_CPUTIME_ID) - c) / dev->threads;
        if (w < wall) wall = w;
        if (c < cpu) cpu = c;
    }
    printf("%-44s %9.3f ms wall %9.3f ms cpu %8.1f %s\n", name, 1e3 * wall, 1e3 * cpu, gigas / cpu, unit);
    fflush(stdout);
}

static const char *text(para_dtype type) {
    return type == PARA_F32 ? "f32" : "bf16";
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
static para_status run_norm(void *a) {
    return dev->ops->norm(dev, a);
}
static para_status run_residual(void *a) {
    return dev->ops->residual(dev, a);
}
static para_status run_head(void *a) {
    return dev->ops->heads(dev, 1, a);
}
static para_status run_group_norm(void *a) {
    return dev->ops->group_norm(dev, a);
}
static para_status run_activate(void *a) {
    para_tensor *x = a;
    return dev->ops->activate(dev, PARA_ACT_GELU_TANH, *x, *x);
}

static void linear(para_dtype type, para_dtype weight_type, int64_t m, int64_t n, int64_t k, para_activation f,
                   int64_t pad) {
    size_t mark = para_arena_mark(&dev->arena);
    para_linear w = {MAKE(weight_type, n, k), MAKE(PARA_F32, n)};
    para_tensor x = MAKE(type, m, k + pad), y = MAKE(type, m, n + pad);
    x.dim[1] = k;
    y.dim[1] = n;
    para_linear_args a = {.x = x, .w = &w, .y = y, .activation = f};
    double bytes = (double)(n * k) * (double)para_dtype_size(weight_type);
    measure(run_linear, &a, m > 16 ? 2e-9 * (double)m * (double)n * (double)k : 1e-9 * bytes,
            m > 16 ? "GFLOP/s" : "GB/s", "linear %lldx%lldx%lld %s w %s%s%s", (long long)m, (long long)n, (long long)k,
            text(type), text(weight_type), f ? " gelu" : "", pad ? " strided" : "");
    para_arena_release(&dev->arena, mark);
}

static void attention(para_dtype type, int64_t h, int64_t s, int64_t d) {
    size_t mark = para_arena_mark(&dev->arena);
    para_attention_args a = {.q = MAKE(type, 1, h, s, d),
                             .k = MAKE(type, 1, h, s, d),
                             .v = MAKE(type, 1, h, s, d),
                             .out = PARA_PERMUTE(MAKE(type, 1, s, h, d), 0, 2, 1, 3),
                             .scale = 0.1f};
    measure(run_attention, &a, 4e-9 * (double)(h * s * s * d), "GFLOP/s", "attention %lldx%lldx%lld %s", (long long)h,
            (long long)s, (long long)d, text(type));
    para_arena_release(&dev->arena, mark);
}

static void conv(para_dtype type, int64_t size, int64_t in, int64_t out, int64_t kernel) {
    size_t mark = para_arena_mark(&dev->arena);
    para_linear w = {MAKE(type, out, in, kernel, kernel), MAKE(PARA_F32, out)};
    int pad = (int)kernel / 2;
    para_conv2d_args a = {.x = MAKE(type, 1, size, size, in),
                          .w = &w,
                          .stride = 1,
                          .pad_top = pad,
                          .pad_left = pad,
                          .pad_bottom = pad,
                          .pad_right = pad,
                          .y = MAKE(type, 1, size, size, out)};
    measure(run_conv, &a, 2e-9 * (double)(size * size * in * out * kernel * kernel), "GFLOP/s",
            "conv2d %lldpx %lld->%lld k%lld %s", (long long)size, (long long)in, (long long)out, (long long)kernel,
            text(type));
    para_arena_release(&dev->arena, mark);
}

static void rows(para_dtype type, int64_t m, int64_t d) {
    size_t mark = para_arena_mark(&dev->arena);
    para_tensor x = MAKE(type, m, d), y = MAKE(type, m, d), z = MAKE(type, m, d), v = MAKE(PARA_F32, d);
    double gigabytes = 1e-9 * (double)(m * d) * (double)para_dtype_size(type);
    para_norm_args norm = {.kind = PARA_NORM_LAYER, .eps = 1e-6f, .x = x, .scale = v, .shift = v, .y = y};
    measure(run_norm, &norm, 2 * gigabytes, "GB/s", "norm %lldx%lld %s", (long long)m, (long long)d, text(type));
    para_residual_args residual = {.x = x, .gate = v, .y = z, .norm = &norm};
    measure(run_residual, &residual, 4 * gigabytes, "GB/s", "residual+norm %lldx%lld %s", (long long)m, (long long)d,
            text(type));
    measure(run_activate, &x, 2 * gigabytes, "GB/s", "gelu %lldx%lld %s", (long long)m, (long long)d, text(type));
    int64_t width = 64, h = d / width;
    para_head_args head = {.x = PARA_RESHAPE(x, m, h, width),
                           .weight = MAKE(PARA_F32, width),
                           .eps = 1e-6f,
                           .cos = MAKE(PARA_F32, m, width),
                           .sin = MAKE(PARA_F32, m, width),
                           .rope_interleaved = true,
                           .y = PARA_RESHAPE(y, h, m, width)};
    measure(run_head, &head, 2 * gigabytes, "GB/s", "head %lldx%lldx%lld %s", (long long)m, (long long)h,
            (long long)width, text(type));
    para_arena_release(&dev->arena, mark);
}

static void group_norm(para_dtype type, int64_t size, int64_t c) {
    size_t mark = para_arena_mark(&dev->arena);
    para_group_norm_args a = {.x = MAKE(type, 1, size, size, c),
                              .groups = 32,
                              .eps = 1e-6f,
                              .weight = MAKE(PARA_F32, c),
                              .bias = MAKE(PARA_F32, c),
                              .activation = PARA_ACT_SILU,
                              .y = MAKE(type, 1, size, size, c)};
    measure(run_group_norm, &a, 3e-9 * (double)(size * size * c) * (double)para_dtype_size(type), "GB/s",
            "group_norm+silu %lldpx %lld %s", (long long)size, (long long)c, text(type));
    para_arena_release(&dev->arena, mark);
}

static void all(para_dtype type) {
    linear(type, type, 1152, 1536, 1536, PARA_ACT_NONE, 0);
    linear(type, type, 1152, 6144, 1536, PARA_ACT_GELU_TANH, 0);
    linear(type, type, 1152, 1536, 6144, PARA_ACT_NONE, 0);
    linear(type, type, 1152, 6144, 1536, PARA_ACT_GELU_TANH, 1536);
    linear(type, type == PARA_F32 ? PARA_BF16 : PARA_F32, 1152, 1536, 1536, PARA_ACT_NONE, 0);
    linear(type, type, 577, 384, 384, PARA_ACT_NONE, 0);
    linear(type, type, 1, 9216, 1536, PARA_ACT_NONE, 0);
    linear(type, PARA_BF16, 1, 9216, 1536, PARA_ACT_NONE, 0);
    linear(type, type, 8, 9216, 1536, PARA_ACT_NONE, 0);
    linear(type, type, 16, 6144, 1536, PARA_ACT_NONE, 0);
    linear(type, type, 64, 6144, 1536, PARA_ACT_NONE, 0);
    attention(type, 24, 1152, 64);
    attention(type, 12, 1152, 128);
    attention(type, 4, 4608, 128);
    attention(type, 1, 1024, 512);
    attention(type, 8, 577, 48);
    rows(type, 1152, 1536);
    conv(type, 32, 512, 512, 3);
    conv(type, 64, 512, 512, 3);
    conv(type, 128, 256, 256, 3);
    conv(type, 256, 128, 128, 3);
    conv(type, 256, 128, 3, 3);
    conv(type, 128, 512, 256, 1);
    group_norm(type, 256, 128);
    group_norm(type, 64, 512);
}

int main(int argc, char **argv) {
    int threads = 2;
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--threads") == 0 && i + 1 < argc) threads = atoi(argv[++i]);
        else if (strcmp(argv[i], "--repeats") == 0 && i + 1 < argc) repeats = atoi(argv[++i]);
        else word = argv[i];
    }
    must(para_cpu_open(&dev, threads));
    must(para_device_reserve(dev, ARENA));
    all(PARA_F32);
    all(PARA_BF16);
    para_device_close(&dev);
    return 0;
}
