/* The First Block Cache of a denoising loop: which items decide when, and what they decided. SPDX-License-Identifier: Apache-2.0 */
#ifndef PARA_PIPELINE_LOOP_CACHE_H
#define PARA_PIPELINE_LOOP_CACHE_H

#include "pipeline/pipeline_state.h"
#include "step/first_block_cache.h"

/* How an item's step went. */
typedef struct para_loop_record {
    para_cache_decision decision;
    double seconds;
} para_loop_record;

/* Of one rank. All zero: there is no cache. Arrays of items and records are indexed by the items of the request; those of other batch groups stay
 * empty. */
typedef struct para_loop_cache {
    bool on, joint;
    para_run *run;
    para_comm batch; /* ranks that hold the same tokens */
    int64_t items;
    int halves;
    para_first_block_cache cache;
    para_cache_slot *slot;    /* [items] */
    para_item *item;          /* [items], joint: a residual stream for each, as all are between begin and end at once */
    para_recorded *recorded;  /* [items], joint */
    para_tensor sums;         /* joint: F32 [items, 2] */
    float *host;              /* joint: [items][2] */
    para_loop_record *record; /* [steps][items] */
} para_loop_cache;

/* For the batch group's items; conditioning [halves]. Does nothing where the pipeline has no cache. Closes with para_loop_cache_close, also after a
 * failure. */
para_status para_loop_cache_open(para_loop_cache *out, para_run *run, para_comm batch, const para_conditioning *conditioning);
void para_loop_cache_close(para_loop_cache *c);

/* Where items decide together: the first blocks of all of them, before any of the others. latents [n, tokens, channels]; model_input: room for one
 * picture's in the activations' type. Collective over the mesh. */
para_status para_loop_cache_begin_step(para_loop_cache *c, int step, para_tensor latents, para_tensor model_input);

/* Instead of para_transformer_forward, with item->step set. index: of the item. */
para_status para_loop_cache_forward(para_loop_cache *c, int64_t index, para_item *item, para_tensor model_input, para_tensor output);

/* After the loop: gives the records of all groups to the result. Collective over `batch`. */
para_status para_loop_cache_report(para_loop_cache *c);

#endif
