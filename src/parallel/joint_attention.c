/* Joint attention on one rank. SPDX-License-Identifier: Apache-2.0 */
#include "parallel/joint_attention.h"

#include "core/error.h"

para_status para_attention_begin(para_rank *rank, const para_layout *layout, int64_t heads, int64_t head_dim,
                                 para_dtype dtype, para_attention_job *job) {
    int64_t tokens = para_layout_tokens(layout);
    job->layout = *layout;
    for (int i = 0; i < PARA_OPERANDS; i++)
        PARA_TRY(PARA_NEW(rank->device, &job->operand[i], dtype, heads, tokens, head_dim));
    return PARA_NEW(rank->device, &job->out, dtype, tokens, heads * head_dim);
}

para_tensor para_attention_slots(const para_attention_job *job, para_operand operand) {
    return job->operand[operand];
}

para_tensor para_attention_slot(const para_attention_job *job, para_operand operand, para_segment segment) {
    return para_slice(job->operand[operand], 1, para_layout_first(&job->layout, segment), job->layout.tokens[segment]);
}

/* With one rank an operand is where it is needed as soon as it is written. */
para_status para_attention_put(para_rank *rank, para_attention_job *job, para_operand operand) {
    (void)job;
    (void)operand;
    return para_rank_check(rank);
}

para_status para_attention_compute(para_rank *rank, para_attention_job *job, float scale) {
    const para_tensor *q = &job->operand[PARA_QUERY];
    int64_t heads = q->dim[0], tokens = q->dim[1], head_dim = q->dim[2];
    para_tensor out = PARA_RESHAPE(job->out, 1, tokens, heads, head_dim);
    para_attention_args args = {
        .q = PARA_RESHAPE(*q, 1, heads, tokens, head_dim),
        .k = PARA_RESHAPE(job->operand[PARA_KEY], 1, heads, tokens, head_dim),
        .v = PARA_RESHAPE(job->operand[PARA_VALUE], 1, heads, tokens, head_dim),
        .out = PARA_PERMUTE(out, 0, 2, 1, 3),
        .scale = scale,
    };
    return rank->device->ops->attention(rank->device, &args);
}

para_status para_attention_end(para_rank *rank, para_attention_job *job) {
    (void)job;
    return para_rank_check(rank);
}

para_tensor para_attention_result(const para_attention_job *job, para_segment segment) {
    return para_rows(job->out, para_layout_first(&job->layout, segment), job->layout.tokens[segment]);
}
