/* Ranks of a process that load the same component, each onto a device with memory of its own: one of them reads it for all. SPDX-License-Identifier: Apache-2.0 */
#ifndef PARA_PIPELINE_LOAD_SHARING_H
#define PARA_PIPELINE_LOAD_SHARING_H

#include "pipeline/pipeline_state.h"

/* What a rank is about to load. */
typedef struct para_load_wish {
    bool component[PARA_MAX_COMPONENTS];
    bool later[PARA_MAX_COMPONENTS]; /* for which there is no room yet: whoever has room waits, to load it together */
    int kept; /* blocks of an offloaded transformer that would stay on its device */
} para_load_wish;

/* For each component with which ranks the own one loads it; size 0: it loads it alone, or not at all. with: [PARA_MAX_COMPONENTS]; wish->component loses what is for
 * later. Of an offloaded transformer that is loaded together as many blocks are kept as all have room for. Collective over those of the process that are among the
 * world's first `ranks`, though they may want different components, or none; of the others nothing is asked. */
para_status para_load_together(const para_pipeline *pipe, para_rank *rank, int ranks, para_load_wish *wish, para_comm *with);
/* Which components one of those ranks lacks. lacks: [PARA_MAX_COMPONENTS], in: what the own one lacks. Collective as para_load_together. */
para_status para_load_lacking(const para_pipeline *pipe, para_rank *rank, int ranks, bool *lacks);
/* What para_weights_share is to be told; `with` stays until the component is loaded. */
para_weights_sharing para_load_sharing(para_comm *with);

#endif
