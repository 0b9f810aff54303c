/* One worker. SPDX-License-Identifier: Apache-2.0 */
#include "comm/rank.h"

#include <string.h>

#include "core/alloc.h"
#include "core/error.h"

enum { HOST_BYTES = 1 << 18 }; /* a job's state is a few kB with 64 ranks */

para_status para_rank_open(para_rank *out, para_device *device, para_endpoint *endpoint) {
    para_rank r = {.device = device,
                   .endpoint = endpoint,
                   .size = 1,
                   .threads = device->threads,
                   .process_threads = device->threads};
    if (endpoint) r.index = endpoint->index, r.size = endpoint->size;
    r.host.size = HOST_BYTES;
    if (!(r.host.base = para_alloc_aligned(HOST_BYTES))) return PARA_ERR_MEMORY;
    *out = r;
    return PARA_OK;
}

void para_rank_close(para_rank *rank) {
    para_free(rank->host.base);
    para_device_close(&rank->device);
    *rank = (para_rank){0};
}

para_status para_rank_check(para_rank *rank) {
    return para_device_check(rank->device);
}

int para_rank_index(const para_rank *rank) {
    return rank->index;
}

int para_rank_count(const para_rank *rank) {
    return rank->size;
}

para_status para_rank_tensor(para_rank *rank, para_tensor *out, para_dtype dtype, int dims, const int64_t *dim) {
    int64_t count = 1, size = (int64_t)para_dtype_size(dtype);
    bool right = dims >= 0 && dims <= PARA_MAX_DIMS && size > 0;
    for (int i = 0; right && i < dims; i++)
        right = dim[i] >= 0 && !__builtin_mul_overflow(count, dim[i], &count);
    if (!right || __builtin_mul_overflow(count, size, &count))
        return para_fail(PARA_ERR_ARGUMENT,
                         "para_rank_tensor: a tensor has a type, 0 to %d dimensions of 0 or more, and at most 2^63 bytes",
                         (int)PARA_MAX_DIMS);
    return para_new(rank->device, out, dtype, dims, dim);
}

para_status para_rank_scratch(para_rank *rank, size_t bytes, void **out) {
    para_status status = para_arena_take(&rank->host, bytes, out);
    if (status == PARA_OK) memset(*out, 0, bytes);
    return status;
}

void para_rank_serial(para_rank *rank, bool serial) {
    rank->device->threads = serial ? rank->process_threads : rank->threads;
}
