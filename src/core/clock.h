/* Seconds that pass. SPDX-License-Identifier: Apache-2.0 */
#ifndef PARA_CORE_CLOCK_H
#define PARA_CORE_CLOCK_H

#include <time.h>

/* Monotonic seconds since an arbitrary point. */
static inline double para_seconds(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

#endif
