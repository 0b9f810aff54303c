/* How a function fails: set this thread's sentence, return a status. SPDX-License-Identifier: Apache-2.0 */
#ifndef PARA_CORE_ERROR_H
#define PARA_CORE_ERROR_H

#include <paraattn/status.h>

/* Sets the calling thread's last-error sentence (printf format) and returns `code`. */
para_status para_fail(para_status code, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* Empties this thread's sentence. */
void para_clear_error(void);

/* Returns from the calling function when `expr` fails. */
#define PARA_TRY(expr)                                                                             \
    do {                                                                                           \
        para_status try_status_ = (expr);                                                          \
        if (try_status_ != PARA_OK) return try_status_;                                            \
    } while (0)

/* Jumps to `label` when `expr` fails; `status` holds the code. */
#define PARA_TRY_GOTO(status, label, expr)                                                         \
    do {                                                                                           \
        (status) = (expr);                                                                         \
        if ((status) != PARA_OK) goto label;                                                       \
    } while (0)

#endif
