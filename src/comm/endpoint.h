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

/* Transfers under way; each transport keeps its own behind it. */
typedef struct para_pending {
    para_endpoint *endpoint;
    para_device *device; /* copies what arrives */
} para_pending;

/* Ranks first, first + stride, … of the world, each with a note. */
typedef struct para_gathering {
    int first, stride, size;
    const void *note;
    size_t bytes; /* of it, the same for all */
} para_gathering;

/* What carries transfers. */
typedef struct para_transport {
    const char *name; /* "threads", "mpi", "dry" */
    /* Starts all of them and sets *pending (NULL: nothing to wait for). The tensors are not touched after `finish`. On failure nothing is under way. */
    para_status (*start)(para_endpoint *e, para_device *dev, int sends, const para_transfer *send, int receives, const para_transfer *receive,
                         para_pending **pending);
    /* Waits for them and frees `pending`, also on failure. */
    para_status (*finish)(para_pending *pending);
    void (*close)(para_endpoint *e);

    /* Where ranks address each other's memory: offers room for what others store, and asks for room at others, whose tensors say sizes and types. Then reach, which
     * waits for it, place, the i-th that was asked for, leave, and finish; see comm/landing.h. NULL: they do not. */
    para_status (*offer)(para_endpoint *e, para_device *dev, int offers, const para_transfer *offer, int places, const para_transfer *place,
                         para_pending **pending);
    para_status (*reach)(para_pending *pending);
    para_tensor (*place)(const para_pending *pending, int i);
    para_status (*leave)(para_pending *pending, bool done);

    /* There, too: ranks come together on the host; see comm/rendezvous.h. NULL: they do not. */
    para_status (*rendezvous)(para_endpoint *e, const para_gathering *a, para_status own, void *notes);
} para_transport;

struct para_endpoint {
    const para_transport *transport;
    int index, size;    /* place among all ranks of the world, and their number */
    const int *host;    /* [size]: on which host each rank is; NULL: all on one */
    int64_t bytes_sent; /* to other ranks */
    int64_t bytes_between_hosts; /* of them, to ranks on other hosts */
    int64_t messages;   /* transfers sent */
    double waited;      /* seconds that the host has waited for transfers */
    bool addressable;   /* all ranks are of one address space: they may store where others want it */
};

/* What an endpoint has counted. */
typedef struct para_traffic {
    int64_t bytes_sent, bytes_between_hosts, messages;
} para_traffic;

static inline para_traffic para_endpoint_traffic(const para_endpoint *e) {
    return (para_traffic){e->bytes_sent, e->bytes_between_hosts, e->messages};
}
/* Counts it `times` more; -1: as if it had not been. */
static inline void para_endpoint_count_again(para_endpoint *e, const para_traffic *t, int times) {
    e->bytes_sent += times * t->bytes_sent;
    e->bytes_between_hosts += times * t->bytes_between_hosts;
    e->messages += times * t->messages;
}

/* For transports: counts a transfer that is sent. */
static inline void para_endpoint_count(para_endpoint *e, const para_transfer *send) {
    int64_t bytes = para_tensor_count(&send->tensor) * (int64_t)para_dtype_size(send->tensor.dtype);
    e->bytes_sent += bytes;
    if (e->host && e->host[send->rank] != e->host[e->index]) e->bytes_between_hosts += bytes;
    e->messages++;
}

/* An endpoint that moves nothing and counts: it stands for any rank of any world, of one process unless
 * `addressable` is cleared. Closed with its transport's close. */
para_status para_dry_endpoint_open(para_endpoint **out, int index, int size);

#endif
