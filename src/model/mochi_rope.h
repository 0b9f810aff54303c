/* Rotary tables of Mochi: frequencies that were learned, of each head its own. SPDX-License-Identifier: Apache-2.0 */
#ifndef PARA_MODEL_MOCHI_ROPE_H
#define PARA_MODEL_MOCHI_ROPE_H

#include "backend/backend.h"

/* cos, sin [n, H, D] F32 of the arena, each value twice (interleaved pairs): tokens [first, first + n) of a grid of frames, rows and columns turn by
 * Σ position_a · frequencies[a, h, i]. frequencies [3, H, D/2] F32. Waits. Source: MochiRoPE. */
para_status para_mochi_rope(para_device *dev, para_tensor frequencies, const int64_t grid[3], int64_t first, int64_t n, para_tensor *cos_out,
                            para_tensor *sin_out);

#endif
