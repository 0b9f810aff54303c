/* What stands behind a para_pipeline, and one run of a request through it. SPDX-License-Identifier: Apache-2.0 */
#ifndef PARA_PIPELINE_PIPELINE_STATE_H
#define PARA_PIPELINE_PIPELINE_STATE_H

#include <paraattn/pipeline.h>

#include "core/trace.h"
#include "parallel/world_state.h"
#include "pipeline/component.h"
#include "step/transformer.h"

enum { PARA_MAX_COMPONENTS = 8, PARA_MAX_PARTS = 4 };

typedef struct para_run para_run;

/* The sizes of a request after rounding. */
typedef struct para_geometry {
    int height, width;                   /* pixels */
    int64_t frames, grid_h, grid_w;      /* tokens */
    int64_t channels;                    /* of a token of the latents */
    int64_t text_tokens;
} para_geometry;

/* A pipeline class of diffusers: what its folder holds and how text, latents and pixels are made. */
typedef struct para_family {
    const char *class_name; /* "FluxPipeline" */
    struct {
        const char *name, *class_name;
    } components[PARA_MAX_COMPONENTS]; /* those with weights; the i-th is instance i of a run */
    int transformer; /* its index in components */
    struct {
        const char *name, *class_name, *also; /* two names of a class, as transformers renamed it; or NULL */
    } parts[PARA_MAX_PARTS]; /* those without weights, which open() reads */
    /* The scheduler's config and what the configs must agree on, into pipe->family_state. */
    para_status (*open)(para_pipeline *pipe);
    /* Tokenizers, after the weights; may be called again. */
    para_status (*load)(para_pipeline *pipe);
    void (*close)(para_pipeline *pipe);
    para_status (*geometry)(const para_pipeline *pipe, const para_request *request, para_geometry *out);
    /* sigmas [steps + 1], timesteps [steps]. */
    para_status (*schedule)(const para_pipeline *pipe, const para_request *request, const para_geometry *g, float *sigmas, float *timesteps);
    /* Text to what the transformer takes; embeddings in the run's arena. */
    para_status (*encode)(para_run *run, const char *prompt, const char *prompt_2, const char *half, para_conditioning_inputs *out);
    /* Initial latents [n, tokens, channels] F32 from the run's noise. */
    para_status (*noise)(para_run *run, para_tensor latents);
    /* Latents of one picture [tokens, channels] F32 to float pixels [3, H, W] F32, 0..1, device. */
    para_status (*decode)(para_run *run, para_tensor latents, para_tensor image);
} para_family;

struct para_pipeline {
    para_world *world;
    para_pipeline_options options;
    const para_family *family;
    char *folder;
    int num_components;
    para_component component[PARA_MAX_COMPONENTS];
    para_instance loaded[PARA_MAX_COMPONENTS]; /* on the rank's device, once `is_loaded` */
    bool is_loaded;
    void *family_state;
    atomic_bool cancel;
    const para_trace *trace; /* for tests and verify; or NULL */
};

/* Stages of a run, in order. */
typedef enum para_stage { PARA_STAGE_LOAD, PARA_STAGE_TEXT, PARA_STAGE_DENOISE, PARA_STAGE_DECODE, PARA_STAGES } para_stage;

/* One request on its way, on a real device or a dry one: the same code finds the plan and makes the picture. */
struct para_run {
    para_pipeline *pipe;
    const para_request *request;
    para_rank *rank;
    const para_instance *instance; /* [num_components] on the rank's device */
    bool dry;
    para_geometry geometry;
    para_result *result; /* NULL on a dry run */
    void (*stage_done)(para_run *run, para_stage stage); /* after each stage */
    void *user;          /* of stage_done */
    double stage_start;  /* seconds */
};

extern const para_family para_flux_family;

/* Checks the fields of a request that no model decides. */
para_status para_request_check(const para_pipeline *pipe, const para_request *request);
/* Logs which fields have no effect. */
void para_request_warn(const para_pipeline *pipe, const para_request *request);
/* Text, denoising, decoding; fills run->result. The device's arena must be large enough. */
para_status para_run_all(para_run *run);
/* Tells the request's on_progress. */
void para_run_progress(const para_run *run, para_stage stage, int done, int total);
/* PARA_ERR_NAN naming the stage when x (contiguous) holds a value that is not finite. */
para_status para_run_check_finite(const para_run *run, para_tensor x, const char *format, ...) __attribute__((format(printf, 3, 4)));

#endif
