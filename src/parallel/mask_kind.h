/* What a mask says of which queries and keys. SPDX-License-Identifier: Apache-2.0 */
#ifndef PARA_PARALLEL_MASK_KIND_H
#define PARA_PARALLEL_MASK_KIND_H

#include <paraattn/attention.h>

typedef enum para_mask_kind {
    PARA_MASK_NONE,
    PARA_MASK_KEYS,    /* columns of the rank's own keys, one row for all queries */
    PARA_MASK_ONE_ROW, /* columns of all keys, one row for all queries */
    PARA_MASK_ROWS,    /* columns of all keys, a row for each of the rank's own queries (or one for all of them) */
} para_mask_kind;

/* The kind of args->mask in a mode that exchanges, the same on all ranks. Sizes of 1 and of "all" may look alike on a rank that holds one token or all:
 * where the layout has such ranks, all tell each other what they see, and wait. PARA_ERR_SHAPE where the mask fits none. */
para_status para_mask_kind_of(para_rank *rank, const para_attention_mode *mode, const para_attention_args *args, para_mask_kind *out);

#endif
