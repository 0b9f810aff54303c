/* Unigram language model: the best segmentation of a word into pieces. SPDX-License-Identifier: Apache-2.0 */
#ifndef PARA_TEXT_UNIGRAM_H
#define PARA_TEXT_UNIGRAM_H

#include "text/byte_trie.h"
#include "text/text_buffer.h"

typedef struct para_unigram_piece {
    const char *text; /* [bytes] of UTF-8 */
    size_t bytes;
    double score; /* log probability, finite */
} para_unigram_piece;

typedef struct para_unigram {
    para_trie pieces; /* value: the piece's index, its id */
    double *scores;   /* [size] */
    int32_t size;
    int32_t unknown; /* id of what no piece covers */
    double unknown_score;
} para_unigram;

/* Of equal pieces the last wins. unknown < count. PARA_ERR_FORMAT, PARA_ERR_MEMORY; closed on failure. */
para_status para_unigram_open(para_unigram *u, const para_unigram_piece *pieces, size_t count, int32_t unknown);
void para_unigram_close(para_unigram *u);

/* Working memory of one call, used for word after word. Starts zeroed; para_free(work->nodes). */
typedef struct para_unigram_work {
    struct para_path_node *nodes; /* [room] */
    size_t room;
} para_unigram_work;

/* Appends the ids of the most probable segmentation of `word` (valid UTF-8); neighbouring unknowns become one. Of equal
 * scores the earlier start wins. Time: bytes × longest match. PARA_ERR_MEMORY. */
para_status para_unigram_encode(const para_unigram *u, const char *word, size_t bytes, para_unigram_work *work,
                                para_ids *ids);

#endif
