/* What a dry device counted. SPDX-License-Identifier: Apache-2.0 */
#ifndef PARA_BACKEND_COUNTS_H
#define PARA_BACKEND_COUNTS_H

#include "backend/backend.h"
#include "io/machine_file.h"

typedef struct para_counts {
    double matmul_flops;    /* linear and convolution: 2 per multiply-add */
    double attention_flops; /* 4 · B · H · Sq · Skv · D (causal counted in full) */
    double bytes;           /* read and written by every op, each operand once */
    int64_t ops;            /* calls */
} para_counts;

/* The counters of a dry device: read and reset at will. */
para_counts *para_dry_counts(para_device *dev);

/* An op as it is counted. */
typedef struct para_counted_op {
    para_rate rate;       /* what it is as far as its time goes */
    int64_t size[4];      /* linear: M, N, K; attention: heads of all entries, queries, keys, head dim; else 0 */
    double flops, bytes;  /* as in para_counts */
    double activation;    /* linear: bytes that its activation reads and writes; else 0 */
} para_counted_op;

/* Told of every op of a dry device, in their order. */
typedef struct para_op_watch {
    void (*op)(void *user, const para_counted_op *op);
    void *user;
} para_op_watch;

void para_dry_watch(para_device *dev, const para_op_watch *watch); /* NULL: nobody; it must outlast the device */

#endif
