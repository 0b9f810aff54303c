/* What a mask says of which queries and keys. SPDX-License-Identifier: Apache-2.0 */
#include "parallel/mask_kind.h"

#include <string.h>

#include "comm/rank.h"
#include "core/error.h"
#include "parallel/layout.h"

/* What a rank sees of its own mask. */
enum { ALL_COLUMNS = 1, SINGLE_ROW = 2 };

static int64_t all_tokens(const para_layout *l, para_comm c) {
    return para_layout_tokens(l, 0, c.size);
}

/* Every rank holds two queries and not all keys. */
static bool plain_to_all(para_comm c, const para_layout *q, const para_layout *kv) {
    for (int i = 0; i < c.size; i++)
        if (para_layout_tokens(q, i, 1) < 2 || para_layout_tokens(kv, i, 1) == all_tokens(kv, c)) return false;
    return true;
}

/* seen[i]: what rank i sees. A plan's ranks all see the same. */
static para_status tell_each_other(para_comm c, uint8_t *seen, para_tensor *views) {
    para_device *dev = c.rank->device;
    para_tensor bytes;
    para_exchange x;
    PARA_TRY(PARA_NEW(dev, &bytes, PARA_U8, c.size));
    for (int i = 0; i < c.size; i++) views[i] = para_rows(bytes, i, 1);
    memset(seen, seen[c.index], (size_t)c.size);
    PARA_TRY(dev->ops->upload(dev, bytes, seen));
    PARA_TRY(para_comm_all_gather(c, views[c.index], views, &x));
    PARA_TRY(para_comm_wait(&x));
    return dev->ops->download(dev, seen, &bytes);
}

static para_mask_kind kind_of(para_comm c, const para_layout *q, const uint8_t *seen) {
    bool many_rows = false, one_row = false;
    for (int i = 0; i < c.size; i++) {
        if (!(seen[i] & ALL_COLUMNS)) return PARA_MASK_KEYS;
        if (para_layout_tokens(q, i, 1) < 2) continue; /* it cannot tell */
        if (seen[i] & SINGLE_ROW) one_row = true;
        else many_rows = true;
    }
    return one_row && !many_rows ? PARA_MASK_ONE_ROW : PARA_MASK_ROWS;
}

para_status para_mask_kind_of(para_rank *rank, const para_attention_mode *mode, const para_attention_args *args,
                              para_mask_kind *out) {
    const para_layout *kv = mode->kv_layout ? mode->kv_layout : mode->layout;
    const int64_t *dim = args->mask.dim;
    para_comm c = para_mesh_comm(rank, mode->mesh, PARA_AXIS_TOKENS);
    int64_t all = all_tokens(kv, c), own = para_layout_tokens(kv, c.index, 1);
    *out = PARA_MASK_NONE;
    if (!args->mask.data) return PARA_OK;
    if (dim[3] != all && (dim[3] != own || dim[2] != 1))
        return para_fail(
            PARA_ERR_SHAPE,
            "attention: rank %d has a mask of %lld rows and %lld columns; it needs a column for each of all "
            "%lld keys, or one row and a column for each of the rank's own %lld keys",
            rank->index, (long long)dim[2], (long long)dim[3], (long long)all, (long long)own);
    if (plain_to_all(c, mode->layout, kv)) {
        *out = dim[3] != all ? PARA_MASK_KEYS : dim[2] == 1 ? PARA_MASK_ONE_ROW : PARA_MASK_ROWS;
        return PARA_OK;
    }
    size_t device = para_arena_mark(&rank->device->arena), host = para_arena_mark(&rank->host);
    void *seen, *views;
    PARA_TRY(para_rank_scratch(rank, (size_t)c.size, &seen));
    PARA_TRY(para_rank_scratch(rank, (size_t)c.size * sizeof(para_tensor), &views));
    ((uint8_t *)seen)[c.index] = (uint8_t)((dim[3] == all ? ALL_COLUMNS : 0) | (dim[2] == 1 ? SINGLE_ROW : 0));
    PARA_TRY(tell_each_other(c, seen, views));
    *out = kind_of(c, mode->layout, seen);
    para_arena_release(&rank->device->arena, device);
    para_arena_release(&rank->host, host);
    return PARA_OK;
}
