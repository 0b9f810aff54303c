/* The ring as a part of another mode. SPDX-License-Identifier: Apache-2.0 */
#ifndef PARA_PARALLEL_RING_MODE_H
#define PARA_PARALLEL_RING_MODE_H

#include <paraattn/attention.h>

/* Each rank stands for all of its ulysses axis, whose tokens it has of the heads at hand. What the mask is, is known. */
para_attention_mode para_ring_of_groups(const para_mesh *mesh, const para_layout *layout, const para_layout *kv_layout, bool key_padding);

#endif
