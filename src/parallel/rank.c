/* One worker. SPDX-License-Identifier: Apache-2.0 */
#include "parallel/rank.h"

para_status para_rank_check(const para_rank *rank) {
    return para_device_check(rank->device);
}
