/* What stands behind a para_pipeline, and one run of a request through it. SPDX-License-Identifier: Apache-2.0 */
#ifndef PARA_PIPELINE_PIPELINE_STATE_H
#define PARA_PIPELINE_PIPELINE_STATE_H

#include <paraattn/pipeline.h>

#include "backend/rates.h"
#include "core/rng.h"
#include "core/trace.h"
#include "parallel/mesh_choice.h"
#include "parallel/world_state.h"
#include "pipeline/component.h"
#include "scheduler/schedule.h"
#include "step/first_block_cache.h"
#include "vae/vae_tiling.h"

enum { PARA_MAX_COMPONENTS = 8, PARA_MAX_PARTS = 4 };

/* The halves of classifier-free guidance; without it there is only the first. */
enum { PARA_COND, PARA_UNCOND, PARA_HALVES };

typedef struct para_run para_run;

/* Stages of a run, in order. */
typedef enum para_stage { PARA_STAGE_LOAD, PARA_STAGE_TEXT, PARA_STAGE_DENOISE, PARA_STAGE_DECODE, PARA_STAGES } para_stage;

/* Latents as diffusers hands them in and out. */
typedef enum para_latent_form {
    PARA_LATENTS_PACKED,        /* [n, tokens, channels of a token] */
    PARA_LATENTS_CHANNELS_FIRST, /* [n, C, f, h, w] */
    PARA_LATENTS_FRAMES_FIRST,  /* [n, f, C, h, w] */
} para_latent_form;

/* The sizes of a request after rounding. */
typedef struct para_geometry {
    int height, width, num_frames;       /* pixels; 1 frame: also a picture */
    int size_unit, frames_unit;          /* heights and widths are multiples of the one, frames 1 more than a multiple of the other (0: pictures) */
    int64_t latent_channels, latent_frames, latent_height, latent_width;
    int64_t patch_t, patch;              /* latents of a token: frames, and rows and columns */
    int64_t frames, grid_h, grid_w;      /* tokens */
    int64_t channels;                    /* of a token of the latents */
    int64_t text_tokens;                 /* of a prompt; where padding is dropped the most */
    int64_t heads;                       /* of the transformer's attention */
} para_geometry;

static inline int64_t para_geometry_tokens(const para_geometry *g) {
    return g->frames * g->grid_h * g->grid_w;
}

/* Values of a request that are the pipeline's own where it gives none. */
typedef struct para_request_defaults {
    int num_inference_steps;
    float guidance_scale;
    int max_sequence_length, most_sequence_length;
} para_request_defaults;

/* Classifier-free guidance: which scale of a request it goes by. */
typedef struct para_guidance {
    bool (*has_negative)(const para_request *request);
    /* Of the step whose timestep this is. */
    float (*scale)(const para_request *request, float timestep);
} para_guidance;

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
    bool makes_videos;       /* images have frames: [n, num_frames, 3, height, width] */
    bool one_prompt;         /* prompt_2 counts for nothing */
    bool no_text;            /* a prompt may have no token at all */
    bool noise_is_f32;       /* the initial noise is drawn in float32, whatever the type of the activations */
    para_latent_form latents; /* as diffusers hands them in and out */
    para_request_defaults defaults;
    const para_guidance *guidance;
    /* The scheduler's config and what the configs must agree on, into pipe->family_state. */
    para_status (*open)(para_pipeline *pipe);
    /* Tokenizers, after the weights of what was loaded; may be called again. */
    para_status (*load)(para_pipeline *pipe);
    void (*close)(para_pipeline *pipe);
    /* The model's own height, width and frames. */
    void (*own_size)(const para_pipeline *pipe, int *height, int *width, int *num_frames);
    /* Sizes, rounded or refused as diffusers does; checks given embeddings. The request is filled in. */
    para_status (*geometry)(const para_pipeline *pipe, const para_request *request, para_geometry *out);
    /* Timesteps and how to step; the caller closes it, after a failure, too. */
    para_status (*schedule)(const para_pipeline *pipe, const para_request *request, const para_geometry *g, para_schedule *out);
    /* Text to what the transformer takes; embeddings in the run's arena, for which every rank makes room. Only the leading one computes them; where it alone
     * knows how many tokens there are, para_run_share_length. Collective over the ranks that denoise. */
    para_status (*encode)(para_run *run, const char *prompt, const char *prompt_2, const char *half, para_conditioning_inputs *out);
    /* Latents [n, C, f, h, w] F32, which may be overwritten, to frames [f, H, W, 3] of the activations' type, -1..1, on the device, as soon as they are done.
     * On several ranks (NULL: on this one) only the leading one gets them. */
    para_status (*decode)(para_run *run, const para_comm *comm, para_tensor latents, const para_vae_sink *sink);
} para_family;

/* The request that the ranks of this process work on. */
typedef struct para_work {
    para_request request; /* filled in */
    para_geometry geometry;
    para_mesh mesh;
    double start;        /* seconds */
    bool traced;         /* process 0 traces */
    struct para_dry_result *need; /* [ranks of the process]: what dry runs found, each rank its own; of one that takes no part 0 */
    para_result *result; /* NULL on processes other than 0 */
} para_work;

/* The weights in a memory, for the ranks that compute on it. */
typedef struct para_holder {
    para_instance instance[PARA_MAX_COMPONENTS]; /* weights NULL: not loaded, though the model may be there for its sizes */
} para_holder;

/* What a request's mesh depends on, beside what para_parallelize and para_use_machine say, which forget it. Verifying and calibrating switch `parallel` and the cache
 * themselves. */
typedef struct para_mesh_key {
    int64_t height, width, num_frames, text_tokens, num_images, items;
    int64_t parallel, cached, recorded, offload_slots;
} para_mesh_key;

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
    para_exchange_way exchange;
    bool parallel_vae;
    bool compiled, tuned;
    bool compiled_ranks; /* steps that ranks compute together are recorded, too */
    bool leaves_out_exchange; /* in the steps, whose numbers then mean nothing */
    int offload_slots;  /* para_offload: blocks of the transformer on the device at a time; 0: all */
    char *machine_path;  /* para_use_machine: whose rates these are; NULL: there are none */
    para_rate_set rates;
    para_cache_options cache; /* all zero: none; skip_layers is the pipeline's own */
    bool told_alone;    /* the log says that rank 0 computes alone */
    para_mesh told_mesh; /* the log says why it is this one, on these hosts */
    bool foreseen;       /* any request like the last one gets its mesh: predicting one takes as long as some steps */
    para_mesh_key foreseen_for;
    para_mesh foreseen_mesh;
    bool muted;         /* trials of a calibration are not logged */
    bool left;          /* process 0 has closed it */
    void *family_state;
    atomic_bool cancel;
    const para_trace *trace; /* for tests and verify; or NULL */
    bool no_steps;      /* of a benchmark: given latents are decoded, without a transformer */
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
    para_rng *rng;         /* the request's generator, while denoising; NULL on a dry run */
    para_result *result;   /* of process 0; NULL on the others and on a dry run */
    void (*stage_done)(para_run *run, para_stage stage); /* after each stage */
    void *user;          /* of stage_done */
    double stage_start;    /* seconds */
    int64_t exchanged_bytes; /* sent by the rank while denoising */
    int64_t between_hosts_bytes; /* of them, to ranks on other hosts */
    int64_t waited;          /* nanoseconds that the host thread has waited for other ranks while denoising */
};

/* A rank's place among those of its process; where its weights are. */
static inline int para_local_rank(const para_pipeline *pipe, const para_rank *rank) {
    return rank->index - para_group_first(pipe->world->group);
}
static inline para_holder *para_holder_of(const para_pipeline *pipe, const para_rank *rank) {
    return &pipe->holder[pipe->holders == 1 ? 0 : para_local_rank(pipe, rank)];
}

extern const para_family para_flux_family, para_hunyuan_video_family, para_mochi_family, para_cogvideox_family;

/* Whether steps of ranks that share tokens as `shard` says are recorded. */
bool para_pipeline_records(const para_pipeline *pipe, const para_shard *shard);
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

/* Guidance by true_cfg_scale, of models whose guidance_scale is embedded: with a negative prompt. Guidance by guidance_scale: wherever that is above 1;
 * and the same with use_dynamic_cfg. */
extern const para_guidance para_true_cfg, para_plain_cfg, para_dynamic_cfg;

/* Halves that a request needs; items: pictures times halves. Item i is half i % halves of picture i / halves. */
int para_request_halves(const para_pipeline *pipe, const para_request *request);
int64_t para_request_items(const para_pipeline *pipe, const para_request *request);
/* Whether the request needs the i-th component. */
bool para_request_needs(const para_pipeline *pipe, const para_request *request, int i);
/* The mesh that the request gets as the pipeline is parallelized. */
para_status para_request_mesh(para_pipeline *pipe, const para_request *request, const para_geometry *g, para_mesh *out);
/* Why it gets this one, in a sentence, where the ranks are on several hosts; else "". */
void para_request_explain_mesh(const para_pipeline *pipe, const para_request *request, const para_geometry *g, para_mesh mesh, char *text, size_t bytes);
/* The measured rates in use, if any; and none from now on. */
para_rates para_pipeline_rates(const para_pipeline *pipe);
void para_pipeline_forget_machine(para_pipeline *pipe);

/* Checks the fields of a request that no model decides, and fills in the model's own values: *out points to what `request` points to. */
para_status para_request_take(const para_pipeline *pipe, const para_request *request, para_request *out);
/* The family's geometry, and whether given latents have it. The request is filled in. */
para_status para_request_geometry(const para_pipeline *pipe, const para_request *request, para_geometry *out);
/* A tensor of the request: contiguous, of these sizes and a type that is converted; `what` names it, `of` says which sizes. */
para_status para_request_check_tensor(const para_tensor *t, int rank, const int64_t *dim, const char *what, const char *of);
/* Embeddings, where they are given: [tokens, width], and with pooled_width > 0 pooled ones [1, pooled_width]; of both halves, where there are two. */
para_status para_request_check_embeds(const para_pipeline *pipe, const para_request *request, int64_t width, int64_t pooled_width);
/* Tokens of a prompt: of the longer half's given embeddings, or max_sequence_length. */
int64_t para_request_text_tokens(const para_request *request);
/* Logs which fields have no effect. */
void para_request_warn(const para_pipeline *pipe, const para_request *request);
/* Text, denoising, decoding; fills run->result. The device's arena must be large enough. Collective over the ranks that para_run_takes_part names. */
para_status para_run_all(para_run *run);
bool para_run_takes_part(const para_pipeline *pipe, const para_mesh *mesh, int index);
/* How many of the world's first ranks compute with a stage's components, PARA_MAX_RANKS for all of them; PARA_STAGE_LOAD: how many take part at all. */
int para_run_ranks(const para_pipeline *pipe, const para_mesh *mesh, para_stage stage);
/* Whether that rank computes with the i-th component, for this request or (NULL) for any. */
bool para_run_uses(const para_pipeline *pipe, const para_request *request, const para_mesh *mesh, int index, int i);
/* Whether it is the rank that has the texts, the result, and the word. */
static inline bool para_run_leads(const para_run *run) {
    return run->rank->index == 0;
}
/* All ranks of the mesh: from the embeddings of the request's halves to latents [n, tokens, channels] F32 in the arena. */
para_status para_run_denoise(para_run *run, para_conditioning_inputs *inputs, para_tensor *latents);
/* The ranks that may take part in decoding: from latents [n, tokens, channels] F32 to the result's images and latents. */
para_status para_run_decode(para_run *run, para_tensor latents);
/* Steps of a stage: the time begins, the time is recorded. */
void para_run_begin(para_run *run);
para_status para_run_end(para_run *run, para_stage stage);
para_transformer *para_run_transformer(const para_run *run);
/* Tells the request's on_progress. */
void para_run_progress(const para_run *run, para_stage stage, int done, int total);
/* A number of the leading rank's, to all that denoise; a dry run keeps its own. */
para_status para_run_share_length(para_run *run, int *length);
/* Ones in the arena, F32, contiguous, of another tensor's sizes. */
para_status para_run_ones(para_run *run, para_tensor like, para_tensor *out);
/* y = scale · y + c, F32, contiguous. */
para_status para_run_affine(para_run *run, para_tensor y, float scale, float c);
/* A tensor of the request, of any float type, to the device: to [the same sizes] of the activations' type or F32. PARA_ERR_NAN, naming the stage. */
para_status para_run_upload(para_run *run, para_tensor to, const para_tensor *given, const char *stage);
/* PARA_ERR_NAN naming the stage when x (contiguous) holds a value that is not finite. */
para_status para_run_check_finite(const para_run *run, para_tensor x, const char *format, ...) __attribute__((format(printf, 3, 4)));

#endif
