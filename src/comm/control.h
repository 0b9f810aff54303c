/* What processes tell each other beside the data: signs of life, failures, and what they bring to a meeting. SPDX-License-Identifier: Apache-2.0 */
#ifndef PARA_COMM_CONTROL_H
#define PARA_COMM_CONTROL_H

#include "comm/group_state.h"

/* With the group's lock held. A sign of life to all other processes; `idle`: all ranks here have waited for `timeout` seconds. A failure of this run. */
void para_control_beat(para_group *g, bool idle);
void para_control_tell_failure(para_group *g);

/* What this process brings to its next meeting, to all others. With the lock held. */
para_status para_control_send_note(para_group *g, para_meeting what, const void *bytes, int n);

/* Takes in what others have sent. Without the lock. */
void para_control_poll(para_group *g);

#endif
