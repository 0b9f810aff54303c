/* Who holds which tokens among ranks that exchange them, and the mask of their keys. SPDX-License-Identifier: Apache-2.0 */
#ifndef PARA_PARALLEL_EXCHANGE_PARTS_H
#define PARA_PARALLEL_EXCHANGE_PARTS_H

#include "parallel/token_span.h"

/* The tokens of the ranks of a communicator. */
typedef struct para_parts {
    para_comm comm;
    para_span *part;             /* [comm.size]: of each */
    para_span all;               /* of all of them */
    para_tensor *send, *receive; /* [comm.size]: room for the views of a call */
} para_parts;

/* Each rank of `comm` stands for `places` neighbours on the tokens axis, the first of them for those from `place` on. */
para_status para_parts_open(para_parts *out, para_comm comm, const para_layout *layout, int place, int places);
/* PARA_ERR_SHAPE unless this rank's part is `tokens` long; `what` names them. */
para_status para_parts_check(const para_parts *p, int64_t tokens, const char *what);
static inline const para_span *para_parts_own(const para_parts *p) {
    return &p->part[p->comm.index];
}

/* A mask on its way from columns of a rank's own keys to columns of all parts' keys. */
typedef struct para_mask_gather {
    para_tensor own;  /* [B | 1, H | 1, 1, own keys] */
    para_tensor mask; /* [B | 1, H | 1, Sq | 1, keys of all parts], or of the whole layout where it came so; none without a mask */
    bool gathers;     /* there is something to do */
    bool started;
    para_exchange x[PARA_SEGMENTS];
} para_mask_gather;

/* Takes room where the mask is key padding. Once its data is there: start (again: nothing), wait. */
para_status para_mask_gather_open(para_mask_gather *out, const para_parts *keys, para_tensor mask, bool key_padding);
para_status para_mask_gather_start(para_mask_gather *g, const para_parts *keys);
para_status para_mask_gather_wait(para_mask_gather *g);

#endif
