/* What every attention kernel is told in the same words. SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include "backend/cuda/attention_result.cuh"
#include "backend/cuda/cuda_attention.h"

namespace attention {

inline strides plain(const para_cuda_strides &s) {
    return {s.batch, s.head, s.token};
}

/* All but the inputs, for tiles of block_q queries. */
template <class P> void set_arguments(P *p, const para_cuda_attention *a, int block_q) {
    p->out = a->out;
    p->lse = a->lse;
    p->carry_out = a->carry_out;
    p->carry_lse = a->carry_lse;
    p->kv_lengths = a->kv_lengths;
    p->out_stride = plain(a->out_stride);
    p->lse_stride = plain(a->lse_stride);
    p->carry_out_stride = plain(a->carry_out_stride);
    p->carry_lse_stride = plain(a->carry_lse_stride);
    p->heads = a->heads;
    p->heads_per_kv_head = a->heads / a->kv_heads;
    p->q_len = a->q_len;
    p->kv_len = a->kv_len;
    p->q_tiles = (a->q_len - 1) / block_q + 1;
    p->out_f32 = a->out_f32;
    p->scale_log2 = a->scale * LOG2_E;
    p->causal_offset = a->causal_offset;
}

} // namespace attention
