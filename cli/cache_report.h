/* What the First Block Cache did in a run. SPDX-License-Identifier: Apache-2.0 */
#ifndef PARA_CLI_CACHE_REPORT_H
#define PARA_CLI_CACHE_REPORT_H

#include <jansson.h>

#include "request_options.h"

typedef struct cache_summary {
    double flops, flops_saved; /* of the transformer in all steps, had there been no hit; of that, by hits */
    double speed_up;           /* of the steps: had all taken as long as those that were computed (0: none was, or no hit) */
} cache_summary;

/* All 0 where there is no cache. */
cache_summary cache_summary_make(const para_result *result);

/* Options, summary and every step; null without a cache. */
json_t *cache_report(const cache_arguments *arguments, const para_result *result);

#endif
