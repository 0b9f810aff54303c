/* Blocks of weights in pinned host memory, from which several devices may copy. SPDX-License-Identifier: Apache-2.0 */
#ifndef PARA_BACKEND_HOST_BLOCKS_H
#define PARA_BACKEND_HOST_BLOCKS_H

#include "backend/backend.h"

typedef struct para_host_blocks para_host_blocks;

/* Room for `blocks` blocks of so many bytes (0: none). PARA_ERR_MEMORY: the system pins no more. Held once. */
para_status para_host_blocks_open(para_host_blocks **out, para_device *dev, int blocks, const size_t *bytes);
/* Held by so many more, on any thread. */
void para_host_blocks_hold(para_host_blocks *b, int more);
/* Held by one less, whose device copies no more from there and is still open; freed when nobody is left. Takes NULL in it. */
void para_host_blocks_drop(para_host_blocks **b, para_device *dev);

char *para_host_blocks_at(const para_host_blocks *b, int block);

#endif
