/* Dry runs of a request. SPDX-License-Identifier: Apache-2.0 */
#ifndef PARA_PIPELINE_PLAN_H
#define PARA_PIPELINE_PLAN_H

#include "backend/counts.h"
#include "pipeline/pipeline_state.h"

typedef struct para_dry_result {
    para_geometry geometry;
    para_counts stage[PARA_STAGES]; /* what each stage counted */
    int64_t arena_bytes;            /* peak */
    int64_t weight_bytes;           /* all components, in the files' types */
} para_dry_result;

/* Runs a checked request on a dry device that stands for the rank's: geometry, counts and peak memory. Errors of the request come out here,
 * before any weight is read. */
para_status para_dry_run(para_pipeline *pipe, const para_request *request, para_dry_result *out);

#endif
