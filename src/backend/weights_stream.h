/* Weights on their way from files to a device: read by several threads, in the order in which they lie there, through a few buffers.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef PARA_BACKEND_WEIGHTS_STREAM_H
#define PARA_BACKEND_WEIGHTS_STREAM_H

#include "backend/backend.h"

/* A tensor, where it is and where it goes. */
typedef struct para_transfer {
    const char *name, *path; /* of the tensor and of its file, for messages */
    int fd;                  /* the file; -1: it lies in memory, at `values` */
    int64_t offset;          /* in the file */
    const void *values;
    para_dtype from, to;     /* equal, or `to` is F32 */
    int64_t count;           /* elements */
    void *dst;               /* [count] of `to`, */
    bool on_host;            /* in host memory, not the device's */
} para_transfer;

/* Carries them all out and waits; sorts them. Host memory: a few buffers of some MB. Between pieces the device's on_load is told and its check asked. PARA_ERR_IO (a file that became
 * shorter, too), PARA_ERR_MEMORY, PARA_ERR_CANCELLED, and what the device's copies return. */
para_status para_transfer_all(para_device *dev, para_transfer *transfers, size_t count);

#endif
