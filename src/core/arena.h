/* A rank's memory for one request: taken in order, given back in order. SPDX-License-Identifier: Apache-2.0 */
#ifndef PARA_CORE_ARENA_H
#define PARA_CORE_ARENA_H

#include <paraattn/status.h>
#include <stddef.h>

/* Where an arena that may grow gets more from. */
typedef struct para_arena_source {
    para_status (*take)(void *user, size_t bytes, void **out); /* aligned to PARA_ARENA_ALIGN; NULL: the arena does not grow */
    void (*give_back)(void *user, void *p);
    void *user;
} para_arena_source;

/* Bytes [base, base + size) on the device of the arena's owner. One thread at a time.
 * A dry arena has a base that is never dereferenced and no limit: it only finds the peak. */
typedef struct para_arena {
    char *base;  /* aligned to PARA_ARENA_ALIGN */
    size_t size; /* capacity in bytes */
    size_t used; /* bytes taken now */
    size_t peak; /* most bytes ever taken */
    para_arena_source more;         /* for what does not fit any more */
    struct para_arena_block *block; /* what came from there, the last one first */
} para_arena;

enum { PARA_ARENA_ALIGN = 256 };

/* Takes `bytes` (rounded up to PARA_ARENA_ALIGN); not zeroed. PARA_ERR_MEMORY when the capacity does not suffice. */
para_status para_arena_take(para_arena *arena, size_t bytes, void **out);

/* A mark, and the way back to it: everything taken since is free again. */
static inline size_t para_arena_mark(const para_arena *arena) {
    return arena->used;
}
void para_arena_release(para_arena *arena, size_t mark);

#endif
