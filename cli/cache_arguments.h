/* The options of the First Block Cache, shared by generate, plan and verify. SPDX-License-Identifier: Apache-2.0 */
#ifndef PARA_CLI_CACHE_ARGUMENTS_H
#define PARA_CLI_CACHE_ARGUMENTS_H

#include <paraattn/paraattn.h>

#include "options.h"

typedef struct cache_arguments {
    para_cache_options options; /* but for the lists */
    auto_number threshold;      /* as it was given */
    number_list skip_layers, skip_range;
    number_list psnr;                   /* dB, for an automatic threshold */
    para_cache_calibration calibration; /* which found it */
} cache_arguments;

/* Without --cache there is none. */
#define CACHE_ARGUMENTS_INIT {.options = {sizeof(para_cache_options), 0.0f, -1.0f, 0, -1, -1, 1, 0, false, NULL, 0, 0.0f, 0.1f}}

/* Rows of a command's table; c: a cache_arguments. The threshold and what becomes of a hit, */
#define CACHE_ARGUMENTS(c)                                                                                                   \
    {"--cache", OPTION_AUTO, &(c).threshold, "D", NULL,                                                                      \
     "First Block Cache: do not compute steps whose first block differs by less than D, such as 0.08 (0: off), or auto"},             \
        {"--cache-taylorseer", OPTION_INT, &(c).options.taylorseer_derivatives, "N", NULL,                                   \
         "extrapolate cached steps with N derivatives, 0 to 8 (0: repeat)"},                                                 \
        CACHE_RULES(c)
/* and the rest of it. */
#define CACHE_RULES(c)                                                                                                       \
    {"--cache-negative", OPTION_FLOAT, &(c).options.negative_residual_diff_threshold, "D", NULL,                             \
         "the same for the negative half of --true-cfg (default: --cache)"},                                                 \
        {"--cache-warmup", OPTION_INT, &(c).options.warmup_steps, "N", NULL, "first steps that are always computed (0)"},    \
        {"--cache-max-consecutive", OPTION_INT, &(c).options.max_consecutive_hits, "N", NULL,                                \
         "cached steps in a row, at most (-1: any number)"},                                                                 \
        {"--cache-max-hits", OPTION_INT, &(c).options.max_hits, "N", NULL, "cached steps in all, at most (-1: any number)"}, \
        {"--cache-downsample", OPTION_INT, &(c).options.downsample_factor, "N", NULL, "compare every N-th channel only (1)"}, \
        {"--cache-joint", OPTION_FLAG, &(c).options.joint, NULL, NULL, "the halves of --true-cfg decide together"},          \
        {"--cache-skip-layers", OPTION_NUMBERS, &(c).skip_layers, "I,I,...", NULL,                                           \
         "blocks that the negative half of --true-cfg leaves out, from 1"},                                                  \
        {"--cache-skip-range", OPTION_NUMBERS, &(c).skip_range, "A,B", NULL, "from which to which part of all steps it does (0,0.1)"}

/* Puts what the table read into the options. EXIT_DONE, or EXIT_USAGE after a sentence in the name of the command. draws: it can calibrate. */
int cache_arguments_finish(cache_arguments *c, const char *name, bool draws);
/* Whether any of them is given. */
bool cache_arguments_given(const cache_arguments *c);
/* Makes them the pipeline's cache. */
para_status cache_arguments_set(const cache_arguments *c, para_pipeline *pipe);
/* The same where any is given, and the threshold with it. */
para_status cache_arguments_apply(const cache_arguments *c, para_pipeline *pipe);
/* Finds the threshold for this request where it shall be found, and makes that the pipeline's cache. */
para_status cache_arguments_calibrate(cache_arguments *c, para_pipeline *pipe, const para_request *request);
void cache_arguments_free(cache_arguments *c);

#endif
