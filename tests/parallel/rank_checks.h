/* Checks that hold on any thread, and worlds for tests. SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_PARALLEL_RANK_CHECKS_H
#define TESTS_PARALLEL_RANK_CHECKS_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>
#include <paraattn/paraattn.h>

#include "core/error.h"
#include "test_device.h"

/* For bodies of ranks: CMocka's asserts only work on the test's own thread. */
#define EXPECT(right, ...)                                                                                             \
    do {                                                                                                               \
        if (!(right)) return para_fail(PARA_ERR_FORMAT, __VA_ARGS__);                                                  \
    } while (0)

static inline para_world *open_world(int ranks, double timeout) {
    para_world_options o = PARA_WORLD_OPTIONS_INIT;
    para_world *world;
    o.ranks = ranks;
    o.threads = ranks;
    o.timeout = timeout;
    test_choose_device(&o);
    if (para_world_open(&world, &o) != PARA_OK) fail_msg("para_world_open: %s", para_last_error());
    return world;
}

static inline void run_ok(para_world *world, para_rank_body body, void *user) {
    para_status status = para_world_run(world, body, user);
    if (status != PARA_OK) fail_msg("%s: %s", para_status_name(status), para_last_error());
}

/* The run fails with this status and a sentence that holds `part`. */
static inline void run_fails(para_world *world, para_rank_body body, void *user, para_status expected, const char *part) {
    para_status status = para_world_run(world, body, user);
    if (status != expected || !strstr(para_last_error(), part))
        fail_msg("expected %s with \"%s\", but got %s: %s", para_status_name(expected), part, para_status_name(status),
                 status == PARA_OK ? "" : para_last_error());
}

#endif
