/* What a dry device counted. SPDX-License-Identifier: Apache-2.0 */
#ifndef PARA_BACKEND_COUNTS_H
#define PARA_BACKEND_COUNTS_H

#include "backend/backend.h"

typedef struct para_counts {
    double matmul_flops;    /* linear and convolution: 2 per multiply-add */
    double attention_flops; /* 4 · B · H · Sq · Skv · D (causal counted in full) */
    double bytes;           /* read and written by every op, each operand once */
    int64_t ops;            /* calls */
} para_counts;

/* The counters of a dry device: read and reset at will. */
para_counts *para_dry_counts(para_device *dev);

#endif
