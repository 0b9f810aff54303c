/* First Block Cache: steps that the one before nearly gave already are not computed. Part of libparaattn; SPDX-License-Identifier: Apache-2.0
 *
 *     para_cache_options cache = PARA_CACHE_OPTIONS_INIT;
 *     cache.residual_diff_threshold = 0.08f;
 *     para_apply_first_block_cache(pipe, &cache);
 *
 * A step runs the transformer's first block. r is what that block added to the image tokens, and d = mean |r_prev − r| / mean |r_prev|, where r_prev is
 * that of the last step that was computed. If d is below the threshold, what the other blocks added then is added again (a hit); else they are
 * computed. Every item (a picture, or its half of CFG) decides for itself and comes out as it would alone, on any number of ranks.
 * Sources: ParaAttention's First Block Cache (para_attn.first_block_cache), TeaCache arXiv:2411.19108, TaylorSeer arXiv:2503.06923.
 */
#ifndef PARAATTN_CACHE_H
#define PARAATTN_CACHE_H

#include "pipeline.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct para_cache_options {
    size_t size;                             /* sizeof(para_cache_options), set by PARA_CACHE_OPTIONS_INIT */
    float residual_diff_threshold;           /* steps whose d is below it are hits; 0: none, as without a cache (0.08) */
    float negative_residual_diff_threshold;  /* of the negative half of CFG (-1: the same) */
    int warmup_steps;                        /* first steps that are computed in any case (0) */
    int max_consecutive_hits;                /* hits in a row, at most (-1: any number) */
    int max_hits;                            /* hits of an item, at most (-1: any number) */
    int downsample_factor;                   /* of r every so many-th channel is compared (1) */
    int taylorseer_derivatives;              /* the other blocks' part is extrapolated with so many derivatives, 0 to 8 (0: it stays as it was) */
    bool joint;                              /* the halves of CFG decide together (false) */
    const int *skip_layers;                  /* blocks that the negative half leaves out while they are computed, 1 to the last; copied (NULL) */
    int num_skip_layers;                     /* of them (0) */
    float skip_start, skip_end;              /* steps for which it does, as parts of all steps: skip_start ≤ step / steps < skip_end (0, 0.1) */
} para_cache_options;

#define PARA_CACHE_OPTIONS_INIT { sizeof(para_cache_options), 0.08f, -1.0f, 0, -1, -1, 1, 0, false, NULL, 0, 0.0f, 0.1f }

/* Applies the cache to every request from now on; the last call holds. `options` may be NULL for the defaults; a threshold of 0 takes it back. Under
 * MPI every process makes the same call. What a cached step looks like, and what it saves, is in the result. PARA_ERR_ARGUMENT naming the field,
 * PARA_ERR_MEMORY, and what opening the transformer returns. */
PARA_API para_status para_apply_first_block_cache(para_pipeline *pipe, const para_cache_options *options);

typedef struct para_cache_calibration_options {
    size_t size;                     /* sizeof(para_cache_calibration_options), set by PARA_CACHE_CALIBRATION_OPTIONS_INIT */
    double psnr;                     /* that cached pictures shall have to the uncached ones, in dB (32) */
    int pictures;                    /* that are drawn for every threshold (3) */
    int trials;                      /* thresholds that are tried, at most (6) */
    const para_cache_options *cache; /* the cache but for its residual_diff_threshold, which does not count (NULL: the defaults) */
} para_cache_calibration_options;

#define PARA_CACHE_CALIBRATION_OPTIONS_INIT { sizeof(para_cache_calibration_options), 32.0, 3, 6, NULL }

typedef struct para_cache_calibration {
    float residual_diff_threshold; /* chosen; 0: none that hits gives such pictures */
    double psnr;                   /* of the worst picture with it, in dB; infinite without a cache */
    double speed_up;               /* that its operations promise for the denoising loop; 1 without a cache */
    int trials;                    /* thresholds that were tried */
    double seconds;                /* that it all took */
} para_cache_calibration;

/* Finds the largest threshold whose pictures are still near enough to the uncached ones, and applies the cache with it as
 * para_apply_first_block_cache does. Draws `pictures` pictures of the request's prompt, the request's own first ones, without a cache and with each
 * threshold that it tries, from 0.01 to 1 by halving on a logarithmic scale; the worst picture decides. A picture that is less than 0.5 dB too good is good enough. That
 * costs `pictures` · (1 + a third to a half of the trials) pictures: worth it where many are drawn with the same settings. Other prompts and other noise differ; `para bench cache` shows by how much. What
 * it tries and what it chooses is logged (PARA_LOG_INFO). Where no threshold that hits is good enough, it applies no cache and warns.
 * Runs on the pipeline's ranks; under MPI every process makes the same call, with the same request, and all choose the same. After a failure or
 * para_cancel the pipeline has the cache that it had before. `options` may be NULL. Errors: those of para_apply_first_block_cache and
 * para_generate. */
PARA_API para_status para_calibrate_first_block_cache(para_pipeline *pipe, const para_request *request,
                                                      const para_cache_calibration_options *options, para_cache_calibration *out);

/* How one step went for one item. */
typedef struct para_cache_step {
    int step, picture; /* from 0 */
    bool negative;     /* the negative half of CFG */
    bool hit;          /* only the first block was computed */
    float difference;  /* d; NAN where it was not measured: at the first step and in the warm-up */
    double seconds;
} para_cache_step;

#ifdef __cplusplus
}
#endif
#endif
