/* FNV-1a: tells bytes apart, fast and the same everywhere; not against intent. SPDX-License-Identifier: Apache-2.0 */
#ifndef PARA_CORE_HASH_H
#define PARA_CORE_HASH_H

#include <stddef.h>
#include <stdint.h>

#define PARA_HASH_START UINT64_C(14695981039346656037)

/* The hash of what came before, PARA_HASH_START at first, and n bytes more. */
static inline uint64_t para_hash(uint64_t before, const void *bytes, size_t n) {
    for (size_t i = 0; i < n; i++) before = (before ^ ((const unsigned char *)bytes)[i]) * UINT64_C(1099511628211);
    return before;
}

#endif
