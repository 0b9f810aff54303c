/* Positions of Mochi's tokens, by which each head turns with frequencies of its own that were learned. SPDX-License-Identifier: Apache-2.0 */
#ifndef PARA_MODEL_MOCHI_ROPE_H
#define PARA_MODEL_MOCHI_ROPE_H

#include "backend/backend.h"

/* out [n, 3] F32 of the arena: frame, row and column of the tokens [first, first + n) of a grid of frames, rows and columns. Source: MochiRoPE. */
para_status para_mochi_positions(para_device *dev, const int64_t grid[3], int64_t first, int64_t n, para_tensor *out);

#endif
