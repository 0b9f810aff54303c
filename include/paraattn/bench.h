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
    para_tensor latents;              /* [num_images, tokens, channels] */
    para_tensor prompt_embeds;        /* [text tokens, joint_attention_dim] */
    para_tensor pooled_prompt_embeds; /* [1, pooled_projection_dim], or data NULL where the model takes none */
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

#ifdef __cplusplus
}
#endif
#endif
