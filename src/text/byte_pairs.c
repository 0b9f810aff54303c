/* BPE by a heap of candidate merges over a linked list of symbols (Sennrich et al., arXiv 1508.07909).
 * SPDX-License-Identifier: Apache-2.0 */
#include "text/byte_pairs.h"

#include "core/alloc.h"
#include "core/error.h"

typedef struct para_symbol {
    int32_t id;             /* -1: merged into its left neighbour */
    int32_t previous, next; /* -1: none */
} para_symbol;

typedef struct para_candidate {
    int32_t rank, position, merged;
} para_candidate;

static size_t slot_of(const para_byte_pairs *p, int32_t left, int32_t right) {
    uint64_t key = (uint64_t)(uint32_t)left << 32 | (uint32_t)right;
    key *= 0x9E3779B97F4A7C15u; /* Fibonacci hashing */
    return (size_t)(key >> 32 ^ key) & (p->slots - 1);
}

para_status para_byte_pairs_open(para_byte_pairs *p, size_t merges) {
    p->slots = 16;
    while (p->slots < merges * 2) p->slots *= 2;
    p->table = para_alloc(p->slots, sizeof *p->table);
    if (!p->table) return PARA_ERR_MEMORY;
    for (size_t i = 0; i < p->slots; i++) p->table[i].left = -1;
    return PARA_OK;
}

void para_byte_pairs_put(para_byte_pairs *p, para_merge merge) {
    size_t at = slot_of(p, merge.left, merge.right);
    while (p->table[at].left >= 0 && (p->table[at].left != merge.left || p->table[at].right != merge.right))
        at = (at + 1) & (p->slots - 1);
    p->table[at] = merge;
}

void para_byte_pairs_close(para_byte_pairs *p) {
    para_free(p->table);
    p->table = NULL;
}

void para_pair_work_close(para_pair_work *work) {
    para_free(work->symbols);
    para_free(work->heap);
    *work = (para_pair_work){0};
}

static const para_merge *find_merge(const para_byte_pairs *p, int32_t left, int32_t right) {
    size_t at = slot_of(p, left, right);
    while (p->table[at].left >= 0) {
        if (p->table[at].left == left && p->table[at].right == right) return &p->table[at];
        at = (at + 1) & (p->slots - 1);
    }
    return NULL;
}

static int before(const para_candidate *a, const para_candidate *b) {
    return a->rank != b->rank ? a->rank < b->rank : a->position < b->position;
}

static void push(para_candidate *heap, size_t *n, para_candidate c) {
    size_t at = (*n)++;
    while (at > 0 && before(&c, &heap[(at - 1) / 2])) {
        heap[at] = heap[(at - 1) / 2];
        at = (at - 1) / 2;
    }
    heap[at] = c;
}

static para_candidate pop(para_candidate *heap, size_t *n) {
    para_candidate top = heap[0], moved = heap[--*n];
    size_t at = 0;
    for (;;) {
        size_t child = 2 * at + 1;
        if (child >= *n) break;
        if (child + 1 < *n && before(&heap[child + 1], &heap[child])) child++;
        if (!before(&heap[child], &moved)) break;
        heap[at] = heap[child];
        at = child;
    }
    heap[at] = moved;
    return top;
}

static para_status reserve(para_pair_work *work, size_t n) {
    if (n <= work->room) return PARA_OK;
    size_t room = work->room < 64 ? 64 : work->room;
    while (room < n) room *= 2;
    para_symbol *symbols = para_realloc(work->symbols, room, sizeof *symbols);
    if (!symbols) return PARA_ERR_MEMORY;
    work->symbols = symbols;
    /* n - 1 pairs at first, and each of at most n - 1 merges pushes two more. */
    para_candidate *heap = para_realloc(work->heap, 3 * room, sizeof *heap);
    if (!heap) return PARA_ERR_MEMORY;
    work->heap = heap;
    work->room = room;
    return PARA_OK;
}

static void consider(const para_byte_pairs *p, para_pair_work *work, size_t *queued, int32_t left) {
    int32_t right = work->symbols[left].next;
    if (right < 0) return;
    const para_merge *m = find_merge(p, work->symbols[left].id, work->symbols[right].id);
    if (m) push(work->heap, queued, (para_candidate){m->rank, left, m->merged});
}

static void merge_all(const para_byte_pairs *p, para_pair_work *work, size_t n) {
    para_symbol *s = work->symbols;
    size_t queued = 0;
    for (size_t i = 0; i + 1 < n; i++) consider(p, work, &queued, (int32_t)i);
    while (queued) {
        para_candidate c = pop(work->heap, &queued);
        int32_t left = c.position, right = s[left].next;
        if (s[left].id < 0 || right < 0) continue;
        const para_merge *m = find_merge(p, s[left].id, s[right].id);
        if (!m || m->merged != c.merged) continue; /* the pair has changed since it was queued */
        s[left].id = c.merged;
        s[left].next = s[right].next;
        s[right].id = -1;
        if (s[left].next >= 0) s[s[left].next].previous = left;
        if (s[left].previous >= 0) consider(p, work, &queued, s[left].previous);
        consider(p, work, &queued, left);
    }
}

para_status para_byte_pairs_encode(const para_byte_pairs *p, const unsigned char *word, size_t n, para_pair_work *work,
                                   para_ids *ids) {
    if (n > INT32_MAX / 4) return para_fail(PARA_ERR_ARGUMENT, "a word of the text is longer than 512 MiB; shorten it");
    PARA_TRY(reserve(work, n));
    for (size_t i = 0; i < n; i++) {
        int32_t id = i + 1 < n ? p->inner[word[i]] : p->last[word[i]];
        if (id < 0) id = p->unknown;
        if (id < 0)
            return para_fail(
                PARA_ERR_CONFIG,
                "the text has the byte 0x%02X, which is not in vocab.json, and unk_token is not there either", word[i]);
        work->symbols[i] = (para_symbol){id, (int32_t)i - 1, i + 1 < n ? (int32_t)i + 1 : -1};
    }
    merge_all(p, work, n);
    for (int32_t i = 0; i >= 0; i = work->symbols[i].next) PARA_TRY(para_ids_append(ids, work->symbols[i].id));
    return PARA_OK;
}
