/* A rank's way to the others. SPDX-License-Identifier: Apache-2.0 */
#ifndef PARA_COMM_ENDPOINT_H
#define PARA_COMM_ENDPOINT_H

#include "backend/backend.h"

typedef struct para_endpoint para_endpoint;

/* A tensor to or from a rank of the world. Between two ranks transfers match in the order in which they were started. */
typedef struct para_transfer {
    int rank;           /* of the world; not the own one */
    para_tensor tensor; /* any strides, at least one element */
} para_transfer;

/* What carries transfers. */
typedef struct para_transport {
    const char *name; /* "threads", "mpi", "dry" */
    /* Starts all of them and sets *pending (NULL: nothing to wait for). The tensors are not touched after `finish`. */
    para_status (*start)(para_endpoint *e, para_device *dev, int sends, const para_transfer *send, int receives, const para_transfer *receive,
                         void **pending);
    /* Waits for them and frees `pending`, also on failure. */
    para_status (*finish)(para_endpoint *e, para_device *dev, void *pending);
    void (*close)(para_endpoint *e);
} para_transport;

struct para_endpoint {
    const para_transport *transport;
    int index, size;    /* place among all ranks of the world, and their number */
    int64_t bytes_sent; /* to other ranks */
    int64_t messages;   /* transfers sent */
    void *impl;         /* the transport's own */
};

/* An endpoint that moves nothing and counts: it stands for any rank of any world. Closed with its transport's close. */
para_status para_dry_endpoint_open(para_endpoint **out, int index, int size);

#endif
