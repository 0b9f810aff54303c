/* A rank's memory for one request. SPDX-License-Identifier: Apache-2.0 */
#include "core/arena.h"

#include "core/error.h"

para_status para_arena_take(para_arena *arena, size_t bytes, void **out) {
    size_t rounded = (bytes + PARA_ARENA_ALIGN - 1) / PARA_ARENA_ALIGN * PARA_ARENA_ALIGN;
    if (rounded < bytes || rounded > arena->size - arena->used)
        return para_fail(PARA_ERR_MEMORY,
                         "the arena of %zu bytes has no room for %zu more (%zu are taken); this is a defect of the "
                         "plan, please report it",
                         arena->size, bytes, arena->used);
    *out = arena->base + arena->used;
    arena->used += rounded;
    if (arena->used > arena->peak) arena->peak = arena->used;
    return PARA_OK;
}
