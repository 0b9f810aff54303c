/* What benchmarks need beside the pipeline itself. Part of libparaattn; SPDX-License-Identifier: Apache-2.0 */
#ifndef PARAATTN_BENCH_H
#define PARAATTN_BENCH_H

#include "pipeline.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Name of what the world's first rank computes on: "NVIDIA H200", "CPU". Valid until the world is closed. */
PARA_API const char *para_world_device_name(const para_world *world);

/* What a request can be given in the place of texts and a seed. The caller's, on the host, contiguous. */
typedef struct para_bench_inputs {
    para_tensor latents;              /* in the form of the request's latents */
    para_tensor prompt_embeds;        /* [text tokens, joint_attention_dim] */
    para_tensor pooled_prompt_embeds; /* [1, pooled_projection_dim], or data NULL where the model takes none */
    para_tensor negative_prompt_embeds; /* [text tokens, joint_attention_dim], where the request is guided by guidance_scale alone; else data NULL */
} para_bench_inputs;

/* Normal random inputs of the request's size, BF16, of `text_tokens` text tokens; the same for the same seed. Free with para_bench_inputs_free. Errors:
 * those of para_pipeline_plan; PARA_ERR_ARGUMENT, PARA_ERR_MEMORY. */
PARA_API para_status para_bench_inputs_random(para_pipeline *pipe, const para_request *request, int text_tokens, uint64_t seed,
                                              para_bench_inputs *out);
/* Frees the tensors and zeroes them; takes zeroed ones, too. */
PARA_API void para_bench_inputs_free(para_bench_inputs *inputs);

/* The transformer's prediction at the first of the request's timesteps, for its first picture: [tokens, channels] on the host, of the activations' type, the
 * caller's (para_tensor_free). One step is computed, op by op. Errors: those of para_generate. Under MPI, data NULL on processes other than 0. */
PARA_API para_status para_bench_prediction(para_pipeline *pipe, const para_request *request, para_tensor *out);

/* What the parts of a model give before and after the denoising loop. The caller's, on the host, contiguous. */
typedef struct para_bench_outputs {
    para_tensor prompt_embeds;        /* [text tokens, joint_attention_dim], of the activations' type */
    para_tensor pooled_prompt_embeds; /* [1, pooled_projection_dim], likewise; data NULL where the model takes none */
    para_tensor images;               /* of the request's latents, as a result has them */
} para_bench_outputs;

/* The text encoders' embeddings of the request's prompt, and what the VAE makes of the request's latents. No step is computed between them and no transformer loaded.
 * Free with para_bench_outputs_free. Errors: those of para_generate; PARA_ERR_ARGUMENT (no prompt, no latents). Under MPI all zero on processes other than 0. */
PARA_API para_status para_bench_text_and_vae(para_pipeline *pipe, const para_request *request, para_bench_outputs *out);
/* Frees the tensors and zeroes them; takes zeroed ones, too. */
PARA_API void para_bench_outputs_free(para_bench_outputs *outputs);

/* Whether the ranks' steps leave out what they exchange (false at first), so that a benchmark can tell what of it nothing hides: ops, copies on one's own device and
 * recordings are the same, results mean nothing and are not checked. Under MPI every process makes the same call. A request whose ranks store directly parts of
 * different sizes then fails with PARA_ERR_ARGUMENT. */
PARA_API void para_bench_leave_out_exchange(para_pipeline *pipe, bool leave_out);

/* ---- Ops alone: what a machine can do */

typedef enum para_bench_kind {
    PARA_BENCH_LINEAR = 1,    /* size: M, N, K; y [M, N] = x [M, K] · weightᵀ [N, K] */
    PARA_BENCH_ATTENTION = 2, /* size: B, H, Sq, Skv, D */
    PARA_BENCH_COPY = 3,      /* size: bytes */
    PARA_BENCH_NORM = 4,      /* size: M, D; LayerNorm with a modulation */
    PARA_BENCH_HEAD = 5,      /* size: S, H, D; norm, rotation and layout of heads */
    PARA_BENCH_ACTIVATION = 6, /* size: M, D; GELU */
    PARA_BENCH_MERGE = 7,     /* size: H, S, D; two attentions to one, in F32 */
} para_bench_kind;

typedef struct para_bench_op {
    para_bench_kind kind;
    para_dtype dtype; /* PARA_F32, PARA_BF16 or PARA_F16 where the device has it */
    int64_t size[5];
    bool causal;      /* attention: query i sees keys 0 to i */
    bool gelu;        /* linear: GELU of what it gives */
    bool everywhere;  /* every rank does the same at once: they may share memory and power; else the first rank alone */
    bool quick;       /* fewer and shorter rounds */
} para_bench_op;

typedef struct para_bench_rate {
    double ms;           /* of a call: the median over rounds of 20 calls, on buffers in turn; fewer where they take long */
    double flops, bytes; /* of a call: computed; read and written, where that is what limits it */
} para_bench_rate;

/* Times an op on normal random data on the world's first rank. Where the device can, calls are recorded and played. Products are tuned before.
 * PARA_ERR_ARGUMENT, PARA_ERR_MEMORY, PARA_ERR_BUSY, and what the op returns. */
PARA_API para_status para_bench_run_op(para_world *world, const para_bench_op *op, para_bench_rate *out);

/* ---- Exchanges alone */

typedef struct para_bench_exchange {
    bool ring;      /* each rank of a group sends to the next; else each to all others */
    int group;      /* ranks of a group, 2 to the world's; ranks that fill none are idle */
    int stride;     /* between the numbers of neighbours in a group */
    int64_t bytes;  /* that a rank sends in all */
    bool quick;     /* as of an op */
} para_bench_exchange;

typedef struct para_bench_exchanged {
    double ms;      /* from the start to the end of the wait, of the slowest rank; the median over rounds */
    double overlap; /* the part of it that hides behind matrix products that take as long, 0 to 1 */
} para_bench_exchanged;

/* Times an exchange between ranks of the world, as attention modes make it. Collective over processes; *out is of process 0. PARA_ERR_ARGUMENT, PARA_ERR_MEMORY,
 * PARA_ERR_BUSY, and what the exchange returns. */
PARA_API para_status para_bench_run_exchange(para_world *world, const para_bench_exchange *x, para_bench_exchanged *out);

/* ---- The machine: what para_use_machine reads */

typedef struct para_bench_machine_options {
    size_t size;      /* sizeof(para_bench_machine_options), set by PARA_BENCH_MACHINE_OPTIONS_INIT */
    para_dtype dtype; /* of the ops: PARA_F32 or PARA_BF16 (PARA_F32) */
    bool quick;       /* few sizes, short rounds: seconds instead of minutes, and rougher (false) */
    void (*on_point)(void *user, const char *what, const double *row, int columns); /* told of each row of the file as it is there, on process 0 (NULL) */
    void *user;       /* handed to on_point (NULL) */
} para_bench_machine_options;

#define PARA_BENCH_MACHINE_OPTIONS_INIT { sizeof(para_bench_machine_options), PARA_F32, false, NULL, NULL }

/* Measures ops on all ranks of the world at once, and exchanges between them, and writes the rates to a JSON file, in the place of those of the same device, type,
 * threads and ranks in it. file NULL: the one of the user's cache folder. Collective over processes; process 0 writes. PARA_ERR_ARGUMENT, PARA_ERR_IO,
 * PARA_ERR_FORMAT (the file is there, and is another), PARA_ERR_MEMORY, and those of para_bench_run_op. */
PARA_API para_status para_bench_machine(para_world *world, const para_bench_machine_options *options, const char *file);

#ifdef __cplusplus
}
#endif
#endif
