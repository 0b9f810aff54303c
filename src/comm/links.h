/* How far apart the ranks of a world are. SPDX-License-Identifier: Apache-2.0 */
#ifndef PARA_COMM_LINKS_H
#define PARA_COMM_LINKS_H

#include "comm/group.h"
#include "io/machine_file.h"

/* Between two ranks of the world: PARA_RATE_PROCESS, PARA_RATE_HOST or PARA_RATE_HOSTS. */
para_rate para_group_link(const para_group *group, int a, int b);
/* Ranks on the host of rank 0. */
int para_group_ranks_together(const para_group *group);

#endif
