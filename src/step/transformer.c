/* Running a transformer through its table. SPDX-License-Identifier: Apache-2.0 */
#include "step/transformer.h"

#include <stdio.h>

#include "core/error.h"
#include "parallel/gather.h"

para_status para_item_open(para_rank *rank, const para_transformer *t, const para_conditioning *conditioning,
                           para_item *out) {
    *out = (para_item){.conditioning = conditioning};
    return PARA_NEW(rank->device, &out->residual_stream, conditioning->dtype, para_shard_tokens(&conditioning->shard),
                    t->inner_dim);
}

static para_status trace_item(para_rank *rank, const para_item *item, const char *stage) {
    const para_shard *shard = &item->conditioning->shard;
    PARA_TRY(para_trace_tokens(rank, shard, PARA_IMAGE, 0, para_item_hidden_states(item), "%s.hidden_states", stage));
    return para_trace_tokens(rank, shard, PARA_TEXT, 0, para_item_encoder_hidden_states(item),
                             "%s.encoder_hidden_states", stage);
}

para_status para_transformer_embed(para_transformer *t, para_rank *rank, para_item *item, para_tensor latents) {
    PARA_TRY(para_rank_check(rank));
    PARA_TRY(t->table->embed(t, rank, item, latents));
    return trace_item(rank, item, "embed");
}

static para_status run_blocks(para_transformer *t, para_rank *rank, para_item *item, int first, int last,
                              const bool *skip) {
    for (int i = first; i < last; i++) {
        if (skip && skip[i]) continue;
        PARA_TRY(para_rank_check(rank));
        size_t host = para_arena_mark(&rank->host);
        PARA_TRY(t->table->block(t, rank, item, i));
        para_arena_release(&rank->host, host);
        char stage[32];
        snprintf(stage, sizeof stage, "block.%d", i);
        PARA_TRY(trace_item(rank, item, stage));
    }
    return PARA_OK;
}

para_status para_transformer_blocks(para_transformer *t, para_rank *rank, para_item *item, int first, int last,
                                    const bool *skip) {
    const para_shard *shard = &item->conditioning->shard;
    if (para_mesh_size(shard->mesh, PARA_AXIS_TOKENS) == 1) return run_blocks(t, rank, item, first, last, skip);
    para_attention_mode mode = para_unified_mode(rank, shard->mesh, shard->layout);
    if (shard->head_groups) mode.head_groups = shard->head_groups;
    PARA_TRY(para_attention_push(rank, mode));
    para_status status = run_blocks(t, rank, item, first, last, skip);
    para_attention_pop(rank);
    return status;
}

para_status para_transformer_head(para_transformer *t, para_rank *rank, para_item *item, para_tensor out) {
    PARA_TRY(t->table->head(t, rank, item, out));
    return para_trace_tokens(rank, &item->conditioning->shard, PARA_IMAGE, 0, out, "head");
}

para_status para_transformer_forward(para_transformer *t, para_rank *rank, para_item *item, para_tensor latents,
                                     para_tensor out) {
    PARA_TRY(para_transformer_embed(t, rank, item, latents));
    PARA_TRY(para_transformer_blocks(t, rank, item, 0, t->table->num_blocks(t), NULL));
    return para_transformer_head(t, rank, item, out);
}
