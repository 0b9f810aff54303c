/* What caches save and cost over many pictures. SPDX-License-Identifier: Apache-2.0 */
#ifndef PARA_CLI_CACHE_STUDY_H
#define PARA_CLI_CACHE_STUDY_H

#include <paraattn/paraattn.h>

#include "cache_report.h"

/* A cache, and sums over the pictures that were drawn with it. */
typedef struct cache_arm {
    int derivatives;
    float threshold;
    int pictures;
    long hits, steps;
    double seconds, uncached_seconds; /* of the denoising loop */
    double flops, uncached_flops;     /* of the transformer */
    double mse, ssim;
    para_quality worst; /* of the picture with the largest mse */
    int worst_prompt;   /* its number, from 1 */
    uint64_t worst_seed;
} cache_arm;

typedef struct cache_study {
    cache_arm *arm; /* by derivatives, then by threshold */
    int arms;
    int derivatives, thresholds; /* how many of each */
    char *runs;                  /* a line of CSV for each picture */
    size_t runs_size;
    FILE *runs_stream;           /* writes them */
} cache_study;

/* Every threshold with every number of derivatives. False without memory. */
bool cache_study_open(cache_study *out, const number_list *derivatives, const number_list *thresholds);
void cache_study_close(cache_study *s);

/* Takes in a picture, drawn with the cache of an arm and without one. */
para_status cache_study_add(cache_study *s, cache_arm *arm, int prompt, uint64_t seed, const para_result *cached,
                            const para_result *uncached);

double cache_arm_speed_up(const cache_arm *arm);
double cache_arm_flops_ratio(const cache_arm *arm);
double cache_arm_psnr(const cache_arm *arm); /* of the mean squared difference over all pictures */
double cache_arm_ssim(const cache_arm *arm);

/* Writes FOLDER/cache.csv, a line for each arm, and FOLDER/runs.csv, a line for each picture. */
para_status cache_study_save(cache_study *s, const char *folder);
/* The same table for people. */
void cache_study_print(const cache_study *s);

#endif
