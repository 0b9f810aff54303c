/* Viterbi over the pieces of a unigram model (Kudo, arXiv 1804.10959). SPDX-License-Identifier: Apache-2.0 */
#include "text/unigram.h"

#include <math.h>
#include <stdbool.h>

#include "core/alloc.h"
#include "core/error.h"
#include "text/unicode_text.h"

static const double unknown_penalty = 10.0; /* sentencepiece's: below the worst piece */

/* The best way to a place in the word. */
typedef struct para_path_node {
    double score;
    int32_t start; /* where its last piece begins, -1: not reached */
    int32_t id;
} para_path_node;

para_status para_unigram_open(para_unigram *u, const para_unigram_piece *pieces, size_t count, int32_t unknown) {
    *u = (para_unigram){.size = (int32_t)count, .unknown = unknown};
    if (count > INT32_MAX / 2)
        return para_fail(PARA_ERR_FORMAT, "a vocabulary has more than 2^30 pieces; the file is damaged");
    para_trie_entry *entries = para_alloc(count, sizeof *entries);
    u->scores = para_alloc(count, sizeof *u->scores);
    para_status status = entries && u->scores ? PARA_OK : PARA_ERR_MEMORY;
    double least = INFINITY;
    for (size_t i = 0; status == PARA_OK && i < count; i++) {
        entries[i] = (para_trie_entry){pieces[i].text, pieces[i].bytes, (int32_t)i};
        u->scores[i] = pieces[i].score;
        if (pieces[i].score < least) least = pieces[i].score;
    }
    u->unknown_score = least - unknown_penalty;
    if (status == PARA_OK) status = para_trie_build(&u->pieces, entries, count);
    para_free(entries);
    if (status != PARA_OK) para_unigram_close(u);
    return status;
}

void para_unigram_close(para_unigram *u) {
    para_trie_close(&u->pieces);
    para_free(u->scores);
    u->scores = NULL;
}

static para_status reserve(para_unigram_work *work, size_t n) {
    if (n <= work->room) return PARA_OK;
    size_t room = work->room < 64 ? 64 : work->room;
    while (room < n) room *= 2;
    para_path_node *grown = para_realloc(work->nodes, room, sizeof *grown);
    if (!grown) return PARA_ERR_MEMORY;
    work->nodes = grown;
    work->room = room;
    return PARA_OK;
}

static void offer(para_path_node *node, double score, size_t start, int32_t id) {
    if (node->start < 0 || score > node->score) *node = (para_path_node){score, (int32_t)start, id};
}

static void find_path(const para_unigram *u, const char *word, size_t bytes, para_path_node *nodes) {
    for (size_t i = 0; i <= bytes; i++) nodes[i].start = -1;
    nodes[0].score = 0;
    for (size_t start = 0, next; start < bytes; start = next) {
        double so_far = nodes[start].score;
        bool covered = false; /* by a piece of this one character */
        next = start;
        para_utf8_next(word, bytes, &next);
        uint32_t node = 0;
        for (size_t at = start; at < bytes && para_trie_step(&u->pieces, &node, (uint8_t)word[at]);) {
            at++;
            int32_t id = u->pieces.value[node];
            if (id < 0) continue;
            offer(&nodes[at], so_far + u->scores[id], start, id);
            covered |= at == next;
        }
        if (!covered) offer(&nodes[next], so_far + u->unknown_score, start, u->unknown);
    }
}

/* A run of unknown characters: together they may be a piece after all. */
static para_status append_unknown(const para_unigram *u, const char *run, size_t bytes, para_ids *ids) {
    int32_t id = para_trie_find(&u->pieces, run, bytes);
    return para_ids_append(ids, id < 0 ? u->unknown : id);
}

para_status para_unigram_encode(const para_unigram *u, const char *word, size_t bytes, para_unigram_work *work,
                                para_ids *ids) {
    if (bytes > INT32_MAX - 1)
        return para_fail(PARA_ERR_ARGUMENT, "a word of the text is longer than 2 GiB; shorten it");
    PARA_TRY(reserve(work, bytes + 1));
    find_path(u, word, bytes, work->nodes);
    size_t first = ids->n, run_end = 0; /* run_end > 0: inside a run of unknowns that ends there */
    size_t end = bytes;
    while (end > 0) { /* from the end; turned round below */
        const para_path_node *node = &work->nodes[end];
        size_t start = (size_t)node->start;
        if (node->id == u->unknown) {
            if (!run_end) run_end = end;
        } else {
            if (run_end) PARA_TRY(append_unknown(u, word + end, run_end - end, ids));
            run_end = 0;
            PARA_TRY(para_ids_append(ids, node->id));
        }
        end = start;
    }
    if (run_end) PARA_TRY(append_unknown(u, word, run_end, ids));
    for (size_t low = first, high = ids->n; low + 1 < high; low++) {
        int32_t moved = ids->data[--high];
        ids->data[high] = ids->data[low];
        ids->data[low] = moved;
    }
    return PARA_OK;
}
