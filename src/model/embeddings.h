/* Timestep embeddings and rotary tables, computed on the host. SPDX-License-Identifier: Apache-2.0 */
#ifndef PARA_MODEL_EMBEDDINGS_H
#define PARA_MODEL_EMBEDDINGS_H

#include "backend/backend.h"

/* Form of a sinusoidal embedding. */
typedef struct para_sinusoids {
    int64_t dim;        /* even */
    bool sin_first;     /* sin, then cos; else cos, then sin, which is flip_sin_to_cos */
    int64_t freq_shift; /* not dim / 2 */
} para_sinusoids;

/* Sinusoidal embedding of `n` values, out [n, dim]. Source: diffusers get_timestep_embedding. */
void para_timestep_embedding(float *out, const float *values, int n, para_sinusoids form);

/* Rotary tables of tokens on a grid: cos, sin host [frames · height · width, Σ dims], each value twice (interleaved pairs).
 * Axis a of a token turns by position_a · theta^(-2i / dims[a]), in double. Source: diffusers FluxPosEmbed, get_1d_rotary_pos_embed. */
void para_rope_grid(float *cos, float *sin, const int64_t grid[3], const int64_t dims[3], double theta);

#endif
