/* Worlds of 1 to MOST_RANKS ranks, open for all of a program's tests. SPDX-License-Identifier: Apache-2.0 */
#ifndef PARA_TESTS_WORLDS_H
#define PARA_TESTS_WORLDS_H

#include <paraattn/paraattn.h>

enum { MOST_RANKS = 8 };

static para_world *worlds[MOST_RANKS + 1]; /* [ranks] */

/* threads: of each rank; 0: all that there are, shared out. 0, or -1 where one could not be opened. */
static inline int open_worlds(int threads) {
    for (int n = 1; n <= MOST_RANKS; n++) {
        para_world_options o = PARA_WORLD_OPTIONS_INIT;
        o.ranks = n;
        o.threads = threads * n;
        if (para_world_open(&worlds[n], &o) != PARA_OK) return -1;
    }
    return 0;
}

static inline void close_worlds(void) {
    for (int n = 1; n <= MOST_RANKS; n++) para_world_close(&worlds[n]);
}

#endif
