/* Many ranks against one: the same request on both, stage by stage. Part of libparaattn; SPDX-License-Identifier: Apache-2.0 */
#ifndef PARAATTN_VERIFY_H
#define PARAATTN_VERIFY_H

#include "pipeline.h"

#ifdef __cplusplus
extern "C" {
#endif

/* A stage's result on the mesh, a, and on one rank, b. */
typedef struct para_verify_stage {
    const char *name;      /* "block.3.hidden_states", "step.0.latents", "images"; valid during the call */
    int64_t values;        /* compared */
    double max_difference; /* largest |a - b| */
    double relative_l2;    /* |a - b| / |b| over all values */
    double bound;          /* of relative_l2: what rounding explains */
    double psnr;           /* of pixels, in dB for a range of 1; infinite where they are equal, NaN for other stages */
    bool within;           /* relative_l2 ≤ bound */
} para_verify_stage;

typedef struct para_verify_options {
    size_t size;                                                      /* sizeof(para_verify_options), set by PARA_VERIFY_OPTIONS_INIT */
    void (*on_stage)(void *user, const para_verify_stage *stage);     /* in the order of one rank; on the calling thread (NULL) */
    void *user;                                                       /* handed to on_stage (NULL) */
} para_verify_options;

#define PARA_VERIFY_OPTIONS_INIT { sizeof(para_verify_options), NULL, NULL }

typedef struct para_verify_report {
    int stages, beyond;           /* compared; of them beyond the bound */
    char worst[64];               /* stage with the largest relative_l2 / bound */
    double worst_ratio;           /* that quotient */
    int ranks;                    /* of the first run */
    int batch, ring, ulysses;     /* its mesh */
    double mesh_seconds, one_rank_seconds; /* denoising */
    int64_t exchanged_bytes;      /* sent by all ranks of the first run */
    int64_t stored_bytes;         /* host memory that kept the first run's results */
} para_verify_report;

/* Runs the request as the pipeline is parallelized, keeps every stage's result in host memory, runs it again on rank 0 alone and compares: text, the
 * first picture's first step block by block, latents after every step, pixels. The log says beforehand how much memory that takes (PARA_LOG_INFO).
 * PARA_OK also where stages differ: *report says so. Bounds are for the pipeline's type of activations: 2e-5 in F32, 2e-2 in
 * BF16, some four times what was measured. Under MPI every process calls it, and process 0 has the report. `options` may be NULL.
 * Errors: those of para_generate; PARA_ERR_STATE where the two runs had not the same stages. */
PARA_API para_status para_verify(para_pipeline *pipe, const para_request *request, const para_verify_options *options, para_verify_report *report);

#ifdef __cplusplus
}
#endif
#endif
