/* How much of a long list a test takes. SPDX-License-Identifier: Apache-2.0 */
#ifndef PARA_TESTS_SAMPLING_H
#define PARA_TESTS_SAMPLING_H

#include <stdlib.h>

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
enum { SANITIZED = 1 };
#else
enum { SANITIZED = 0 };
#endif

/* One of how many: all with PARA_FULL=1, else one of `plain`; a third of those under sanitizers, which make a run eight times as long and have nothing
 * to say about numbers. */
static inline int sample_each(int plain) {
    if (getenv("PARA_FULL")) return 1;
    return SANITIZED ? 3 * plain : plain;
}

#endif
