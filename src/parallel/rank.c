/* One worker. SPDX-License-Identifier: Apache-2.0 */
#include "parallel/rank.h"

#include "core/error.h"

para_status para_rank_check(const para_rank *rank) {
    if (rank->cancel && atomic_load_explicit(rank->cancel, memory_order_relaxed))
        return para_fail(PARA_ERR_CANCELLED, "cancelled");
    return PARA_OK;
}
