/* A rank's memory for one request. SPDX-License-Identifier: Apache-2.0 */
#include "core/arena.h"

#include "core/alloc.h"
#include "core/error.h"

enum { LEAST_BLOCK = 1 << 20 };

/* Memory for the bytes of the arena from `first` on. */
typedef struct para_arena_block {
    struct para_arena_block *next;
    char *base;
    size_t first, size;
} para_arena_block;

static para_status grow(para_arena *arena, size_t bytes) {
    para_arena_block *b = para_alloc(1, sizeof *b);
    void *base;
    if (!b) return PARA_ERR_MEMORY;
    b->size = bytes > LEAST_BLOCK ? bytes : LEAST_BLOCK;
    para_status status = arena->more.take(arena->more.user, b->size, &base);
    if (status != PARA_OK) {
        para_free(b);
        return status;
    }
    b->base = base;
    b->first = arena->used;
    b->next = arena->block;
    arena->block = b;
    return PARA_OK;
}

para_status para_arena_take(para_arena *arena, size_t bytes, void **out) {
    size_t rounded = (bytes + PARA_ARENA_ALIGN - 1) / PARA_ARENA_ALIGN * PARA_ARENA_ALIGN;
    const para_arena_block *b = arena->block;
    size_t first = b ? b->first : 0, size = b ? b->size : arena->size;
    if (rounded < bytes || rounded > size - (arena->used - first)) {
        if (rounded < bytes || !arena->more.take)
            return para_fail(PARA_ERR_MEMORY,
                             "the arena of %zu bytes has no room for %zu more (%zu are taken); this is a defect of the "
                             "plan, please report it",
                             arena->size, bytes, arena->used);
        PARA_TRY(grow(arena, rounded));
        b = arena->block;
        first = b->first;
    }
    *out = (b ? b->base : arena->base) + (arena->used - first);
    arena->used += rounded;
    if (arena->used > arena->peak) arena->peak = arena->used;
    return PARA_OK;
}

void para_arena_release(para_arena *arena, size_t mark) {
    arena->used = mark;
    while (arena->block && arena->block->first >= mark) {
        para_arena_block *b = arena->block;
        arena->block = b->next;
        arena->more.give_back(arena->more.user, b->base);
        para_free(b);
    }
}
