/* Growing arrays of bytes and of ids, for the tokenizers. SPDX-License-Identifier: Apache-2.0 */
#ifndef PARA_TEXT_TEXT_BUFFER_H
#define PARA_TEXT_TEXT_BUFFER_H

#include <paraattn/status.h>
#include <stddef.h>
#include <stdint.h>

/* Start both zeroed; free `data` with para_free. */
typedef struct para_bytes {
    char *data; /* [n] of [capacity], no NUL at the end */
    size_t n, capacity;
} para_bytes;

typedef struct para_ids {
    int32_t *data; /* [n] of [capacity] */
    size_t n, capacity;
} para_ids;

/* Makes room for `more` elements after n, so that they can be written without a check. PARA_ERR_MEMORY. */
para_status para_bytes_reserve(para_bytes *b, size_t more);
para_status para_ids_reserve(para_ids *ids, size_t more);

/* Appends. PARA_ERR_MEMORY. */
para_status para_bytes_append(para_bytes *b, const char *data, size_t n);
para_status para_ids_append(para_ids *ids, int32_t id);

#endif
