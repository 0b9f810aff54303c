/* A device in host memory whose copies come late: what was begun happens when somebody waits for it. SPDX-License-Identifier: Apache-2.0 */
#ifndef PARA_TESTS_COPIES_DEVICE_H
#define PARA_TESTS_COPIES_DEVICE_H

#include <string.h>

#include "backend/backend.h"
#include "core/alloc.h"
#include "core/error.h"

enum { LATE_COPIES = 64 };

typedef struct late_copy {
    int slot;
    void *dst;
    const void *src;
    size_t bytes;
} late_copy;

typedef struct copies_device {
    para_device dev;
    late_copy late[LATE_COPIES];
    int count;
    bool in_use[PARA_COPY_SLOTS]; /* between arrived and used */
    int blocks, pinned, begun, fail_begin_at, fail_pin_at, pins, checks, cancel_at;
    int misuses; /* copies into a slot that is in use */
} copies_device;

static inline copies_device *copies_of(para_device *dev) {
    return dev->impl;
}

static para_status copies_alloc(para_device *dev, size_t bytes, void **out) {
    if (!(*out = para_alloc_aligned(bytes ? bytes : 1))) return PARA_ERR_MEMORY;
    copies_of(dev)->blocks++;
    return PARA_OK;
}

static void copies_free(para_device *dev, void *p) {
    if (p) copies_of(dev)->blocks--;
    para_free(p);
}

static para_status copies_pin(para_device *dev, size_t bytes, void **out) {
    copies_device *d = copies_of(dev);
    *out = NULL;
    if (++d->pins == d->fail_pin_at) return para_fail(PARA_ERR_MEMORY, "no pinned memory");
    if (!(*out = para_alloc_aligned(bytes ? bytes : 1))) return PARA_ERR_MEMORY;
    d->pinned++;
    return PARA_OK;
}

/* Does what was begun up to the slot's last copy, as a stream does. */
static void copies_flush(copies_device *d, int slot) {
    int last = d->count;
    while (last > 0 && d->late[last - 1].slot != slot) last--;
    for (int i = 0; i < last; i++) memcpy(d->late[i].dst, d->late[i].src, d->late[i].bytes);
    memmove(d->late, d->late + last, (size_t)(d->count - last) * sizeof *d->late);
    d->count -= last;
}

static void copies_unpin(para_device *dev, void *p) {
    copies_device *d = copies_of(dev);
    for (int i = 0; i < PARA_COPY_SLOTS; i++) copies_flush(d, i);
    if (p) d->pinned--;
    para_free(p);
}

static para_status copies_begin(para_device *dev, int slot, void *dst, const void *pinned, size_t bytes) {
    copies_device *d = copies_of(dev);
    if (++d->begun == d->fail_begin_at) return para_fail(PARA_ERR_DEVICE, "copy failed");
    if (d->in_use[slot]) d->misuses++;
    if (d->count == LATE_COPIES) copies_flush(d, d->late[d->count - 1].slot);
    d->late[d->count++] = (late_copy){slot, dst, pinned, bytes};
    return PARA_OK;
}

static para_status copies_arrived(para_device *dev, int slot) {
    copies_flush(copies_of(dev), slot);
    copies_of(dev)->in_use[slot] = true;
    return PARA_OK;
}

static para_status copies_used(para_device *dev, int slot) {
    copies_of(dev)->in_use[slot] = false;
    return PARA_OK;
}

static para_status copies_done(para_device *dev, int slot) {
    copies_flush(copies_of(dev), slot);
    return PARA_OK;
}

/* A request that is cancelled at the n-th question. */
static para_status copies_check(void *user) {
    copies_device *d = user;
    return ++d->checks == d->cancel_at ? para_fail(PARA_ERR_CANCELLED, "cancelled") : PARA_OK;
}

static const para_copies copies_table = {copies_pin, copies_unpin, copies_begin, copies_arrived, copies_used, copies_done};
static const para_ops copies_ops = {.name = "late", .alloc = copies_alloc, .free = copies_free, .copies = &copies_table};

static inline void copies_open(copies_device *d) {
    *d = (copies_device){.dev = {.ops = &copies_ops, .check = copies_check, .check_user = d}};
    d->dev.impl = d;
}

#endif
