/* A thread that notices when a rank is lost, or all wait for each other. SPDX-License-Identifier: Apache-2.0 */
#ifndef PARA_COMM_WATCH_H
#define PARA_COMM_WATCH_H

#include "comm/group.h"

/* Starts the group's watch, which sleeps between runs; ends it, where there is one. */
para_status para_watch_open(para_group *g);
void para_watch_close(para_group *g);

#endif
