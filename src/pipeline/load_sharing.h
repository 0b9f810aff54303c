/* Ranks of a process that load the same component, each onto a device with memory of its own: one of them reads it for all. SPDX-License-Identifier: Apache-2.0 */
#ifndef PARA_PIPELINE_LOAD_SHARING_H
#define PARA_PIPELINE_LOAD_SHARING_H

#include "pipeline/pipeline_state.h"

/* What a rank is about to load. */
typedef struct para_load_wish {
    bool component[PARA_MAX_COMPONENTS];
    int kept; /* blocks of an offloaded transformer that would stay on its device */
} para_load_wish;

/* For each component with which ranks the own one loads it; size 0: it loads it alone, or not at all. with: [PARA_MAX_COMPONENTS]. Of an offloaded transformer that is
 * loaded together as many blocks are kept as all have room for. Collective over the ranks of the process that take part in the request (NULL: all of them), though
 * they may want different components. */
para_status para_load_together(const para_pipeline *pipe, para_rank *rank, const para_request *request, para_load_wish *wish, para_comm *with);
/* What para_weights_share is to be told; `with` stays until the component is loaded. */
para_weights_sharing para_load_sharing(para_comm *with);

#endif
