/* Running a transformer through its table. SPDX-License-Identifier: Apache-2.0 */
#include "step/transformer.h"

#include <stdio.h>

#include "core/error.h"
#include "parallel/gather.h"
#include "step/recorded_ranks.h"

static para_status stream_new(para_rank *rank, const para_transformer *t, const para_conditioning *conditioning,
                              int64_t rows, int64_t dim, para_tensor *stream, para_tensor *normed) {
    PARA_TRY(PARA_NEW(rank->device, stream, conditioning->dtype, rows, dim));
    return t->norms_ahead ? PARA_NEW(rank->device, normed, conditioning->dtype, rows, dim) : PARA_OK;
}

para_status para_item_open(para_rank *rank, const para_transformer *t, const para_conditioning *conditioning,
                           para_recorded *recorded, para_item *out) {
    *out = (para_item){.conditioning = conditioning, .recorded = recorded, .normed_for = -1};
    const para_shard *shard = &conditioning->shard;
    int64_t rows = t->text_dim ? shard->tokens[PARA_IMAGE] : para_shard_tokens(shard);
    PARA_TRY(stream_new(rank, t, conditioning, rows, t->inner_dim, &out->residual_stream, &out->normed));
    if (t->text_dim)
        PARA_TRY(stream_new(rank, t, conditioning, shard->tokens[PARA_TEXT], t->text_dim, &out->text_stream,
                            &out->text_normed));
    if (!recorded || !conditioning->modulation.data) return PARA_OK;
    return PARA_NEW(rank->device, &out->modulation, PARA_F32, conditioning->modulation.dim[1]);
}

para_status para_item_go_to(para_rank *rank, para_item *item, int step) {
    para_tensor all = item->conditioning->modulation;
    item->step = step;
    if (!all.data) return PARA_OK;
    para_tensor now = PARA_RESHAPE(para_rows(all, step, 1), all.dim[1]);
    if (item->recorded) return rank->device->ops->copy(rank->device, item->modulation, now);
    item->modulation = now;
    return PARA_OK;
}

static para_status trace_item(para_rank *rank, const para_item *item, const char *stage) {
    const para_shard *shard = &item->conditioning->shard;
    PARA_TRY(para_trace_tokens(rank, shard, PARA_IMAGE, 0, para_item_hidden_states(item), "%s.hidden_states", stage));
    return para_trace_tokens(rank, shard, PARA_TEXT, 0, para_item_encoder_hidden_states(item),
                             "%s.encoder_hidden_states", stage);
}

para_status para_transformer_embed(para_transformer *t, para_rank *rank, para_item *item, para_tensor latents) {
    PARA_TRY(para_rank_check(rank));
    item->normed_for = -1;
    PARA_TRY(t->table->embed(t, rank, item, latents));
    return trace_item(rank, item, "embed");
}

/* Blocks first to last - 1, without those that skip names. */
typedef struct blocks {
    para_transformer *t;
    para_rank *rank;
    para_item *item;
    int first, last;
    const bool *skip;
    int normed_for; /* of the item, before them */
} blocks;

static para_status run_blocks(void *args) {
    const blocks *b = args;
    para_weights *offloaded = b->t->offloaded;
    b->item->normed_for = b->normed_for;
    for (int i = b->first; i < b->last; i++) {
        if (b->skip && b->skip[i]) continue;
        PARA_TRY(para_rank_check(b->rank));
        size_t host = para_arena_mark(&b->rank->host);
        char stage[32];
        snprintf(stage, sizeof stage, "block.%d", i);
        if (offloaded) PARA_TRY(para_weights_enter(offloaded, i));
        para_device_range(b->rank->device, stage);
        para_status status = b->t->table->block(b->t, b->rank, b->item, i);
        para_device_range(b->rank->device, NULL);
        PARA_TRY(status);
        if (offloaded) PARA_TRY(para_weights_leave(offloaded, i));
        para_arena_release(&b->rank->host, host);
        PARA_TRY(trace_item(b->rank, b->item, stage));
    }
    return PARA_OK;
}

para_status para_transformer_blocks(para_transformer *t, para_rank *rank, para_item *item, int first, int last,
                                    const bool *skip) {
    const para_shard *shard = &item->conditioning->shard;
    const para_arena *arena = &rank->device->arena;
    blocks b = {t, rank, item, first, last, skip, item->normed_for};
    para_part_key key = {first, last, skip, arena->base + para_arena_mark(arena)};
    bool keeps = !t->offloaded; /* copies of the next step's blocks begin in this one, which no recording holds */
    if (para_mesh_size(shard->mesh, PARA_AXIS_TOKENS) == 1) {
        PARA_TRY(para_rank_check(rank));
        return para_recorded_run(keeps ? item->recorded : NULL, rank, key, run_blocks, &b);
    }
    para_attention_mode mode = para_unified_mode(rank, shard->mesh, shard->layout);
    if (shard->head_groups) mode.head_groups = shard->head_groups;
    mode.exchange = shard->exchange;
    PARA_TRY(para_attention_push(rank, mode));
    para_comm comm = para_mesh_comm(rank, shard->mesh, PARA_AXIS_TOKENS);
    para_status status = para_recorded_run_ranks(item->recorded, comm, keeps, key, run_blocks, &b);
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
