/* Every host allocation of the project, so that tests can make any one of them fail. SPDX-License-Identifier: Apache-2.0 */
#ifndef PARA_CORE_ALLOC_H
#define PARA_CORE_ALLOC_H

#include <stdbool.h>
#include <stddef.h>

/* Zeroed memory of count × size bytes, or NULL with the sentence set (overflow included). Free with para_free. */
void *para_alloc(size_t count, size_t size);
/* Grows or shrinks `p` (NULL allowed) to count × size bytes; new bytes are not zeroed. On failure NULL, sentence set, `p` stays valid. */
void *para_realloc(void *p, size_t count, size_t size);
/* Makes room for one more element of *array, which holds `count` and has room for *room. False: no memory, and all is as it was. */
static inline bool para_grow(void **array, size_t count, size_t *room, size_t size) {
    if (count < *room) return true;
    size_t more = *room ? 2 * *room : 64;
    void *larger = para_realloc(*array, more, size);
    if (!larger) return false;
    *array = larger;
    *room = more;
    return true;
}
/* 64-byte aligned, not zeroed; free with para_free. */
void *para_alloc_aligned(size_t bytes);
/* A copy of the string, or NULL with the sentence set. */
char *para_strdup(const char *text);
/* Frees; takes NULL. */
void para_free(void *p);

/* Test hook: the n-th allocation from now fails (n ≥ 1) and all later ones succeed; 0 turns it off. */
void para_alloc_fail_after(long n);
/* Allocations made since the last call of para_alloc_fail_after. */
long para_alloc_count(void);

#endif
