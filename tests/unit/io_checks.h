/* Checks that the tests of files share. SPDX-License-Identifier: Apache-2.0 */
#ifndef PARA_TESTS_IO_CHECKS_H
#define PARA_TESTS_IO_CHECKS_H

#include "core/alloc.h"
#include "core/error.h"
#include "temp_folder.h"

/* The call fails with this status and its sentence holds this text. */
#define assert_fails(expected, text, expr)                                                                             \
    do {                                                                                                               \
        para_clear_error();                                                                                            \
        para_status fails_status = (expr);                                                                             \
        if (fails_status != (expected) || !strstr(para_last_error(), (text)))                                          \
            fail_msg("%s: got %s \"%s\", wanted %s \"…%s…\"", #expr, para_status_name(fails_status),                   \
                     para_last_error(), para_status_name(expected), (text));                                           \
    } while (0)

#define assert_ok(expr)                                                                                                \
    do {                                                                                                               \
        para_status ok_status = (expr);                                                                                \
        if (ok_status != PARA_OK) fail_msg("%s: %s: %s", #expr, para_status_name(ok_status), para_last_error());       \
    } while (0)

/* Runs `body` (an expression that returns a status and cleans up after itself) with its 1st, 2nd, …
 * allocation failing until it passes: each failure must be PARA_ERR_MEMORY with a sentence. At least `least`
 * allocations must have been made. */
#define assert_survives_alloc_failure(least, body)                                                                     \
    do {                                                                                                               \
        long survive_at = 1;                                                                                           \
        for (;; survive_at++) {                                                                                        \
            para_clear_error();                                                                                        \
            para_alloc_fail_after(survive_at);                                                                         \
            para_status survive_status = (body);                                                                       \
            long survive_made = para_alloc_count();                                                                    \
            para_alloc_fail_after(0);                                                                                  \
            if (survive_made < survive_at) {                                                                           \
                assert_int_equal(survive_status, PARA_OK);                                                             \
                break;                                                                                                 \
            }                                                                                                          \
            if (survive_status != PARA_ERR_MEMORY || !*para_last_error())                                              \
                fail_msg("allocation %ld failed: %s \"%s\"", survive_at, para_status_name(survive_status),             \
                         para_last_error());                                                                           \
        }                                                                                                              \
        assert_true(survive_at > (least));                                                                             \
    } while (0)

#endif
