/* The ranks as batch × ring × ulysses. SPDX-License-Identifier: Apache-2.0 */
#ifndef PARA_PARALLEL_MESH_H
#define PARA_PARALLEL_MESH_H

#include <paraattn/attention.h>

struct para_mesh {
    int batch, ring, ulysses; /* rank index = (b · ring + r) · ulysses + u */
};

/* A mesh of `ranks` ranks, checked; `ulysses` 0: what is left. */
para_status para_mesh_make(para_mesh *out, int ranks, int batch, int ring, int ulysses);

#endif
