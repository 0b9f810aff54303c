/* Byte-pair encoding of one word after another. SPDX-License-Identifier: Apache-2.0 */
#ifndef PARA_TEXT_BYTE_PAIRS_H
#define PARA_TEXT_BYTE_PAIRS_H

#include "text/text_buffer.h"

typedef struct para_merge {
    int32_t left, right; /* ids of the pair; left -1: a free slot */
    int32_t rank;        /* the lower merges first */
    int32_t merged;      /* id of the result */
} para_merge;

typedef struct para_byte_pairs {
    int32_t inner[256]; /* id of each byte inside a word, -1: not in the vocabulary */
    int32_t last[256];  /* id of each byte at the end of a word */
    int32_t unknown;    /* id for bytes that are not there, -1: none */
    para_merge *table;  /* [slots], hashed by the pair */
    size_t slots;       /* a power of two, at least twice the merges */
} para_byte_pairs;

/* Room for `merges` calls of put. PARA_ERR_MEMORY. */
para_status para_byte_pairs_open(para_byte_pairs *p, size_t merges);
/* Adds a merge; the same pair again replaces it. */
void para_byte_pairs_put(para_byte_pairs *p, para_merge merge);
void para_byte_pairs_close(para_byte_pairs *p);

/* Working memory of one call, used for word after word. Starts zeroed. */
typedef struct para_pair_work {
    struct para_symbol *symbols; /* [room] */
    struct para_candidate *heap; /* [3 * room] */
    size_t room;
} para_pair_work;

/* Appends the ids of one word of n > 0 bytes, O(n log n). PARA_ERR_MEMORY; PARA_ERR_CONFIG for an unknown byte without
 * an unknown token. */
para_status para_byte_pairs_encode(const para_byte_pairs *p, const unsigned char *word, size_t n, para_pair_work *work,
                                   para_ids *ids);
void para_pair_work_close(para_pair_work *work);

#endif
