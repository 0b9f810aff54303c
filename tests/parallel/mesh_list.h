/* Every mesh of a few ranks. SPDX-License-Identifier: Apache-2.0 */
#ifndef PARA_TESTS_MESH_LIST_H
#define PARA_TESTS_MESH_LIST_H

#include <paraattn/paraattn.h>

enum { MOST_RANKS = 8, MOST_MESHES = 128 };

/* Every mesh of 1 to 8 ranks with at most `items` batch groups; each_th: only every so many-th. */
static inline int list_meshes(para_parallel_options *out, int items, int each_th) {
    int found = 0, n = 0;
    for (int ranks = 1; ranks <= MOST_RANKS; ranks++)
        for (int batch = 1; batch <= items; batch++)
            for (int ring = 1; ring <= ranks; ring++) {
                if (ranks % (batch * ring) || found++ % each_th) continue;
                out[n] = (para_parallel_options)PARA_PARALLEL_OPTIONS_INIT;
                out[n].batch = batch;
                out[n].ring = ring;
                out[n++].ulysses = ranks / batch / ring;
            }
    return n;
}

static inline int ranks_of(const para_parallel_options *o) {
    return o->batch * o->ring * o->ulysses;
}

#endif
