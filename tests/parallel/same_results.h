/* Two runs of one request: the same to the bit, with as many bytes exchanged and as many hits. SPDX-License-Identifier: Apache-2.0 */
#ifndef PARA_TESTS_SAME_RESULTS_H
#define PARA_TESTS_SAME_RESULTS_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <paraattn/pipeline.h>

static inline void same_results(const char *name, const para_result *a, const para_result *b) {
    int64_t values = para_tensor_count(&a->latents), off = 0;
    for (int64_t i = 0; i < values; i++)
        off += ((const uint32_t *)a->latents.data)[i] != ((const uint32_t *)b->latents.data)[i];
    if (off || values == 0) fail_msg("%s: %lld of %lld values differ", name, (long long)off, (long long)values);
    if (a->exchanged_bytes != b->exchanged_bytes)
        fail_msg("%s: %lld bytes were exchanged, not %lld", name, (long long)b->exchanged_bytes,
                 (long long)a->exchanged_bytes);
    if (a->cache_hits != b->cache_hits) fail_msg("%s: %d hits, not %d", name, b->cache_hits, a->cache_hits);
}

#endif
