/* Growing arrays of bytes and of ids. SPDX-License-Identifier: Apache-2.0 */
#include "text/text_buffer.h"

#include <string.h>

#include "core/alloc.h"
#include "core/error.h"

/* Doubles *data until n + more elements of `size` bytes fit. */
static para_status grow(void **data, size_t n, size_t *capacity, size_t more, size_t size) {
    if (more <= *capacity - n) return PARA_OK;
    size_t wanted = more > SIZE_MAX / 4 - n ? SIZE_MAX / 4 : n + more; /* para_realloc reports what cannot be */
    size_t next = *capacity < 64 ? 64 : *capacity;
    while (next < wanted) next *= 2;
    void *grown = para_realloc(*data, next, size);
    if (!grown) return PARA_ERR_MEMORY;
    *data = grown;
    *capacity = next;
    return PARA_OK;
}

para_status para_bytes_reserve(para_bytes *b, size_t more) {
    void *data = b->data;
    PARA_TRY(grow(&data, b->n, &b->capacity, more, 1));
    b->data = data;
    return PARA_OK;
}

para_status para_ids_reserve(para_ids *ids, size_t more) {
    void *data = ids->data;
    PARA_TRY(grow(&data, ids->n, &ids->capacity, more, sizeof *ids->data));
    ids->data = data;
    return PARA_OK;
}

para_status para_bytes_append(para_bytes *b, const char *data, size_t n) {
    if (n == 0) return PARA_OK;
    PARA_TRY(para_bytes_reserve(b, n));
    memcpy(b->data + b->n, data, n);
    b->n += n;
    return PARA_OK;
}

para_status para_ids_append(para_ids *ids, int32_t id) {
    PARA_TRY(para_ids_reserve(ids, 1));
    ids->data[ids->n++] = id;
    return PARA_OK;
}
