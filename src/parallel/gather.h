/* Bringing together what the ranks of a tokens axis hold. SPDX-License-Identifier: Apache-2.0 */
#ifndef PARA_PARALLEL_GATHER_H
#define PARA_PARALLEL_GATHER_H

#include "comm/rank.h"
#include "parallel/layout.h"

/* All tokens of a segment, on every rank of the shard's tokens axis: local, whose dimension `axis` is the rank's tokens, to whole, whose dimension is
 * all of them. Waits. */
para_status para_gather_tokens(para_rank *rank, const para_shard *shard, para_segment segment, int axis, para_tensor local, para_tensor whole);

/* Hands a stage's whole result to the device's trace, as para_trace_stage does on a rank that is alone. Collective over the tokens axis: with a trace on
 * one of its ranks, there must be one on each. printf format for the name. */
para_status para_trace_tokens(para_rank *rank, const para_shard *shard, para_segment segment, int axis, para_tensor local, const char *format, ...)
    __attribute__((format(printf, 6, 7)));

#endif
