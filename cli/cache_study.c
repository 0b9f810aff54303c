/* What caches save and cost over many pictures. SPDX-License-Identifier: Apache-2.0 */
#include "cache_study.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

bool cache_study_open(cache_study *out, const number_list *derivatives, const number_list *thresholds) {
    *out = (cache_study){.arms = derivatives->count * thresholds->count,
                         .derivatives = derivatives->count,
                         .thresholds = thresholds->count};
    out->arm = calloc((size_t)out->arms, sizeof *out->arm);
    out->runs_stream = open_memstream(&out->runs, &out->runs_size);
    if (!out->arm || !out->runs_stream) return false;
    for (int i = 0; i < out->arms; i++) {
        out->arm[i].derivatives = (int)derivatives->value[i / thresholds->count];
        out->arm[i].threshold = (float)thresholds->value[i % thresholds->count];
    }
    fprintf(out->runs_stream, "prompt,seed,taylorseer,threshold,hits,steps,uncached_seconds,seconds,psnr_db,ssim\n");
    return true;
}

void cache_study_close(cache_study *s) {
    if (s->runs_stream) fclose(s->runs_stream);
    free(s->runs);
    free(s->arm);
    *s = (cache_study){0};
}

/* Of a picture, or of all frames of a video: the mean. */
static para_status compare(const para_result *cached, const para_result *uncached, para_quality *out) {
    int64_t size[] = {3, cached->height, cached->width}, pixels = size[0] * size[1] * size[2];
    *out = (para_quality){0};
    for (int i = 0; i < cached->num_frames; i++) {
        para_quality q;
        para_tensor a = para_tensor_make((float *)cached->images.data + i * pixels, PARA_F32, 3, size);
        para_tensor b = para_tensor_make((float *)uncached->images.data + i * pixels, PARA_F32, 3, size);
        para_status status = para_compare_pictures(&a, &b, &q);
        if (status != PARA_OK) return status;
        out->mse += q.mse / cached->num_frames;
        out->ssim += q.ssim / cached->num_frames;
    }
    out->psnr = para_psnr(out->mse);
    return PARA_OK;
}

para_status cache_study_add(cache_study *s, cache_arm *arm, int prompt, uint64_t seed, const para_result *cached,
                            const para_result *uncached) {
    const cache_summary saved = cache_summary_make(cached);
    para_quality q;
    para_status status = compare(cached, uncached, &q);
    if (status != PARA_OK) return status;
    if (arm->pictures++ == 0 || q.mse > arm->worst.mse) {
        arm->worst = q;
        arm->worst_prompt = prompt;
        arm->worst_seed = seed;
    }
    arm->hits += cached->cache_hits;
    arm->steps += cached->num_cache_steps;
    arm->seconds += cached->denoise_seconds;
    arm->uncached_seconds += uncached->denoise_seconds;
    arm->flops += saved.flops - saved.flops_saved;
    arm->uncached_flops += saved.flops;
    arm->mse += q.mse;
    arm->ssim += q.ssim;
    fprintf(s->runs_stream, "%d,%" PRIu64 ",%d,%g,%d,%d,%.6f,%.6f,%.4f,%.6f\n", prompt, seed, arm->derivatives,
            (double)arm->threshold, cached->cache_hits, cached->num_cache_steps, uncached->denoise_seconds,
            cached->denoise_seconds, q.psnr, q.ssim);
    return PARA_OK;
}

double cache_arm_speed_up(const cache_arm *arm) {
    return arm->uncached_seconds / arm->seconds;
}

double cache_arm_flops_ratio(const cache_arm *arm) {
    return arm->uncached_flops / arm->flops;
}

double cache_arm_psnr(const cache_arm *arm) {
    return para_psnr(arm->mse / arm->pictures);
}

double cache_arm_ssim(const cache_arm *arm) {
    return arm->ssim / arm->pictures;
}

static void write_arm(FILE *to, const cache_arm *a) {
    fprintf(to, "%d,%g,%d,%ld,%ld,%.4f,%.4f,%.4f,%.4f,%.3f,%.5f,%.3f,%.5f,%d,%" PRIu64 "\n", a->derivatives,
            (double)a->threshold, a->pictures, a->hits, a->steps, a->uncached_seconds / a->pictures,
            a->seconds / a->pictures, cache_arm_speed_up(a), cache_arm_flops_ratio(a), cache_arm_psnr(a),
            cache_arm_ssim(a), a->worst.psnr, a->worst.ssim, a->worst_prompt, a->worst_seed);
}

static para_status save_text(const char *folder, const char *name, const char *text, size_t size) {
    char path[4096];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    return para_save_bytes(path, text, size);
}

static para_status save_arms(const cache_study *s, const char *folder) {
    char *text = NULL;
    size_t size = 0;
    FILE *to = open_memstream(&text, &size);
    if (!to) return PARA_ERR_MEMORY;
    fprintf(to, "taylorseer,threshold,pictures,hits,steps,uncached_seconds,seconds,speed_up,flops_ratio,psnr_db,ssim,"
                "worst_psnr_db,worst_ssim,worst_prompt,worst_seed\n");
    for (int i = 0; i < s->arms; i++) write_arm(to, &s->arm[i]);
    para_status status = fclose(to) == 0 ? save_text(folder, "cache.csv", text, size) : PARA_ERR_MEMORY;
    free(text);
    return status;
}

para_status cache_study_save(cache_study *s, const char *folder) {
    para_status status = save_arms(s, folder);
    if (status == PARA_OK && fflush(s->runs_stream) != 0) status = PARA_ERR_MEMORY;
    return status == PARA_OK ? save_text(folder, "runs.csv", s->runs, s->runs_size) : status;
}

void cache_study_print(const cache_study *s) {
    printf("%10s %9s %6s %9s %11s %9s %7s %16s\n", "taylorseer", "threshold", "hits", "speed-up", "FLOPs ratio", "PSNR",
           "SSIM", "worst picture");
    for (int i = 0; i < s->arms; i++) {
        const cache_arm *a = &s->arm[i];
        printf("%10d %9g %5.1f%% %9.2f %11.2f %6.1f dB %7.4f %6.1f dB, no. %d\n", a->derivatives, (double)a->threshold,
               100.0 * (double)a->hits / (double)a->steps, cache_arm_speed_up(a), cache_arm_flops_ratio(a),
               cache_arm_psnr(a), cache_arm_ssim(a), a->worst.psnr, a->worst_prompt);
    }
}
