/* Whether processes have one of them take over the ranks of all. SPDX-License-Identifier: Apache-2.0 */
#include "comm/group_state.h"
#include "core/error.h"

typedef struct offer {
    int32_t willing;
    cpu_set_t processors;
} offer;

static bool on_one_host(const para_group *g) {
    for (int p = 1; p < g->processes; p++)
        if (g->peer[p].host_number != g->peer[0].host_number) return false;
    return true;
}

para_status para_group_all_willing(para_group *g, bool willing, cpu_set_t *own, bool *all) {
    const offer mine = {willing && on_one_host(g), *own};
    const offer *each = g->room;
    *all = false;
    PARA_TRY(para_meet(g, PARA_MEET_GATHER, &mine, sizeof mine, g->room));
    *all = true;
    for (int p = 0; p < g->processes; p++) {
        *all = *all && each[p].willing;
        CPU_OR(own, own, &each[p].processors);
    }
    return PARA_OK;
}
