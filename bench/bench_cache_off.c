/* Off means off: a cache of threshold 0 against none. SPDX-License-Identifier: Apache-2.0
 *
 *   bench_cache_off MODEL [PAIRS] [THREADS]      20 pairs, all cores
 *
 * Draws the same latents with two pipelines, of which one was given threshold 0, in turns: the same ops, the same bits, and the time of the denoising
 * loop. Prints a line of CSV for each pair, then the median of off / none; fails where anything differs or the median is above 1.01. */
#include <paraattn/paraattn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "pipeline/plan.h"

static void must(para_status status) {
    if (status == PARA_OK) return;
    fprintf(stderr, "bench_cache_off: %s\n", para_last_error());
    exit(1);
}

static int by_size(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double median(double *x, int n) {
    qsort(x, (size_t)n, sizeof *x, by_size);
    return n % 2 ? x[n / 2] : (x[n / 2 - 1] + x[n / 2]) / 2;
}

static para_dry_result ops_of(para_pipeline *pipe, const para_request *request) {
    para_plan_subject s;
    para_dry_result dry;
    must(para_plan_subject_open(pipe, request, &s));
    must(para_dry_run(pipe, request, &s.geometry, &s.mesh, (para_dry_rank){.size = 1, .like = s.like}, &dry));
    return dry;
}

static bool same_ops(para_pipeline *const pipe[2], const para_request *request) {
    para_dry_result none = ops_of(pipe[0], request), off = ops_of(pipe[1], request);
    bool same = none.arena_bytes == off.arena_bytes;
    for (int i = 0; i < PARA_STAGES; i++) {
        const para_counts *a = &none.stage[i], *b = &off.stage[i];
        same = same && a->ops == b->ops && a->bytes == b->bytes && a->matmul_flops == b->matmul_flops &&
               a->attention_flops == b->attention_flops;
    }
    printf("# %lld ops in the loop without a cache, %lld with threshold 0\n",
           (long long)none.stage[PARA_STAGE_DENOISE].ops, (long long)off.stage[PARA_STAGE_DENOISE].ops);
    return same;
}

/* Both, the one or the other first; seconds of the loops. Whether they gave the same bits. */
static bool run_pair(para_pipeline *const pipe[2], const para_request *request, int first, double seconds[2]) {
    para_result *result[2];
    for (int i = 0; i < 2; i++) {
        int which = first ^ i;
        must(para_generate(pipe[which], request, &result[which]));
        seconds[which] = result[which]->denoise_seconds;
    }
    size_t bytes = (size_t)para_tensor_count(&result[0]->latents) * sizeof(float);
    bool same = memcmp(result[0]->latents.data, result[1]->latents.data, bytes) == 0;
    for (int i = 0; i < 2; i++) para_result_close(&result[i]);
    return same;
}

static void open_pipelines(const char *model, int threads, para_world **world, para_pipeline *pipe[2]) {
    para_world_options o = PARA_WORLD_OPTIONS_INIT;
    para_cache_options off = PARA_CACHE_OPTIONS_INIT;
    o.threads = threads;
    off.residual_diff_threshold = 0;
    must(para_world_open(world, &o));
    for (int i = 0; i < 2; i++) must(para_pipeline_open(&pipe[i], *world, model, NULL));
    must(para_apply_first_block_cache(pipe[1], &off));
}

int main(int argc, char **argv) {
    int pairs = argc > 2 ? atoi(argv[2]) : 20, threads = argc > 3 ? atoi(argv[3]) : 0;
    if (argc < 2 || pairs < 1 || threads < 0) {
        fprintf(stderr, "usage: bench_cache_off MODEL [PAIRS] [THREADS]\n");
        return 2;
    }
    para_world *world;
    para_pipeline *pipe[2];
    para_request request = PARA_REQUEST_INIT;
    double *ratio = calloc((size_t)pairs, sizeof *ratio), seconds[2];
    if (!ratio) return 1;
    request.prompt = "a red heart on a blue background";
    request.max_sequence_length = 48;
    request.latents_only = true;
    open_pipelines(argv[1], threads, &world, pipe);
    bool same = same_ops(pipe, &request);
    same = run_pair(pipe, &request, 0, seconds) && same; /* loads */
    printf("pair,none_seconds,off_seconds\n");
    for (int i = 0; i < pairs; i++) {
        same = run_pair(pipe, &request, i % 2, seconds) && same;
        printf("%d,%.6f,%.6f\n", i + 1, seconds[0], seconds[1]);
        ratio[i] = seconds[1] / seconds[0];
    }
    double middle = median(ratio, pairs);
    printf("# %s; median of off / none: %.4f\n", same ? "same ops, same bits" : "NOT THE SAME", middle);
    for (int i = 0; i < 2; i++) para_pipeline_close(&pipe[i]);
    para_world_close(&world);
    free(ratio);
    return same && middle <= 1.01 ? 0 : 1;
}
