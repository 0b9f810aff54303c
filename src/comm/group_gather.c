/* Whether processes have one of them take over the ranks of all. SPDX-License-Identifier: Apache-2.0 */
#include "comm/group_state.h"
#include "core/error.h"

para_status para_group_all_willing(para_group *g, para_group_offer *offer, bool *all) {
    const para_group_offer own = *offer, *each = g->room;
    int64_t threads = 0;
    bool given = true;
    *all = false;
    PARA_TRY(para_meet(g, PARA_MEET_GATHER, &own, sizeof own, g->room));
    *all = true;
    for (int p = 0; p < g->processes; p++) {
        *all = *all && each[p].willing && each[p].gpus == own.gpus;
        given = given && each[p].threads > 0;
        threads += each[p].threads;
        CPU_OR(&offer->processors, &offer->processors, &each[p].processors);
    }
    offer->threads = given ? threads : 0;
    return PARA_OK;
}
