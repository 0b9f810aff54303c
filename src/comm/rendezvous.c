/* Ranks of one process that come together. SPDX-License-Identifier: Apache-2.0 */
#include "comm/rendezvous.h"

bool para_comm_meets(para_comm c) {
    const para_endpoint *e = c.rank->endpoint;
    return e && e->transport->rendezvous && c.size > 1;
}

para_status para_comm_rendezvous(para_comm c, para_status own, const void *note, size_t bytes, void *notes) {
    para_endpoint *e = c.rank->endpoint;
    return e->transport->rendezvous(e, &(para_gathering){c.first, c.stride, c.size, note, bytes}, own, notes);
}
