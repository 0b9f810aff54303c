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

/* ---- Ops alone: what a machine can do */

typedef enum para_bench_kind {
    PARA_BENCH_LINEAR = 1,    /* size: M, N, K; y [M, N] = x [M, K] · weightᵀ [N, K] */
    PARA_BENCH_ATTENTION = 2, /* size: B, H, Sq, Skv, D */
    PARA_BENCH_COPY = 3,      /* size: bytes */
} para_bench_kind;

typedef struct para_bench_op {
    para_bench_kind kind;
    para_dtype dtype; /* PARA_F32, PARA_BF16 or PARA_F16 where the device has it */
    int64_t size[5];
    bool causal;      /* attention: query i sees keys 0 to i */
} para_bench_op;

typedef struct para_bench_rate {
    double ms;           /* of a call: the median over rounds of 20 calls, on buffers in turn; fewer on a CPU */
    double flops, bytes; /* of a call: computed; read and written by a copy */
} para_bench_rate;

/* Times an op on normal random data on the world's first rank. Where the device can, calls are recorded and played. Products are tuned before.
 * PARA_ERR_ARGUMENT, PARA_ERR_MEMORY, PARA_ERR_BUSY, and what the op returns. */
PARA_API para_status para_bench_run_op(para_world *world, const para_bench_op *op, para_bench_rate *out);

#ifdef __cplusplus
}
#endif
#endif
