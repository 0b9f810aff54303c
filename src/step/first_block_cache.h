/* First Block Cache on the transformer table: what a step need not compute. It knows no model, and no model knows it.
 * SPDX-License-Identifier: Apache-2.0
 *
 * An item's step is para_cache_begin, which runs the first block and measures how much its residual changed; the sums of all ranks that hold
 * the item's tokens; para_cache_decide; and para_cache_end. para_cache_forward is all of it for an item that decides alone. */
#ifndef PARA_STEP_FIRST_BLOCK_CACHE_H
#define PARA_STEP_FIRST_BLOCK_CACHE_H

#include <paraattn/cache.h>

#include "step/taylorseer.h"
#include "step/transformer.h"

/* What the last computed step of an item left. */
typedef struct para_cache_slot {
    bool negative;        /* the negative half of CFG */
    float threshold;      /* 0: every step is computed, and nothing is kept */
    para_tensor first;    /* what the first block added to the image tokens then: [S_img, ceil(D / downsample_factor)] */
    para_tensor change;   /* and now, where others are between begin and end at the same time; none: that of the cache */
    para_taylorseer rest; /* what the other blocks added: [S_img, D] */
    int hits, consecutive;
} para_cache_slot;

/* How a step of an item went. */
typedef struct para_cache_decision {
    float difference; /* d; NAN where it was not measured: in the warm-up, and at the first step */
    bool hit;
} para_cache_decision;

/* One rank's, for one request. */
typedef struct para_first_block_cache {
    const para_cache_options *options;
    para_transformer *transformer;
    para_rank *rank;
    int steps;            /* of the request */
    float assumed;        /* d on a device that computes nothing */
    bool *skip;           /* [blocks]: that the negative half may leave out; or NULL */
    para_tensor change;   /* as first of a slot */
    para_tensor work;     /* [S_img, D] */
    para_tensor sums;     /* F32 [2], of an item that decides alone */
} para_first_block_cache;

/* PARA_ERR_ARGUMENT for options that are wrong for any model, naming the field. */
para_status para_cache_options_check(const para_cache_options *options);
/* Whether the options ask for anything at all. */
bool para_cache_is_on(const para_cache_options *options);

/* PARA_ERR_ARGUMENT where they do not fit the transformer; the number of steps. */
para_status para_cache_check_model(const para_cache_options *options, const para_transformer *t);
para_status para_cache_check_steps(const para_cache_options *options, int steps);

/* For items of these tokens; tensors are the arena's; `options`, which were checked, must outlive it. Closes with para_cache_close, also after a failure. */
para_status para_cache_open(para_first_block_cache *out, const para_cache_options *options, para_rank *rank, para_transformer *t, int steps,
                            const para_conditioning *like);
void para_cache_close(para_first_block_cache *c);
/* Room for an item's slot. */
para_status para_cache_slot_open(const para_first_block_cache *c, const para_conditioning *like, bool negative, para_cache_slot *out);

/* Whether para_cache_begin measures at this step: the same for all items and ranks. */
bool para_cache_measures(const para_first_block_cache *c, int step);
/* Embedding and first block. sums F32 [2]: over the tokens of this rank Σ |r_prev − r| and Σ |r_prev|, where it measures. */
para_status para_cache_begin(para_first_block_cache *c, para_cache_slot *slot, para_item *item, para_tensor latents, para_tensor sums);
/* From the sums over all tokens, on the host; NULL: not measured. */
para_cache_decision para_cache_decide(const para_first_block_cache *c, const para_cache_slot *slot, const float *sums);
/* The other blocks or what they added before, and the head. out [S_img, out_channels]. */
para_status para_cache_end(para_first_block_cache *c, para_cache_slot *slot, para_item *item, bool hit, para_tensor out);

/* All of it: what para_transformer_forward does, with a cache. Collective over the ranks that hold the item's tokens. */
para_status para_cache_forward(para_first_block_cache *c, para_cache_slot *slot, para_item *item, para_tensor latents, para_tensor out,
                               para_cache_decision *decision);
/* Sums [n, 2] on the host: of this rank with those of the others, added up in their order. What a dry device does not give is c->assumed. */
para_status para_cache_sum_up(const para_first_block_cache *c, para_comm comm, para_tensor sums, float *host);

#endif
