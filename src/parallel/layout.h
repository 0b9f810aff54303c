/* How the tokens of a sequence are shared out over ranks. SPDX-License-Identifier: Apache-2.0 */
#ifndef PARA_PARALLEL_LAYOUT_H
#define PARA_PARALLEL_LAYOUT_H

#include <paraattn/attention.h>

struct para_layout {
    int ranks;                     /* of the tokens axis */
    int64_t *first[PARA_SEGMENTS]; /* [ranks + 1]: first token of each rank; the last is the total */
};

/* Tokens of both segments that `count` ranks from `index` on hold together. */
int64_t para_layout_tokens(const para_layout *layout, int index, int count);

/* What one rank holds of a sequence, image (or video) tokens before text tokens. */
typedef struct para_shard {
    int64_t tokens[PARA_SEGMENTS]; /* held here */
    int64_t first[PARA_SEGMENTS];  /* the first of them, in the whole segment */
    int64_t total[PARA_SEGMENTS];  /* of all ranks */
    const para_mesh *mesh;         /* who holds the others, */
    const para_layout *layout;     /* and how many */
    int head_groups;               /* in which heads are exchanged; 0: as the mode has it */
    para_exchange_way exchange;
} para_shard;

/* The part of place `index` on the tokens axis. */
para_shard para_shard_of(const para_mesh *mesh, const para_layout *layout, int index);

static inline int64_t para_shard_tokens(const para_shard *s) {
    return s->tokens[PARA_IMAGE] + s->tokens[PARA_TEXT];
}

/* First row of a segment where the rank's tokens of both lie one after the other. */
static inline int64_t para_shard_row(const para_shard *s, para_segment segment) {
    return segment == PARA_IMAGE ? 0 : s->tokens[PARA_IMAGE];
}

#endif
