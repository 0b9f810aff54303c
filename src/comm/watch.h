/* A thread that notices when a rank or a process is lost, or all wait for each other, and tells other processes that this one lives. SPDX-License-Identifier: Apache-2.0 */
#ifndef PARA_COMM_WATCH_H
#define PARA_COMM_WATCH_H

#include "comm/group.h"

/* Starts the group's watch, which sleeps between runs where there is one process; ends it, where there is one. */
para_status para_watch_open(para_group *g);
void para_watch_close(para_group *g);

#endif
