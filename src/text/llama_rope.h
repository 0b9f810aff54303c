/* Rotary position embedding of Llama's configs. SPDX-License-Identifier: Apache-2.0 */
#ifndef PARA_TEXT_LLAMA_ROPE_H
#define PARA_TEXT_LLAMA_ROPE_H

#include "io/config.h"

typedef struct para_llama_rope {
    double theta;
    bool scaled; /* rope_type "llama3": slow frequencies are divided by `factor` */
    double factor, low_freq_factor, high_freq_factor;
    int64_t original_max_position_embeddings;
} para_llama_rope;

/* Reads rope_parameters (transformers 5) or rope_theta and rope_scaling (before). Types: default and llama3; others PARA_ERR_CONFIG. */
para_status para_llama_rope_read(para_llama_rope *rope, const para_config *config);

/* cos, sin [n, head_dim]: column i and i + head_dim / 2 turn alike. Source: LlamaRotaryEmbedding, _compute_llama3_parameters. */
void para_llama_rope_tables(const para_llama_rope *rope, int64_t n, int64_t head_dim, float *cos, float *sin);

#endif
