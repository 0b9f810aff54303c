/* What stands behind a para_pipeline, and one run of a request through it. SPDX-License-Identifier: Apache-2.0 */
#ifndef PARA_PIPELINE_PIPELINE_STATE_H
#define PARA_PIPELINE_PIPELINE_STATE_H

#include <paraattn/pipeline.h>

#include "core/trace.h"
#include "parallel/mesh_choice.h"
#include "parallel/world_state.h"
#include "pipeline/component.h"
#include "step/first_block_cache.h"

enum { PARA_MAX_COMPONENTS = 8, PARA_MAX_PARTS = 4 };

/* The halves of classifier-free guidance; without it there is only the first. */
enum { PARA_COND, PARA_UNCOND, PARA_HALVES };

typedef struct para_run para_run;

/* Stages of a run, in order. */
typedef enum para_stage { PARA_STAGE_LOAD, PARA_STAGE_TEXT, PARA_STAGE_DENOISE, PARA_STAGE_DECODE, PARA_STAGES } para_stage;

/* The sizes of a request after rounding. */
typedef struct para_geometry {
    int height, width;                   /* pixels */
    int64_t frames, grid_h, grid_w;      /* tokens */
    int64_t channels;                    /* of a token of the latents */
    int64_t text_tokens;
    int64_t heads;                       /* of the transformer's attention */
} para_geometry;

/* A pipeline class of diffusers: what its folder holds and how text, latents and pixels are made. */
typedef struct para_family {
    const char *class_name; /* "FluxPipeline" */
    struct {
        const char *name, *class_name;
        para_stage stage; /* that it computes */
    } components[PARA_MAX_COMPONENTS]; /* those with weights; the i-th is instance i of a run */
    int transformer; /* its index in components */
    struct {
        const char *name, *class_name, *also; /* two names of a class, as transformers renamed it; or NULL */
    } parts[PARA_MAX_PARTS]; /* those without weights, which open() reads */
    /* The scheduler's config and what the configs must agree on, into pipe->family_state. */
    para_status (*open)(para_pipeline *pipe);
    /* Tokenizers, after the weights of what was loaded; may be called again. */
    para_status (*load)(para_pipeline *pipe);
    void (*close)(para_pipeline *pipe);
    para_status (*geometry)(const para_pipeline *pipe, const para_request *request, para_geometry *out);
    /* sigmas [steps + 1], timesteps [steps]. */
    para_status (*schedule)(const para_pipeline *pipe, const para_request *request, const para_geometry *g, float *sigmas, float *timesteps);
    /* Text to what the transformer takes; embeddings in the run's arena, for which every rank makes room. Only the leading one computes them. */
    para_status (*encode)(para_run *run, const char *prompt, const char *prompt_2, const char *half, para_conditioning_inputs *out);
    /* Initial latents [n, tokens, channels] F32 from the run's noise: the same on every rank. */
    para_status (*noise)(para_run *run, para_tensor latents);
    /* Latents [n, tokens, channels] F32 to float pixels [n, 3, H, W] F32, 0..1, device. On several ranks (NULL: on this one) only the leading one
     * gets pixels. */
    para_status (*decode)(para_run *run, const para_comm *comm, para_tensor latents, para_tensor images);
} para_family;

/* The request that the ranks of this process work on. */
typedef struct para_work {
    para_request request;
    para_geometry geometry;
    para_mesh mesh;
    double start;        /* seconds */
    bool traced;         /* process 0 traces */
    struct para_dry_result *need; /* [ranks of the process]: what dry runs found */
    int64_t arena_total; /* of these */
    para_result *result; /* NULL on processes other than 0 */
} para_work;

/* The weights in a memory, for the ranks that compute on it. */
typedef struct para_holder {
    para_instance instance[PARA_MAX_COMPONENTS]; /* model NULL: not loaded */
} para_holder;

struct para_pipeline {
    para_world *world;
    para_pipeline_options options;
    const para_family *family;
    char *folder;
    int num_components;
    para_component component[PARA_MAX_COMPONENTS];
    para_holder *holder; /* [holders] */
    int holders;         /* on the CPU one for all ranks of the process, else one for each */
    uint64_t digest;    /* of all configs: the processes of a world must have the same */
    bool parallel;      /* para_parallelize was called: */
    para_mesh wish;     /* axes that were given; 0: to be chosen */
    int head_groups;    /* 0: chosen */
    bool parallel_vae;
    bool compiled, tuned;
    int offload_slots;  /* para_offload: blocks of the transformer on the device at a time; 0: all */
    para_cache_options cache; /* all zero: none; skip_layers is the pipeline's own */
    bool told_alone;    /* the log says that rank 0 computes alone */
    bool muted;         /* trials of a calibration are not logged */
    bool left;          /* process 0 has closed it */
    void *family_state;
    atomic_bool cancel;
    const para_trace *trace; /* for tests and verify; or NULL */
    para_work work;
};

/* One request on its way, on a real device or a dry one: the same code finds the plan and makes the picture. */
struct para_run {
    para_pipeline *pipe;
    const para_request *request;
    para_rank *rank;
    const para_instance *instance; /* [num_components]; of those that the stage needs */
    bool dry;
    bool assume_hits;      /* of a dry run: the cache hits wherever it may */
    para_geometry geometry;
    para_mesh mesh;        /* of the ranks that denoise: all, or rank 0 alone */
    para_result *result;   /* of process 0; NULL on the others and on a dry run */
    void (*stage_done)(para_run *run, para_stage stage); /* after each stage */
    void *user;          /* of stage_done */
    double stage_start;    /* seconds */
    int64_t exchanged_bytes; /* sent by the rank while denoising */
};

/* A rank's place among those of its process; where its weights are. */
static inline int para_local_rank(const para_pipeline *pipe, const para_rank *rank) {
    return rank->index - para_group_first(pipe->world->group);
}
static inline para_holder *para_holder_of(const para_pipeline *pipe, const para_rank *rank) {
    return &pipe->holder[pipe->holders == 1 ? 0 : para_local_rank(pipe, rank)];
}

extern const para_family para_flux_family;

/* Closes its weights. */
void para_pipeline_unload(const para_pipeline *pipe, para_holder *holder);
/* Before a pipeline is closed: process 0 tells the others, and these wait for it. */
void para_pipeline_say_goodbye(para_pipeline *pipe);
/* Log of process 0, printf format: what every process would say. */
void para_pipeline_log(const para_pipeline *pipe, para_log_level level, const char *format, ...) __attribute__((format(printf, 3, 4)));
/* Tells caches apart: the processes of a world must have the same one. */
uint64_t para_cache_digest(const para_cache_options *options);
/* Adds a config to the pipeline's digest. */
para_status para_pipeline_digest(para_pipeline *pipe, const para_config *config);

/* Halves that a request needs; items: pictures times halves. Item i is half i % halves of picture i / halves. */
int para_request_halves(const para_request *request);
int64_t para_request_items(const para_request *request);
/* Whether the request needs the i-th component. */
bool para_request_needs(const para_pipeline *pipe, const para_request *request, int i);
/* The mesh that the request gets as the pipeline is parallelized. */
para_status para_request_mesh(const para_pipeline *pipe, const para_request *request, const para_geometry *g, para_mesh *out);

/* Checks the fields of a request that no model decides. */
para_status para_request_check(const para_pipeline *pipe, const para_request *request);
/* Logs which fields have no effect. */
void para_request_warn(const para_pipeline *pipe, const para_request *request);
/* Text, denoising, decoding; fills run->result. The device's arena must be large enough. Collective over the ranks that para_run_takes_part names. */
para_status para_run_all(para_run *run);
bool para_run_takes_part(const para_pipeline *pipe, const para_mesh *mesh, int index);
/* Whether it is the rank that has the texts, the result, and the word. */
static inline bool para_run_leads(const para_run *run) {
    return run->rank->index == 0;
}
/* All ranks of the mesh: from the embeddings of the request's halves to latents [n, tokens, channels] F32 in the arena. */
para_status para_run_denoise(para_run *run, para_conditioning_inputs *inputs, para_tensor *latents);
/* Steps of a stage: the time begins, the time is recorded. */
void para_run_begin(para_run *run);
para_status para_run_end(para_run *run, para_stage stage);
para_transformer *para_run_transformer(const para_run *run);
/* Tells the request's on_progress. */
void para_run_progress(const para_run *run, para_stage stage, int done, int total);
/* A tensor of the request, of any float type, to the device: to [the same sizes] of the activations' type or F32. PARA_ERR_NAN, naming the stage. */
para_status para_run_upload(para_run *run, para_tensor to, const para_tensor *given, const char *stage);
/* PARA_ERR_NAN naming the stage when x (contiguous) holds a value that is not finite. */
para_status para_run_check_finite(const para_run *run, para_tensor x, const char *format, ...) __attribute__((format(printf, 3, 4)));

#endif
