/* Transfers to GPUs of other processes: on a stream of their own, in the order in which they were started, without the host. What is not contiguous is
 * packed and unpacked by the device's own copies. SPDX-License-Identifier: Apache-2.0 */
#include "comm/group_state.h"
#include "core/alloc.h"
#include "core/error.h"

enum { ALIGN = 256 };

/* Memory of the device that is used again and again. */
struct para_staging {
    para_staging *next;
    void *base;
    size_t size;
    bool busy;
};

static size_t bytes_of(const para_tensor *t) {
    return (size_t)para_tensor_count(t) * para_dtype_size(t->dtype);
}

static size_t rounded(size_t bytes) {
    return (bytes + ALIGN - 1) / ALIGN * ALIGN;
}

/* The device's ops are in order: who gets it next overwrites nothing that is still read. */
static para_status take_staging(para_member *m, para_device *dev, size_t bytes, para_staging **out) {
    for (para_staging *s = m->staging; s; s = s->next)
        if (!s->busy && s->size >= bytes) {
            s->busy = true;
            *out = s;
            return PARA_OK;
        }
    para_staging *s = para_alloc(1, sizeof *s);
    if (!s) return PARA_ERR_MEMORY;
    para_status status = dev->ops->alloc(dev, bytes, &s->base);
    if (status != PARA_OK) {
        para_free(s);
        return status;
    }
    s->size = bytes;
    s->busy = true;
    s->next = m->staging;
    m->staging = s;
    *out = s;
    return PARA_OK;
}

void para_group_free_staging(para_group *g, int local, para_device *dev) {
    if (!g || !g->member) return;
    para_member *m = &g->member[local];
    while (m->staging) {
        para_staging *s = m->staging;
        m->staging = s->next;
        dev->ops->free(dev, s->base);
        para_free(s);
    }
}

/* Gives every tensor its place in one piece: its own, or in the staging. */
static para_status place(para_member *m, para_device *dev, int n, para_lane_item *item, para_lane *lane) {
    size_t bytes = 0;
    for (int i = 0; i < n; i++) {
        item[i].packed = item[i].tensor;
        if (!para_tensor_contiguous(&item[i].tensor)) bytes += rounded(bytes_of(&item[i].tensor));
    }
    if (!bytes) return PARA_OK;
    PARA_TRY(take_staging(m, dev, bytes, &lane->staging));
    char *at = lane->staging->base;
    for (int i = 0; i < n; i++) {
        const para_tensor *t = &item[i].tensor;
        if (para_tensor_contiguous(t)) continue;
        item[i].packed = para_tensor_make(at, t->dtype, t->rank, t->dim);
        at += rounded(bytes_of(t));
        if (!item[i].receives) PARA_TRY(dev->ops->copy(dev, item[i].packed, *t));
    }
    return PARA_OK;
}

static para_status check(void *member) {
    const para_member *m = member;
    return para_group_check(m->group, m->local);
}

static para_status exchange(para_member *m, para_device *dev, int n, const para_lane_item *item, para_nccl_piece *piece) {
    int sends = 0, receives = 0;
    para_nccl_piece *receive = piece + n;
    for (int i = 0; i < n; i++) {
        para_nccl_piece p = {item[i].rank, item[i].packed.data, bytes_of(&item[i].packed)};
        if (item[i].receives) receive[receives++] = p;
        else piece[sends++] = p;
    }
    para_mark *ready = NULL; /* packed, and no longer read where something arrives */
    void *stream = NULL;
    PARA_TRY(dev->ops->mark(dev, &ready));
    para_status status = dev->ops->lane(dev, ready, &stream);
    dev->ops->mark_close(dev, &ready);
    PARA_TRY(status);
    return para_nccl_exchange(m->group->nccl, m->local, stream, sends, piece, receives, receive, check, m);
}

para_status para_lane_start(para_member *m, para_device *dev, int n, para_lane_item *item, para_lane *lane) {
    *lane = (para_lane){0};
    para_nccl_piece *piece = para_alloc(2 * (size_t)n, sizeof *piece);
    para_status status = piece ? place(m, dev, n, item, lane) : PARA_ERR_MEMORY;
    if (status == PARA_OK) status = exchange(m, dev, n, item, piece);
    if (status == PARA_OK) status = dev->ops->lane_mark(dev, &lane->passed);
    para_free(piece);
    if (status != PARA_OK) para_lane_close(dev, lane);
    return status;
}

para_status para_lane_unpack(para_device *dev, int n, const para_lane_item *item) {
    for (int i = 0; i < n; i++)
        if (item[i].receives && item[i].packed.data != item[i].tensor.data) PARA_TRY(dev->ops->copy(dev, item[i].tensor, item[i].packed));
    return PARA_OK;
}

void para_lane_close(para_device *dev, para_lane *lane) {
    if (lane->passed) dev->ops->mark_close(dev, &lane->passed);
    if (lane->staging) lane->staging->busy = false;
    lane->staging = NULL;
}
