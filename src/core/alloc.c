/* Host allocation with a failure hook for tests. SPDX-License-Identifier: Apache-2.0 */
#include "core/alloc.h"

#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "core/error.h"

static atomic_long made;
static atomic_long fail_at; /* 0: never */

static int must_fail(void) {
    long n = atomic_fetch_add_explicit(&made, 1, memory_order_relaxed) + 1;
    return n == atomic_load_explicit(&fail_at, memory_order_relaxed);
}

static void *out_of_memory(size_t bytes) {
    para_fail(PARA_ERR_MEMORY,
              "out of memory: %zu bytes could not be allocated; close other programs or use a smaller size", bytes);
    return NULL;
}

void *para_alloc(size_t count, size_t size) {
    void *p = must_fail() ? NULL : calloc(count ? count : 1, size ? size : 1);
    return p ? p : out_of_memory(size && count > SIZE_MAX / size ? SIZE_MAX : count * size);
}

void *para_realloc(void *p, size_t count, size_t size) {
    if (size && count > SIZE_MAX / size) return out_of_memory(SIZE_MAX);
    size_t bytes = count * size;
    void *q = must_fail() ? NULL : realloc(p, bytes ? bytes : 1);
    return q ? q : out_of_memory(bytes);
}

void *para_alloc_aligned(size_t bytes) {
    if (bytes > SIZE_MAX - 64) return out_of_memory(bytes);
    size_t rounded = bytes ? (bytes + 63) / 64 * 64 : 64;
    void *p = must_fail() ? NULL : aligned_alloc(64, rounded);
    return p ? p : out_of_memory(bytes);
}

char *para_strdup(const char *text) {
    size_t n = strlen(text) + 1;
    char *copy = para_alloc(n, 1);
    if (copy) memcpy(copy, text, n);
    return copy;
}

void para_free(void *p) {
    free(p);
}

void para_alloc_fail_after(long n) {
    atomic_store(&made, 0);
    atomic_store(&fail_at, n);
}

long para_alloc_count(void) {
    return atomic_load(&made);
}
