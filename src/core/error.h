/* How a function fails: set this thread's sentence, return a status. SPDX-License-Identifier: Apache-2.0 */
#ifndef PARA_CORE_ERROR_H
#define PARA_CORE_ERROR_H

#include <paraattn/status.h>
#include <stddef.h>

/* Sets the calling thread's last-error sentence (printf format) and returns `code`. */
para_status para_fail(para_status code, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* PARA_ERR_ARGUMENT unless a caller's struct has the size that the library knows. what: "para_compile: options"; init: what the caller should have
 * started from. */
para_status para_check_size(size_t size, size_t known, const char *what, const char *init);

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
