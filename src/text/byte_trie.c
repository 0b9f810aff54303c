/* Trie in breadth-first arrays, built level by level from sorted strings. SPDX-License-Identifier: Apache-2.0 */
#include "text/byte_trie.h"

#include <stdlib.h>
#include <string.h>

#include "core/alloc.h"
#include "core/error.h"

/* A node while it is built: the sorted entries that share its prefix. */
typedef struct span {
    uint32_t low, high;
} span;

static int compare_text(const para_trie_entry *a, const para_trie_entry *b) {
    size_t n = a->bytes < b->bytes ? a->bytes : b->bytes;
    int order = n ? memcmp(a->text, b->text, n) : 0;
    if (order) return order;
    return (a->bytes > b->bytes) - (a->bytes < b->bytes);
}

typedef struct ranked_entry {
    para_trie_entry entry;
    size_t rank; /* place in the caller's array, which decides among equals */
} ranked_entry;

static int compare_ranked(const void *left, const void *right) {
    const ranked_entry *a = left, *b = right;
    int order = compare_text(&a->entry, &b->entry);
    if (order) return order;
    return (a->rank > b->rank) - (a->rank < b->rank);
}

/* Sorts and drops all but the last of equal strings; *count becomes what is left. */
static para_status sort_entries(para_trie_entry *entries, size_t *count) {
    ranked_entry *ranked = para_alloc(*count, sizeof *ranked);
    if (!ranked) return PARA_ERR_MEMORY;
    for (size_t i = 0; i < *count; i++) ranked[i] = (ranked_entry){entries[i], i};
    qsort(ranked, *count, sizeof *ranked, compare_ranked);
    size_t kept = 0;
    for (size_t i = 0; i < *count; i++) {
        bool last = i + 1 == *count || compare_text(&ranked[i].entry, &ranked[i + 1].entry) != 0;
        if (last) entries[kept++] = ranked[i].entry;
    }
    *count = kept;
    para_free(ranked);
    return PARA_OK;
}

/* Room for one more node in all arrays; `spans` is the builder's. */
static para_status reserve_node(para_trie *t, span **spans, uint32_t *capacity) {
    if (t->nodes < *capacity) return PARA_OK;
    size_t next = (size_t)*capacity * 2;
    void *grown = para_realloc(t->first, next + 1, sizeof *t->first);
    if (!grown) return PARA_ERR_MEMORY;
    t->first = grown;
    if (!(grown = para_realloc(t->value, next, sizeof *t->value))) return PARA_ERR_MEMORY;
    t->value = grown;
    if (!(grown = para_realloc(t->label, next, 1))) return PARA_ERR_MEMORY;
    t->label = grown;
    if (!(grown = para_realloc(*spans, next, sizeof **spans))) return PARA_ERR_MEMORY;
    *spans = grown;
    *capacity = (uint32_t)next;
    return PARA_OK;
}

static para_status build_nodes(para_trie *t, const para_trie_entry *entries, size_t count, span **spans) {
    uint32_t capacity = 256;
    t->first = para_alloc(capacity + 1, sizeof *t->first);
    t->value = para_alloc(capacity, sizeof *t->value);
    t->label = para_alloc(capacity, 1);
    *spans = para_alloc(capacity, sizeof **spans);
    if (!t->first || !t->value || !t->label || !*spans) return PARA_ERR_MEMORY;
    (*spans)[0] = (span){0, (uint32_t)count};
    t->nodes = 1;
    uint32_t level_end = 1; /* first node of the next level */
    size_t depth = 0;
    for (uint32_t node = 0; node < t->nodes; node++) {
        if (node == level_end) {
            depth++;
            level_end = t->nodes;
        }
        span s = (*spans)[node];
        t->first[node] = t->nodes;
        t->value[node] = -1;
        if (s.low < s.high && entries[s.low].bytes == depth) t->value[node] = entries[s.low++].value;
        while (s.low < s.high) {
            uint8_t label = (uint8_t)entries[s.low].text[depth];
            uint32_t end = s.low + 1;
            while (end < s.high && (uint8_t)entries[end].text[depth] == label) end++;
            PARA_TRY(reserve_node(t, spans, &capacity));
            t->label[t->nodes] = label;
            (*spans)[t->nodes++] = (span){s.low, end};
            s.low = end;
        }
    }
    t->first[t->nodes] = t->nodes;
    return PARA_OK;
}

para_status para_trie_build(para_trie *t, para_trie_entry *entries, size_t count) {
    *t = (para_trie){0};
    size_t total = 0;
    for (size_t i = 0; i < count; i++) {
        if (entries[i].bytes > INT32_MAX - total)
            return para_fail(PARA_ERR_FORMAT, "the strings of a vocabulary take more than 2 GiB; the file is damaged");
        total += entries[i].bytes;
    }
    if (count > INT32_MAX)
        return para_fail(PARA_ERR_FORMAT, "a vocabulary has more than 2^31 entries; the file is damaged");
    PARA_TRY(sort_entries(entries, &count));
    span *spans = NULL;
    para_status status = build_nodes(t, entries, count, &spans);
    para_free(spans);
    if (status != PARA_OK) para_trie_close(t);
    return status;
}

void para_trie_close(para_trie *t) {
    para_free(t->first);
    para_free(t->value);
    para_free(t->label);
    *t = (para_trie){0};
}

bool para_trie_step(const para_trie *t, uint32_t *node, uint8_t byte) {
    if (t->nodes == 0) return false;
    uint32_t low = t->first[*node], high = t->first[*node + 1];
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (t->label[middle] == byte) {
            *node = middle;
            return true;
        }
        if (t->label[middle] < byte) low = middle + 1;
        else high = middle;
    }
    return false;
}

int32_t para_trie_find(const para_trie *t, const char *text, size_t bytes) {
    uint32_t node = 0;
    for (size_t i = 0; i < bytes; i++)
        if (!para_trie_step(t, &node, (uint8_t)text[i])) return -1;
    return t->nodes ? t->value[node] : -1;
}
