/* Who holds which tokens among ranks that exchange them, and the mask of their keys. SPDX-License-Identifier: Apache-2.0 */
#include "parallel/exchange_parts.h"

#include "comm/rank.h"
#include "core/error.h"

para_status para_parts_open(para_parts *out, para_comm comm, const para_layout *layout, int place, int places) {
    size_t n = (size_t)comm.size;
    void *part, *views;
    *out = (para_parts){.comm = comm, .all = para_span_of(layout, place, comm.size * places)};
    PARA_TRY(para_rank_scratch(comm.rank, n * sizeof *out->part, &part));
    PARA_TRY(para_rank_scratch(comm.rank, 2 * n * sizeof *out->send, &views));
    out->part = part;
    out->send = views;
    out->receive = out->send + n;
    for (int i = 0; i < comm.size; i++) out->part[i] = para_span_of(layout, place + i * places, places);
    return PARA_OK;
}

para_status para_parts_check(const para_parts *p, int64_t tokens, const char *what) {
    const para_span *own = para_parts_own(p);
    if (para_span_tokens(own) == tokens) return PARA_OK;
    return para_fail(
        PARA_ERR_SHAPE,
        "attention: rank %d has %lld %s, but the layout gives it %lld (%lld of the image, %lld of the text)",
        p->comm.rank->index, (long long)tokens, what, (long long)para_span_tokens(own),
        (long long)own->count[PARA_IMAGE], (long long)own->count[PARA_TEXT]);
}

para_status para_mask_gather_open(para_mask_gather *out, const para_parts *keys, para_tensor mask, bool key_padding) {
    *out = (para_mask_gather){.own = mask, .mask = mask, .gathers = key_padding};
    if (!key_padding) return PARA_OK;
    return PARA_NEW(keys->comm.rank->device, &out->mask, mask.dtype, mask.dim[0], mask.dim[1], 1,
                    para_span_tokens(&keys->all));
}

para_status para_mask_gather_start(para_mask_gather *g, const para_parts *keys) {
    const para_span *own = para_parts_own(keys);
    if (!g->gathers || g->started) return PARA_OK;
    g->started = true;
    for (int s = 0; s < PARA_SEGMENTS; s++) {
        if (keys->all.count[s] == 0) continue;
        for (int i = 0; i < keys->comm.size; i++)
            keys->receive[i] =
                para_slice(g->mask, 3, para_span_row(&keys->all, &keys->part[i], s), keys->part[i].count[s]);
        para_tensor send = para_slice(g->own, 3, para_span_row(own, own, s), own->count[s]);
        PARA_TRY(para_comm_all_gather(keys->comm, send, keys->receive, &g->x[s]));
    }
    return PARA_OK;
}

para_status para_mask_gather_wait(para_mask_gather *g) {
    for (int s = 0; s < PARA_SEGMENTS; s++) PARA_TRY(para_comm_wait(&g->x[s]));
    return PARA_OK;
}
