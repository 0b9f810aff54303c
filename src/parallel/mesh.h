/* The ranks as batch × ring × ulysses. SPDX-License-Identifier: Apache-2.0 */
#ifndef PARA_PARALLEL_MESH_H
#define PARA_PARALLEL_MESH_H

#include <paraattn/attention.h>

struct para_mesh {
    int batch, ring, ulysses; /* rank index = (b · ring + r) · ulysses + u */
};

static inline int para_mesh_ranks(const para_mesh *m) {
    return m->batch * m->ring * m->ulysses;
}

/* A mesh of `ranks` ranks, checked; `ulysses` 0: what is left. */
para_status para_mesh_make(para_mesh *out, int ranks, int batch, int ring, int ulysses);
/* Fails with PARA_ERR_ARGUMENT, naming the meshes of the ranks with at most so many groups on the batch axis. Axes of 0 are not named. */
para_status para_mesh_misfit(para_mesh mesh, int ranks, int64_t most_batch);

#endif
