/* Random numbers in the place of a checkpoint, for measuring. SPDX-License-Identifier: Apache-2.0 */
#ifndef PARA_BACKEND_RANDOM_WEIGHTS_H
#define PARA_BACKEND_RANDOM_WEIGHTS_H

#include <paraattn/tensor.h>

/* Values that come again after `period`; tensors are cut from them, each at a place of its own. */
typedef struct para_random_stretch {
    int64_t period;
    void *values; /* [period + elements of the largest tensor] */
} para_random_stretch;

/* All zero: none. */
typedef struct para_random_weights {
    para_dtype type;
    para_random_stretch other, scales; /* normal, standard deviation 0.02; 1 + the same, of norms */
} para_random_weights;

/* For `total` elements, in tensors of no more than `largest`; scales of no more than `largest_scale`. The same at each call. PARA_ERR_MEMORY. */
para_status para_random_weights_open(para_random_weights *out, para_dtype type, int64_t total, int64_t largest, int64_t largest_scale);
void para_random_weights_close(para_random_weights *r); /* takes a zeroed one, too */

/* Values of the i-th tensor. */
void *para_random_weights_at(const para_random_weights *r, size_t i, bool scale);

#endif
