/* How far apart the ranks of a world are. SPDX-License-Identifier: Apache-2.0 */
#include "comm/links.h"

#include <string.h>

#include "comm/group_state.h"

para_rate para_group_link(const para_group *g, int a, int b) {
    int p = para_group_host_of(g, a), q = para_group_host_of(g, b);
    if (p == q) return PARA_RATE_PROCESS;
    return strcmp(g->peer[p].host, g->peer[q].host) == 0 ? PARA_RATE_HOST : PARA_RATE_HOSTS;
}

int para_group_ranks_together(const para_group *g) {
    int n = 0;
    for (int i = 0; i < g->size; i++) n += para_group_link(g, 0, i) != PARA_RATE_HOSTS;
    return n;
}
