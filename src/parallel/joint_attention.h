/* Joint attention over image and text tokens, in phases. SPDX-License-Identifier: Apache-2.0
 *
 *   begin    says where Q, K, V of each segment must land
 *   put      an operand of a segment is there: its exchange may start
 *   compute  waits for the operands and runs the kernel
 *   end      the result is there
 *
 * On one rank nothing moves: operands land where the kernel reads them.
 */
#ifndef PARA_PARALLEL_JOINT_ATTENTION_H
#define PARA_PARALLEL_JOINT_ATTENTION_H

#include "parallel/layout.h"
#include "parallel/rank.h"

typedef enum para_operand { PARA_QUERY, PARA_KEY, PARA_VALUE, PARA_OPERANDS } para_operand;

typedef struct para_attention_job {
    para_layout layout;
    para_tensor operand[PARA_OPERANDS]; /* [H, S, D] each, image tokens then text tokens */
    para_tensor out;                    /* [S, H · D] */
} para_attention_job;

/* Takes the buffers from the rank's arena (the caller's mark gives them back). */
para_status para_attention_begin(para_rank *rank, const para_layout *layout, int64_t heads, int64_t head_dim, para_dtype dtype,
                                 para_attention_job *job);
/* Where an operand of a segment must be written: [H, S of the segment, D]. */
para_tensor para_attention_slot(const para_attention_job *job, para_operand operand, para_segment segment);
/* Where it must be written for both segments at once: [H, S, D]. */
para_tensor para_attention_slots(const para_attention_job *job, para_operand operand);
para_status para_attention_put(para_rank *rank, para_attention_job *job, para_operand operand);
para_status para_attention_compute(para_rank *rank, para_attention_job *job, float scale);
para_status para_attention_end(para_rank *rank, para_attention_job *job);
/* The result of a segment, after end: [S of the segment, H · D]. */
para_tensor para_attention_result(const para_attention_job *job, para_segment segment);

#endif
