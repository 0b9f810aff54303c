/* Dry runs of a request. SPDX-License-Identifier: Apache-2.0 */
#ifndef PARA_PIPELINE_PLAN_H
#define PARA_PIPELINE_PLAN_H

#include "backend/counts.h"
#include "comm/timeline.h"
#include "pipeline/pipeline_state.h"

typedef struct para_dry_result {
    para_counts stage[PARA_STAGES]; /* what each stage counted */
    para_times time[PARA_STAGES];   /* and takes, with rates */
    int64_t arena_bytes;            /* peak */
    int64_t exchanged_bytes;        /* that the rank sends while denoising */
    int64_t between_hosts_bytes;    /* of them, to ranks on other hosts */
    int64_t exchanged_messages;     /* that it sends in all */
    int64_t stage_bytes;            /* of all stages that a trace would see, on a rank that is alone */
    int64_t weight_bytes;           /* all components that the rank computes with, in the files' types */
    int64_t file_bytes[PARA_MAX_COMPONENTS];   /* of each */
    int64_t device_bytes[PARA_MAX_COMPONENTS]; /* that it takes of a device with memory of its own */
    int64_t slot_bytes, pinned_bytes; /* of an offloaded transformer: of device_bytes, where its blocks take turns; on the host */
    int blocks;                       /* of the transformer */
} para_dry_result;

/* Which rank a dry run stands for. */
typedef struct para_dry_rank {
    int index, size;       /* in a world of so many */
    const para_rank *like; /* has as many threads */
    bool hits;             /* the cache hits wherever it may; else nowhere */
    const para_rank *asks; /* whoever runs this: asked between ops whether to go on; or NULL */
    bool offload;          /* as if the pipeline offloaded */
    bool gpu;              /* as if its device were a GPU */
    const para_rates *rates; /* times are wanted; or NULL */
} para_dry_rank;

/* What is planned: a checked request, its sizes, and a rank like all others. */
typedef struct para_plan_subject {
    para_pipeline *pipe;
    para_request request; /* filled in */
    para_geometry geometry;
    para_mesh mesh; /* that it gets */
    const para_rank *like;
} para_plan_subject;

/* Runs a checked request on a dry device that stands for a rank's: counts and peak memory. No weight is read. */
para_status para_dry_run(para_pipeline *pipe, const para_request *request, const para_geometry *g, const para_mesh *mesh, para_dry_rank rank,
                         para_dry_result *out);

/* Bytes of the host that a request's result takes, and its noise. */
int64_t para_plan_result_bytes(const para_request *request, const para_geometry *g);
/* Predicted peak memory of a process that has so many bytes of weights, and of activations in all its ranks. */
int64_t para_plan_peak(const para_request *request, const para_geometry *g, int64_t weights, int64_t arenas);
/* Checks a request and finds its sizes and its mesh. */
para_status para_plan_subject_open(para_pipeline *pipe, const para_request *request, para_plan_subject *out);
/* FLOPs of a step of all items on one rank: computed, attention's part, and where the cache hits (0: there is none). */
para_status para_plan_steps(const para_plan_subject *subject, double *step, double *attention, double *hit_step);
/* Every rank on a mesh, with rates also what its steps take: out [para_world_size]. */
para_status para_plan_ranks(const para_plan_subject *subject, const para_mesh *mesh, const para_rates *rates, para_rank_plan *out);
/* What a rank's step takes. */
static inline double para_plan_seconds(const para_rank_plan *r) {
    return r->compute_seconds + r->overhead_seconds + r->exchange_seconds;
}
/* What a step takes on a mesh, of the rank that takes longest: the rule by which meshes are compared. */
para_status para_plan_step_seconds(const para_plan_subject *subject, const para_mesh *mesh, const para_rates *rates, double *out);

#endif
