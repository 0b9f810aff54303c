/* How far apart the ranks of a world are. SPDX-License-Identifier: Apache-2.0 */
#include "comm/links.h"

#include "comm/group_state.h"

para_rate para_group_link(const para_group *g, int a, int b) {
    if (g->host[a] != g->host[b]) return PARA_RATE_HOSTS;
    return para_group_process_of(g, a) == para_group_process_of(g, b) ? PARA_RATE_PROCESS : PARA_RATE_HOST;
}

int para_group_ranks_together(const para_group *g) {
    int n = 0;
    for (int i = 0; i < g->size; i++) n += para_group_link(g, 0, i) != PARA_RATE_HOSTS;
    return n;
}
