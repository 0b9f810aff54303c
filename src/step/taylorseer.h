/* A tensor that is known at some steps, at the steps between: its value there and finite differences for derivatives. Source: TaylorSeer,
 * arXiv:2503.06923, as in ParaAttention's para_attn.first_block_cache.taylorseer. SPDX-License-Identifier: Apache-2.0 */
#ifndef PARA_STEP_TAYLORSEER_H
#define PARA_STEP_TAYLORSEER_H

#include "backend/backend.h"

enum { PARA_MAX_DERIVATIVES = 8 };

typedef struct para_taylorseer {
    int derivatives;                            /* at most */
    para_tensor term[PARA_MAX_DERIVATIVES + 1]; /* at the step `known`: the value, its first derivative, … */
    int terms;                                  /* that are there; 0: no value yet */
    int known;
} para_taylorseer;

/* Room for all terms, in the arena. `like`: type and sizes, contiguous. */
para_status para_taylorseer_open(para_taylorseer *out, para_device *dev, int derivatives, para_tensor like);

/* y is the value at `step`, later than any before. The seer keeps its memory; *y gets other memory of that size. */
para_status para_taylorseer_update(para_taylorseer *s, para_device *dev, int step, para_tensor *y);

/* x += the value at `step`. Without derivatives that is the last one known. */
para_status para_taylorseer_add(const para_taylorseer *s, para_device *dev, int step, para_tensor x);

#endif
