/* Running a transformer through its table. SPDX-License-Identifier: Apache-2.0 */
#include "step/transformer.h"

#include <stdio.h>

#include "core/error.h"

para_status para_item_open(para_rank *rank, const para_transformer *t, const para_conditioning *conditioning,
                           para_item *out) {
    *out = (para_item){.conditioning = conditioning};
    return PARA_NEW(rank->device, &out->residual_stream, conditioning->dtype, para_shard_tokens(&conditioning->shard),
                    t->inner_dim);
}

static para_status trace_item(para_rank *rank, const para_item *item, const char *stage) {
    if (!rank->device->trace) return PARA_OK;
    para_tensor image = para_item_hidden_states(item), text = para_item_encoder_hidden_states(item);
    PARA_TRY(para_trace_stage(rank->device, &image, "%s.hidden_states", stage));
    return para_trace_stage(rank->device, &text, "%s.encoder_hidden_states", stage);
}

para_status para_transformer_forward(para_transformer *t, para_rank *rank, para_item *item, para_tensor latents,
                                     para_tensor out) {
    PARA_TRY(para_rank_check(rank));
    PARA_TRY(t->table->embed(t, rank, item, latents));
    PARA_TRY(trace_item(rank, item, "embed"));
    for (int i = 0; i < t->table->num_blocks(t); i++) {
        PARA_TRY(para_rank_check(rank));
        PARA_TRY(t->table->block(t, rank, item, i));
        char stage[32];
        snprintf(stage, sizeof stage, "block.%d", i);
        PARA_TRY(trace_item(rank, item, stage));
    }
    PARA_TRY(t->table->head(t, rank, item, out));
    return para_trace_stage(rank->device, &out, "head");
}
