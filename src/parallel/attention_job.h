/* What attention modes share. SPDX-License-Identifier: Apache-2.0 */
#ifndef PARA_PARALLEL_ATTENTION_JOB_H
#define PARA_PARALLEL_ATTENTION_JOB_H

#include <paraattn/attention.h>

para_tensor *para_attention_operand(para_attention_args *a, para_operand operand);

/* Gives room to operands and out without data: [B, H, S, D], but out [B, Sq, H, Dv] in memory. */
para_status para_attention_room(para_rank *rank, para_attention_args *a);
para_status para_attention_operand_room(para_rank *rank, para_attention_args *a);
para_status para_attention_out_room(para_rank *rank, para_attention_args *a);

/* Rows [first, first + rows) of all heads of t [1, H, S, D]: [H, rows, D]. */
para_tensor para_attention_head_rows(para_tensor t, int64_t first, int64_t rows);

/* In a mode's begin: from now on the job is one of the mode below, or of the device itself where `depth` is 0. */
para_status para_attention_hand_down(para_rank *rank, para_attention_job *job, int depth);

/* put of all operands, compute, end. */
para_status para_attention_all_phases(para_rank *rank, para_attention_job *job);

#endif
