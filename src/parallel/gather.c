/* Bringing together what ranks hold. SPDX-License-Identifier: Apache-2.0 */
#include "parallel/gather.h"

#include <stdarg.h>
#include <stdio.h>

#include "core/alloc.h"
#include "core/error.h"

para_status para_gather_tokens(para_rank *rank, const para_shard *shard, para_segment segment, int axis,
                               para_tensor local, para_tensor whole) {
    para_comm comm = para_mesh_comm(rank, shard->mesh, PARA_AXIS_TOKENS);
    para_tensor *part = para_alloc((size_t)comm.size, sizeof *part);
    if (!part) return PARA_ERR_MEMORY;
    for (int i = 0; i < comm.size; i++)
        part[i] = para_slice(whole, axis, para_layout_first(shard->layout, segment, i),
                             para_layout_count(shard->layout, segment, i));
    para_exchange x;
    para_status status = para_comm_all_gather(comm, local, part, &x);
    para_free(part);
    para_status waited = para_comm_wait(&x);
    return status != PARA_OK ? status : waited;
}

para_status para_trace_tokens(para_rank *rank, const para_shard *shard, para_segment segment, int axis,
                              para_tensor local, const char *format, ...) {
    para_device *dev = rank->device;
    if (!dev->trace) return PARA_OK;
    char name[128];
    va_list args;
    va_start(args, format);
    vsnprintf(name, sizeof name, format, args);
    va_end(args);
    if (para_mesh_size(shard->mesh, PARA_AXIS_TOKENS) == 1) return para_trace_stage(dev, &local, "%s", name);
    /* Not in the arena, which has the size of a run without trace. */
    para_tensor whole = local;
    whole.dim[axis] = shard->total[segment];
    whole = para_tensor_make(NULL, whole.dtype, whole.rank, whole.dim);
    PARA_TRY(dev->ops->alloc(dev, (size_t)para_tensor_count(&whole) * para_dtype_size(whole.dtype), &whole.data));
    para_status status = para_gather_tokens(rank, shard, segment, axis, local, whole);
    if (status == PARA_OK) status = para_trace_stage(dev, &whole, "%s", name);
    dev->ops->free(dev, whole.data);
    return status;
}
