/* Blocks of weights that take turns on a device: all of them lie in pinned host memory, a few at a time in "slots" of the device's.
 * SPDX-License-Identifier: Apache-2.0
 *
 * A block comes into the same slot always, so that what points into it stays right from turn to turn. While a block is in use the next ones are on their way. */
#ifndef PARA_BACKEND_BLOCK_SLOTS_H
#define PARA_BACKEND_BLOCK_SLOTS_H

#include "backend/host_blocks.h"

typedef struct para_block_slots para_block_slots;

/* Room for `blocks` blocks of so many bytes (0: the block takes no turns), on the host and, `slots` at a time (2 to PARA_COPY_SLOTS), on a device with copies.
 * host: where they lie already, whose holder this becomes, even if it fails; or NULL. PARA_ERR_MEMORY: the device's, or host memory that cannot be pinned. */
para_status para_block_slots_open(para_block_slots **out, para_device *dev, int blocks, const size_t *bytes, int slots, para_host_blocks *host);
void para_block_slots_close(para_block_slots **slots); /* before the device */

/* The blocks on the host, to be filled before their first turn; where a block's memory begins on the device. */
para_host_blocks *para_block_slots_host(const para_block_slots *s);
char *para_block_slots_device(const para_block_slots *s, int block);

/* Ops between enter and leave find the block in its slot; it was sent for before, or is now. After leave the slot's next block is sent for: the blocks are
 * expected in a circle. */
para_status para_block_slots_enter(para_block_slots *s, int block);
para_status para_block_slots_leave(para_block_slots *s, int block);

#endif
