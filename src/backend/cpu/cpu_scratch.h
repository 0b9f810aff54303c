/* Arena bytes that an op of the cpu back end takes while it runs. SPDX-License-Identifier: Apache-2.0
 *
 * Only types, sizes and strides are read, no data. Where oneDNN has to be asked, what it answers may be an error; it is asked once for each shape that `kept`
 * remembers: *kept is NULL at first, and the caller's to close (para_onednn_close). */
#ifndef PARA_CPU_SCRATCH_H
#define PARA_CPU_SCRATCH_H

#include "backend/cpu/onednn.h"

para_status para_cpu_linear_scratch(para_onednn **kept, const para_linear_args *a, int threads, size_t *out);
para_status para_cpu_conv2d_scratch(para_onednn **kept, const para_conv2d_args *a, int threads, size_t *out);
para_status para_cpu_conv3d_scratch(para_onednn **kept, const para_conv3d_args *a, int threads, size_t *out);
size_t para_cpu_attention_scratch(const para_attention_args *a, int threads);
size_t para_cpu_group_norm_scratch(const para_group_norm_args *a, int threads);

/* `bytes` rounded up to a cache line's multiple: how the parts of one op's scratch are laid out. */
static inline size_t para_cpu_round(size_t bytes) {
    return (bytes + 63) / 64 * 64;
}

#endif
