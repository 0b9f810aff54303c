/* First Block Cache. SPDX-License-Identifier: Apache-2.0 */
#include "step/first_block_cache.h"

#include <math.h>

#include "core/alloc.h"
#include "core/error.h"

bool para_cache_is_on(const para_cache_options *o) {
    return o->residual_diff_threshold > 0 || o->negative_residual_diff_threshold > 0 || o->num_skip_layers > 0;
}

/* Every downsample_factor-th channel. */
static int64_t channels_of(const para_first_block_cache *c) {
    int64_t k = c->options->downsample_factor;
    return (c->transformer->inner_dim + k - 1) / k;
}

static para_tensor sampled(const para_first_block_cache *c, const para_item *item) {
    para_tensor x = para_item_hidden_states(item);
    x.dim[1] = channels_of(c);
    x.stride[1] = c->options->downsample_factor;
    return x;
}

static para_status open_skip(para_first_block_cache *c) {
    const para_cache_options *o = c->options;
    if (o->num_skip_layers == 0) return PARA_OK;
    c->skip = para_alloc((size_t)c->transformer->table->num_blocks(c->transformer), sizeof *c->skip);
    if (!c->skip) return PARA_ERR_MEMORY;
    for (int i = 0; i < o->num_skip_layers; i++) c->skip[o->skip_layers[i]] = true;
    return PARA_OK;
}

para_status para_cache_open(para_first_block_cache *out, const para_cache_options *options, para_rank *rank,
                            para_transformer *t, int steps, const para_conditioning *like) {
    para_device *dev = rank->device;
    int64_t tokens = like->shard.tokens[PARA_IMAGE];
    *out = (para_first_block_cache){
        .options = options, .transformer = t, .rank = rank, .steps = steps, .assumed = INFINITY};
    PARA_TRY(PARA_NEW(dev, &out->change, like->dtype, tokens, channels_of(out)));
    PARA_TRY(PARA_NEW(dev, &out->work, like->dtype, tokens, t->inner_dim));
    PARA_TRY(PARA_NEW(dev, &out->sums, PARA_F32, 1, 2));
    return open_skip(out);
}

void para_cache_close(para_first_block_cache *c) {
    para_free(c->skip);
    *c = (para_first_block_cache){0};
}

static float threshold_of(const para_cache_options *o, bool negative) {
    float own = o->negative_residual_diff_threshold;
    return negative && own >= 0 ? own : o->residual_diff_threshold;
}

para_status para_cache_slot_open(const para_first_block_cache *c, const para_conditioning *like, bool negative,
                                 para_cache_slot *out) {
    para_device *dev = c->rank->device;
    *out = (para_cache_slot){.negative = negative, .threshold = threshold_of(c->options, negative)};
    if (out->threshold == 0) return PARA_OK;
    int64_t tokens = like->shard.tokens[PARA_IMAGE];
    PARA_TRY(PARA_NEW(dev, &out->first, like->dtype, tokens, channels_of(c)));
    if (c->options->joint) PARA_TRY(PARA_NEW(dev, &out->change, like->dtype, tokens, channels_of(c)));
    return para_taylorseer_open(&out->rest, dev, c->options->taylorseer_derivatives, c->work);
}

bool para_cache_measures(const para_first_block_cache *c, int step) {
    return step > 0 && step >= c->options->warmup_steps;
}

static para_tensor *change_of(para_first_block_cache *c, para_cache_slot *slot) {
    return slot->change.data ? &slot->change : &c->change;
}

/* r = the image tokens after the first block − r, of the channels that count. */
static para_status take_change(para_first_block_cache *c, const para_item *item, para_tensor r) {
    para_device *dev = c->rank->device;
    para_tensor after = para_item_hidden_states(item);
    if (c->options->downsample_factor > 1) {
        after = PARA_RESHAPE(c->work, r.dim[0], r.dim[1]); /* room enough */
        PARA_TRY(dev->ops->copy(dev, after, sampled(c, item)));
    }
    return dev->ops->combine(dev, r, 2, (para_tensor[]){after, r}, (float[]){1, -1});
}

para_status para_cache_begin(para_first_block_cache *c, para_cache_slot *slot, para_item *item, para_tensor latents,
                             para_tensor sums) {
    para_device *dev = c->rank->device;
    para_tensor r = *change_of(c, slot);
    PARA_TRY(para_transformer_embed(c->transformer, c->rank, item, latents));
    if (slot->threshold > 0) PARA_TRY(dev->ops->copy(dev, r, sampled(c, item)));
    PARA_TRY(para_transformer_blocks(c->transformer, c->rank, item, 0, 1, NULL));
    if (slot->threshold == 0) return PARA_OK;
    PARA_TRY(take_change(c, item, r));
    return para_cache_measures(c, item->step) ? dev->ops->change(dev, slot->first, r, sums) : PARA_OK;
}

static bool below(int count, int most) {
    return most < 0 || count < most;
}

para_cache_decision para_cache_decide(const para_first_block_cache *c, const para_cache_slot *slot, const float *sums) {
    const para_cache_options *o = c->options;
    para_cache_decision d = {.difference = NAN};
    if (!sums || slot->threshold == 0) return d;
    d.difference = sums[0] / sums[1]; /* not a number where there is nothing to compare with: no hit */
    d.hit = d.difference < slot->threshold && below(slot->consecutive, o->max_consecutive_hits) &&
            below(slot->hits, o->max_hits);
    return d;
}

/* The blocks that this item leaves out at this step; or NULL. */
static const bool *skipped(const para_first_block_cache *c, const para_cache_slot *slot, int step) {
    const para_cache_options *o = c->options;
    double steps = c->steps;
    bool now = slot->negative && steps * (double)o->skip_start <= step && step < steps * (double)o->skip_end;
    return now ? c->skip : NULL;
}

/* Computes the other blocks and keeps what they added. */
static para_status compute_rest(para_first_block_cache *c, para_cache_slot *slot, para_item *item) {
    para_device *dev = c->rank->device;
    para_transformer *t = c->transformer;
    bool keeps = slot->threshold > 0;
    para_tensor x = para_item_hidden_states(item);
    if (keeps) PARA_TRY(dev->ops->copy(dev, c->work, x));
    PARA_TRY(para_transformer_blocks(t, c->rank, item, 1, t->table->num_blocks(t), skipped(c, slot, item->step)));
    if (!keeps) return PARA_OK;
    PARA_TRY(dev->ops->combine(dev, c->work, 2, (para_tensor[]){x, c->work}, (float[]){1, -1}));
    PARA_TRY(para_taylorseer_update(&slot->rest, dev, item->step, &c->work));
    para_tensor *now = change_of(c, slot), before = slot->first;
    slot->first = *now;
    *now = before;
    return PARA_OK;
}

para_status para_cache_end(para_first_block_cache *c, para_cache_slot *slot, para_item *item, bool hit,
                           para_tensor out) {
    if (hit) {
        PARA_TRY(para_taylorseer_add(&slot->rest, c->rank->device, item->step, para_item_hidden_states(item)));
        slot->hits++;
        slot->consecutive++;
    } else {
        PARA_TRY(compute_rest(c, slot, item));
        slot->consecutive = 0;
    }
    return para_transformer_head(c->transformer, c->rank, item, out);
}

para_status para_cache_sum_up(const para_first_block_cache *c, para_comm comm, para_tensor sums, float *host) {
    for (int64_t i = 0; i < sums.dim[0]; i++) { /* stays on a dry device */
        host[2 * i] = c->assumed;
        host[2 * i + 1] = 1;
    }
    PARA_TRY(para_comm_all_reduce(comm, sums));
    return c->rank->device->ops->download(c->rank->device, host, &sums);
}

para_status para_cache_forward(para_first_block_cache *c, para_cache_slot *slot, para_item *item, para_tensor latents,
                               para_tensor out, para_cache_decision *decision) {
    const para_shard *shard = &item->conditioning->shard;
    float sums[2];
    bool measures = slot->threshold > 0 && para_cache_measures(c, item->step);
    PARA_TRY(para_cache_begin(c, slot, item, latents, c->sums));
    if (measures) PARA_TRY(para_cache_sum_up(c, para_mesh_comm(c->rank, shard->mesh, PARA_AXIS_TOKENS), c->sums, sums));
    *decision = para_cache_decide(c, slot, measures ? sums : NULL);
    return para_cache_end(c, slot, item, decision->hit, out);
}
