/* A set of byte strings with a value each, searched byte by byte. SPDX-License-Identifier: Apache-2.0 */
#ifndef PARA_TEXT_BYTE_TRIE_H
#define PARA_TEXT_BYTE_TRIE_H

#include <paraattn/status.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct para_trie_entry {
    const char *text; /* [bytes], need not outlive the build */
    size_t bytes;
    int32_t value; /* ≥ 0 */
} para_trie_entry;

/* Nodes in breadth-first order, node 0 the root: the children of node i are [first[i], first[i + 1]), by label. */
typedef struct para_trie {
    uint32_t *first; /* [nodes + 1] */
    int32_t *value;  /* [nodes], -1: no string ends here */
    uint8_t *label;  /* [nodes], the byte that leads to the node */
    uint32_t nodes;
} para_trie;

/* Builds from `count` entries in any order (the array is sorted in place); of equal strings the one that stood last
 * in the array wins. PARA_ERR_MEMORY; PARA_ERR_FORMAT beyond 2^31 bytes. The trie is empty on failure. */
para_status para_trie_build(para_trie *t, para_trie_entry *entries, size_t count);
void para_trie_close(para_trie *t);

/* Goes from *node along `byte`; false (and *node untouched) where no string continues so. */
bool para_trie_step(const para_trie *t, uint32_t *node, uint8_t byte);
/* The value of exactly this string, or -1. */
int32_t para_trie_find(const para_trie *t, const char *text, size_t bytes);

#endif
