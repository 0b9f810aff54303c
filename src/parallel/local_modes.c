/* Scopes in which attention is computed on the rank itself. SPDX-License-Identifier: Apache-2.0
 *
 * Their begin hands the job on, so that they have no other phases. */
#include "parallel/attention_job.h"

static para_status plain_begin(para_rank *rank, para_attention_job *job) {
    return para_attention_hand_down(rank, job, 0);
}

para_attention_mode para_plain_mode(para_rank *rank) {
    (void)rank;
    return (para_attention_mode){.name = "plain", .begin = plain_begin};
}

static para_status skip_small_kv_begin(para_rank *rank, para_attention_job *job) {
    bool small = job->args.k.dim[2] < job->args.q.dim[2];
    return para_attention_hand_down(rank, job, small ? 0 : job->depth);
}

para_attention_mode para_skip_small_kv_mode(para_rank *rank) {
    (void)rank;
    return (para_attention_mode){.name = "skip-small-kv", .begin = skip_small_kv_begin};
}
