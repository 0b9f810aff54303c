/* A pipeline: a diffusers folder, from a prompt to pictures or videos. Part of libparaattn; SPDX-License-Identifier: Apache-2.0
 *
 *     para_world *world;
 *     para_pipeline *pipe;
 *     para_result *result;
 *     para_request request = PARA_REQUEST_INIT;
 *     request.prompt = "a red heart on a blue background";
 *     if (para_world_open(&world, NULL) || para_pipeline_open(&pipe, world, "models/tiny-flux", NULL) ||
 *         para_generate(pipe, &request, &result))
 *         fprintf(stderr, "%s\n", para_last_error());
 */
#ifndef PARAATTN_PIPELINE_H
#define PARAATTN_PIPELINE_H

#include "world.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct para_pipeline para_pipeline;

typedef struct para_pipeline_options {
    size_t size;      /* sizeof(para_pipeline_options), set by PARA_PIPELINE_OPTIONS_INIT */
    para_dtype dtype; /* type of the activations: PARA_F32 or PARA_BF16 (PARA_F32) */
    bool random_weights; /* for measuring: random weights of that type and random tokens; the folder needs no more than its configs (false) */
    para_attention_kernel attention; /* of the transformer, on a GPU; the text encoders' and the VAE's is ours in any case (PARA_ATTENTION_AUTO).
                                        PARA_ATTENTION_CUDNN: PARA_CUDA and PARA_BF16 only */
} para_pipeline_options;

#define PARA_PIPELINE_OPTIONS_INIT { sizeof(para_pipeline_options), PARA_F32, false, PARA_ATTENTION_AUTO }

typedef enum para_rng_source {
    PARA_SEED_CPU = 1,  /* as torch.Generator("cpu").manual_seed(seed) */
    PARA_SEED_CUDA = 2, /* as torch.Generator("cuda").manual_seed(seed) on a GPU of 132 multiprocessors (H100, H200) */
} para_rng_source;

/* Where a request stands. */
typedef struct para_progress {
    const char *stage; /* "load", "text", "denoise", "decode" */
    int done;          /* finished units of the stage: MB of weights that a GPU loads (else 1), steps, pictures or frames of all videos */
    int total;         /* units of the stage */
    double seconds;    /* since the stage began */
} para_progress;

typedef struct para_request {
    size_t size;                   /* sizeof(para_request), set by PARA_REQUEST_INIT */
    const char *prompt;            /* UTF-8; required without prompt_embeds */
    const char *prompt_2;          /* for the second text encoder (NULL: prompt) */
    const char *negative_prompt;   /* of the second half of classifier-free guidance. Models with embedded guidance (FLUX, HunyuanVideo) have that half only
                                      with a negative prompt and true_cfg_scale > 1; the others wherever guidance_scale > 1, NULL being "" (NULL) */
    const char *negative_prompt_2; /* for the second text encoder (NULL: negative_prompt) */
    float true_cfg_scale;          /* classifier-free guidance of models with embedded guidance; on above 1 (1.0) */
    int height, width;             /* pixels, rounded as diffusers rounds them, refused where it refuses them (0: the model's own size) */
    int num_frames;                /* of a video, rounded likewise (0: the model's own number; 1 for models that make pictures) */
    int num_inference_steps;       /* denoising steps, 1 or more (-1: the model's own number: FLUX 28, HunyuanVideo 50) */
    const double *sigmas;          /* the scheduler's sigmas [num_inference_steps], falling, 0 to 1 (NULL: the pipeline's own) */
    float guidance_scale;          /* embedded guidance of guidance-distilled models, else classifier-free guidance (-1, as all below 0: the model's
                                      own: FLUX 3.5, HunyuanVideo 6) */
    int num_images;                /* pictures or videos of the prompt, from one generator (1) */
    uint64_t seed;                 /* of the initial noise (0) */
    para_rng_source rng;           /* whose noise (PARA_SEED_CPU) */
    const para_tensor *latents;    /* initial latents on the host, as diffusers takes them: packed [num_images, tokens, channels] for FLUX,
                                      [num_images, channels, frames, height, width] for HunyuanVideo; F32, F16 or BF16, contiguous (NULL: drawn from
                                      the seed) */
    const para_tensor *prompt_embeds;        /* the text, encoded, on the host: [tokens, joint_attention_dim], without padding, F32, F16 or BF16,
                                                contiguous; no encoder runs or is loaded, prompts count for nothing (NULL) */
    const para_tensor *pooled_prompt_embeds; /* with prompt_embeds, where the model takes one: [1, pooled_projection_dim] (NULL) */
    const para_tensor *negative_prompt_embeds;        /* with prompt_embeds, of the second half: [tokens, joint_attention_dim] (NULL) */
    const para_tensor *negative_pooled_prompt_embeds; /* likewise: [1, pooled_projection_dim] (NULL) */
    int max_sequence_length;       /* tokens of the prompt, 1 to the model's most (-1: the model's own number: FLUX 512, the most; HunyuanVideo 256 of
                                      1024) */
    bool vae_tiling;               /* decode in diffusers' tiles: less memory, other pixels near the seams (false) */
    bool latents_only;             /* diffusers' output_type "latent": no VAE runs or is loaded, the result has no images (false) */
    bool use_dynamic_cfg;          /* CogVideoX: a guidance that changes from step to step up to 1 + guidance_scale, as diffusers has it (false) */
    bool profile;                  /* time each kind of op in the last step, which then is not played from a recording: step_ops of the result (false) */
    void (*on_progress)(void *user, const para_progress *progress); /* on the calling thread (NULL) */
    /* Each frame as soon as it is decoded, in order, on the calling thread, while later ones are still latents: pixels F32 [3, height, width], 0..1 before any
     * clamping, valid during the call. Which of num_images it is of, and its number, from 0. What it returns other than PARA_OK ends the request, which may
     * also fail after some frames. The result then has no images, and no more than a few frames are in memory at a time (NULL). */
    para_status (*on_frame)(void *user, int image, int frame, const para_tensor *pixels);
    void *user;                    /* handed to on_progress and on_frame (NULL) */
} para_request;

#define PARA_REQUEST_INIT                                                                                              \
    { sizeof(para_request), NULL, NULL, NULL, NULL, 1.0f, 0, 0, 0, -1, NULL, -1.0f, 1, 0, PARA_SEED_CPU, NULL, NULL, NULL, NULL, NULL, -1, false, false, false, false, NULL, NULL, NULL }

/* Time in ops of a kind. */
typedef struct para_op_time {
    const char *name; /* "linear", "attention" */
    int calls;
    double seconds;   /* on the device's own clock, where it has one */
} para_op_time;

/* What a request gave. The caller's until para_result_close. */
typedef struct para_result {
    para_tensor images;     /* F32, 0..1, before any clamping: pictures [n, 3, height, width], videos [n, num_frames, 3, height, width]; data NULL
                               with latents_only or on_frame */
    para_tensor latents;    /* F32 after the last step, in the form of the request's latents */
    int height, width;      /* pixels, after rounding */
    int num_frames;         /* of a video, after rounding; 1: pictures */
    double load_seconds;    /* opening and checking weights (0 where they were loaded) */
    double text_seconds;    /* tokenizers and text encoders */
    double denoise_seconds; /* all steps */
    double decode_seconds;  /* VAE */
    size_t arena_bytes;     /* most memory of activations in use at once, of the rank that needed most */
    size_t weight_bytes;    /* mapped weights that the request used */
    int ranks;              /* that took part: batch · ring · ulysses */
    int batch, ring, ulysses; /* the mesh of the denoising loop */
    int64_t exchanged_bytes;  /* sent by all ranks to each other in the denoising loop */
    int64_t between_hosts_bytes; /* of them, from one host to another */
    double exchange_wait_seconds; /* that a rank's host thread waited in it for others, the longest of all; GPUs wait without theirs */
    const struct para_cache_step *cache_steps; /* cache.h: [num_cache_steps] by step, picture, half; NULL without a cache */
    int num_cache_steps;
    int cache_hits;           /* of them */
    const para_op_time *step_ops; /* with profile: [num_step_ops], of the leading rank in the last step, the longest first */
    int num_step_ops;
    double step_flops, hit_step_flops; /* with a cache: of a step of all items that is computed, and that is a hit */
} para_result;

/* Opens the diffusers folder: reads model_index.json and every component's config; no weights yet. `options` may be NULL.
 * The world must outlive the pipeline. PARA_ERR_NOT_FOUND, PARA_ERR_FORMAT, PARA_ERR_CONFIG (a class or value that is not supported),
 * PARA_ERR_ARGUMENT, PARA_ERR_MEMORY. */
PARA_API para_status para_pipeline_open(para_pipeline **out, para_world *world, const char *folder, const para_pipeline_options *options);

/* Closes the pipeline and sets *pipe to NULL; takes NULL in it. Under MPI, process 0 closing it ends para_pipeline_follow of the others. */
PARA_API void para_pipeline_close(para_pipeline **pipe);

/* ---- On many ranks. These are declarations: in any order, at any time between requests, the last one holds. Under MPI every process makes the
 * same ones. */

typedef struct para_parallel_options {
    size_t size;     /* sizeof(para_parallel_options), set by PARA_PARALLEL_OPTIONS_INIT */
    int batch;       /* groups of ranks that work on different items: pictures, and halves of CFG (0: chosen for each request) */
    int ring;        /* ranks that pass keys and values round (0: chosen) */
    int ulysses;     /* ranks that exchange tokens for heads (0: chosen) */
    int head_groups; /* parts that heads are cut into, so that their exchange and their attention overlap (0: chosen) */
    bool off;        /* takes it back: rank 0 computes alone (false) */
    para_exchange_way exchange; /* how ranks of one process exchange tokens for heads (PARA_EXCHANGE_AUTO) */
} para_parallel_options;

#define PARA_PARALLEL_OPTIONS_INIT { sizeof(para_parallel_options), 0, 0, 0, 0, false, PARA_EXCHANGE_AUTO }

/* Context parallelism: requests are computed by all ranks of the world, each with a part of the tokens, arranged as batch × ring × ulysses. Pixels stay
 * the same up to rounding. Without it, rank 0 computes alone. Axes that are not given are chosen: batch, as far as items share out evenly; then
 * Ulysses, as far as heads do, and on several hosts only among ranks of one; then ring. `options` may be NULL for the defaults. PARA_ERR_ARGUMENT where the axes cannot fill the world, naming the
 * meshes that do; whether there are enough items for `batch` turns out with the request. */
PARA_API para_status para_parallelize(para_pipeline *pipe, const para_parallel_options *options);

typedef struct para_parallel_vae_options {
    size_t size; /* sizeof(para_parallel_vae_options), set by PARA_PARALLEL_VAE_OPTIONS_INIT */
    bool off;    /* takes it back (false) */
} para_parallel_vae_options;

#define PARA_PARALLEL_VAE_OPTIONS_INIT { sizeof(para_parallel_vae_options), false }

/* Decodes on all ranks of the world, each some of the tiles. Turns vae_tiling on, which changes pixels, and says so in the log. Otherwise the pixels
 * are those of one rank. `options` may be NULL for the defaults. PARA_ERR_ARGUMENT. */
PARA_API para_status para_parallelize_vae(para_pipeline *pipe, const para_parallel_vae_options *options);

typedef struct para_compile_options {
    size_t size;    /* sizeof(para_compile_options), set by PARA_COMPILE_OPTIONS_INIT */
    bool no_tuning; /* a product takes the kernel that the library proposes, not the fastest of those that were tried (false) */
    bool off;       /* takes it back (false) */
    bool no_recording; /* ops of a step run one by one, its products tuned (false) */
} para_compile_options;

#define PARA_COMPILE_OPTIONS_INIT { sizeof(para_compile_options), false, false, false }

/* A compiled step: matrix products are tuned when their shapes first come up (what was found is kept in the user's cache folder), the ops of a step are recorded
 * at its second run, and from the third on a step is played from that recording. GPUs of one process that compute a step together have one recording, with what they
 * exchange in it; those of several processes run their ops one by one, and so does a pipeline that offloads. Pictures are the same with and without. It is on where the
 * device can record (PARA_CUDA), without any call; but GPUs that compute a step together record it only after this call. `options` may be NULL for the defaults. PARA_ERR_ARGUMENT on a device that cannot. */
PARA_API para_status para_compile(para_pipeline *pipe, const para_compile_options *options);

typedef struct para_offload_options {
    size_t size; /* sizeof(para_offload_options), set by PARA_OFFLOAD_OPTIONS_INIT */
    int slots;   /* blocks of the transformer that are on the device at a time, on their way or in use, 2 to 16 (3) */
    bool off;    /* takes it back (false) */
} para_offload_options;

#define PARA_OFFLOAD_OPTIONS_INIT { sizeof(para_offload_options), 3, false }

/* Keeps the transformer's blocks in pinned host memory, and copies them to the device while those before them compute: for GPUs that the transformer does not
 * fit into. As many blocks as there is room for beside everything else stay on the device. Pictures are the same with and without; steps are not recorded
 * (para_compile). `options` may be NULL for the defaults. PARA_ERR_ARGUMENT on a device without memory of its own. */
PARA_API para_status para_offload(para_pipeline *pipe, const para_offload_options *options);

/* Predicts times, and chooses meshes that are not given, by the rates of a file that para_bench_machine wrote: those for the pipeline's type whose threads and
 * ranks are nearest. file NULL: that of the user's cache folder; where it is not there, or has no rates for this device and type, times are predicted by
 * para_machine, and meshes chosen by how evenly they share out the work. Under MPI every process makes the call at once, and the file of process 0 holds
 * for all. PARA_ERR_CONFIG (no rates for the type), PARA_ERR_FORMAT, PARA_ERR_NOT_FOUND, PARA_ERR_IO, PARA_ERR_MEMORY. */
PARA_API para_status para_use_machine(para_pipeline *pipe, const char *file);
/* The file whose rates are used, valid until the next para_use_machine; NULL: none are. */
PARA_API const char *para_machine_in_use(const para_pipeline *pipe);

/* A request with the model's own values where it asks for these: height, width, num_frames, num_inference_steps, guidance_scale, max_sequence_length.
 * *out points to what `request` points to. PARA_ERR_ARGUMENT. */
PARA_API para_status para_pipeline_fill_in(const para_pipeline *pipe, const para_request *request, para_request *out);

/* Pixels and frames of a request as they will be rounded; without a word. Errors as of para_generate before it loads. */
PARA_API para_status para_pipeline_size(para_pipeline *pipe, const para_request *request, int *height, int *width, int *num_frames);

/* Whether the pipeline makes videos: then results have images [n, num_frames, 3, height, width]. */
PARA_API bool para_pipeline_makes_videos(const para_pipeline *pipe);

/* Maps and checks the weights of every component; the first para_generate does it for those that it needs, where this was not called.
 * On a GPU that has too little memory for all of them at once, those stay that fit, and the others come when their stage begins; "load" may then come up in
 * on_progress between other stages.
 * PARA_ERR_NOT_FOUND, PARA_ERR_FORMAT, PARA_ERR_SHAPE, PARA_ERR_IO, PARA_ERR_MEMORY, PARA_ERR_CANCELLED. */
PARA_API para_status para_pipeline_load(para_pipeline *pipe);

/* Runs a request on the world's ranks and waits. Every pipeline of a world takes turns: PARA_ERR_BUSY while another request runs.
 * On success *out is the caller's, para_result_close. Errors: those of para_pipeline_load, PARA_ERR_ARGUMENT (a field of the
 * request), PARA_ERR_NAN (names the stage), PARA_ERR_CANCELLED, what on_frame returned. Source: __call__ of diffusers' pipeline of the same class.
 * Under MPI the request of process 0 is what every process works on; the others pass NULL, or an equal one (else PARA_ERR_ARGUMENT, for all). *out is
 * NULL on them, and only process 0 calls on_progress and on_frame. */
PARA_API para_status para_generate(para_pipeline *pipe, const para_request *request, para_result **out);

/* For processes other than 0: takes part in every para_pipeline_load and para_generate of process 0, until that closes the pipeline. What fails
 * there fails here, too, and is not the end of it. PARA_ERR_ARGUMENT on process 0; PARA_ERR_LOST. */
PARA_API para_status para_pipeline_follow(para_pipeline *pipe);

/* Frees a result and sets *result to NULL; takes NULL in it. */
PARA_API void para_result_close(para_result **result);

/* Ends the running request, or the next one if none runs, with PARA_ERR_CANCELLED. Any thread, and signal handlers. */
PARA_API void para_cancel(para_pipeline *pipe);

/* A component of a pipeline, as model_index.json names it. */
typedef struct para_component_info {
    const char *name;       /* "transformer"; valid until the pipeline is closed */
    const char *class_name; /* "FluxTransformer2DModel"; likewise */
    int64_t parameters;     /* elements of its weights; 0 for components without */
    int64_t bytes;          /* in the files' types (in the pipeline's type where there are no files) */
    para_dtype dtype;       /* type of its matrices; PARA_DTYPE_NONE without weights */
    bool has_files;         /* weights are in the folder */
} para_component_info;

/* Number of components; the i-th. Reads the headers of the weight files where they are there. PARA_ERR_ARGUMENT, and those of load. */
PARA_API int para_pipeline_components(const para_pipeline *pipe);
PARA_API para_status para_pipeline_component(para_pipeline *pipe, int i, para_component_info *out);

/* Room for the sentence why_mesh. */
enum { PARA_WHY_MESH = 320 };

/* What a request would cost, found without weights and without computing. */
typedef struct para_plan {
    int height, width;           /* pixels, after rounding */
    int num_frames;              /* likewise; 1: pictures */
    int64_t image_tokens;        /* of one picture or video */
    int64_t text_tokens;         /* of one prompt; of prompts whose padding is dropped the most */
    int items;                   /* transformer evaluations a step: pictures or videos, twice that with CFG */
    int ranks;                   /* that work on it: batch · ring · ulysses */
    int batch, ring, ulysses;    /* the mesh that it gets */
    int64_t heads;               /* of the transformer's attention */
    int hosts;                   /* that the world's ranks are on */
    char why_mesh[PARA_WHY_MESH]; /* with several: what the mesh has to do with them, in a sentence; else "" */
    double step_flops;           /* of one step, all items: 2 per multiply-add, attention included */
    double step_attention_flops; /* attention's part of it */
    double hit_step_flops;       /* of one step in which the First Block Cache hits for all items (0: there is no cache) */
    double text_flops;           /* tokens to embeddings, once */
    double decode_flops;         /* VAE, all pictures */
    double total_flops;          /* text + preparation + all steps + decode */
    int64_t weight_bytes;        /* of the components that the request needs */
    int64_t arena_bytes;         /* activations of all ranks of this process at their peak */
    int64_t result_bytes;        /* host buffers of noise and pictures */
    int64_t peak_bytes;          /* predicted peak resident memory of the process */
    int64_t gpu_resident_bytes;  /* memory of a GPU, CUDA's own included, on which all components stay; */
    int64_t gpu_in_turn_bytes;   /* on which text encoders, transformer and VAE take turns; */
    int64_t gpu_offload_bytes;   /* and on which the transformer's blocks do, too (para_offload), */
    int64_t pinned_bytes;        /* with so much pinned memory of the host */
    int64_t gpu_bytes;           /* that the pipeline's own GPU has for it now (0: its device is none) */
} para_plan;

/* Plans the request: geometry, FLOPs, memory. Same errors as para_generate before it loads. */
PARA_API para_status para_pipeline_plan(para_pipeline *pipe, const para_request *request, para_plan *out);

/* What one rank has to do for a request. */
typedef struct para_rank_plan {
    int64_t image_tokens, text_tokens; /* that it holds of an item */
    double step_flops;                 /* of one step */
    int64_t step_bytes, step_messages; /* that it sends to other ranks in one step */
    int host;                          /* on which it is, counted from 0 */
    int64_t step_host_bytes;           /* of step_bytes, to ranks on other hosts */
    int64_t arena_bytes;               /* activations at their peak */
    int64_t weight_bytes;              /* of what it computes with; the ranks of a process have them once in the host's memory, on GPUs each its own */
    /* Predicted seconds, of para_pipeline_plan_meshes alone (else 0): of a step that is computed, ops but for */
    double compute_seconds;
    double overhead_seconds; /* what as many of the smallest ops would take, */
    double exchange_seconds; /* and waiting for what others send, as far as it does not hide behind the ops; */
    double prepare_seconds;  /* of all that comes before the first step, once the texts are encoded */
} para_rank_plan;

/* Plans every rank of the world, on the mesh that the request gets: out [para_world_size]. Same errors as para_pipeline_plan. */
PARA_API para_status para_pipeline_plan_ranks(para_pipeline *pipe, const para_request *request, para_rank_plan *out);

/* What a prediction of time rests on. 0: the rates that para_use_machine found. */
typedef struct para_machine {
    size_t size;      /* sizeof(para_machine), set by PARA_MACHINE_INIT */
    double flops;     /* that a rank computes in a second, memory and overhead not counted (1e11) */
    double bandwidth; /* bytes that a rank sends in a second; nothing hides behind computing then (5e9) */
    double latency;   /* seconds that a message takes besides (1e-5) */
} para_machine;

#define PARA_MACHINE_INIT { sizeof(para_machine), 1e11, 5e9, 1e-5 }

/* A mesh that could carry out a request. Seconds are of the rank that takes longest. */
typedef struct para_mesh_plan {
    int batch, ring, ulysses;
    int64_t sent_bytes;      /* by all ranks together in a step */
    int64_t host_bytes;      /* of them, from one host to another */
    bool ulysses_in_hosts;   /* ranks that exchange tokens for heads are on one host */
    bool chosen;             /* it is the one that the request gets */
    para_rank_plan most;     /* the largest of each over the ranks */
    double step_seconds;     /* of a step that is computed: the three that follow together */
    double compute_seconds;  /* ops, but for their overhead */
    double exchange_seconds; /* waiting for exchanges; those that hide behind ops are not in it */
    double overhead_seconds; /* what as many of the smallest ops would take */
    double prepare_seconds;  /* of all that comes before the first step, once the texts are encoded */
} para_mesh_plan;

/* All meshes of the world's ranks, the fastest first: out [room], *count of them. `machine` may be NULL: the rates of para_use_machine, or where
 * there are none the defaults. Same errors as para_pipeline_plan; PARA_ERR_ARGUMENT where there is too little room, or a rate of 0 and none in use. */
PARA_API para_status para_pipeline_plan_meshes(para_pipeline *pipe, const para_request *request, const para_machine *machine, int room,
                                               para_mesh_plan *out, int *count);

#ifdef __cplusplus
}
#endif
#endif
