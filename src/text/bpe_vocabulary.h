/* Vocabulary and merges of a byte-level BPE, from vocab.json and merges.txt or from tokenizer.json. SPDX-License-Identifier: Apache-2.0 */
#ifndef PARA_TEXT_BPE_VOCABULARY_H
#define PARA_TEXT_BPE_VOCABULARY_H

#include "text/byte_pairs.h"
#include "text/byte_trie.h"
#include "text/tokenizer_files.h"

/* A byte as GPT-2 writes it: a printable character. */
typedef struct para_bpe_letter {
    char text[4];  /* [bytes], UTF-8 */
    uint8_t bytes; /* 1 or 2 */
} para_bpe_letter;

typedef struct para_bpe_vocabulary {
    para_trie words; /* vocabulary string (bytes written as letters) to id */
    int32_t size;    /* entries */
    para_byte_pairs pairs;
    para_bpe_letter letter[256];
} para_bpe_vocabulary;

/* `tokenizer` is tokenizer.json, which goes before the two files, or NULL. `word_end` marks the last letter of a word ("</w>", or "").
 * pairs.unknown is -1. PARA_ERR_NOT_FOUND, PARA_ERR_FORMAT with file and entry, PARA_ERR_CONFIG, PARA_ERR_MEMORY. Close always. */
para_status para_bpe_vocabulary_open(para_bpe_vocabulary *v, const para_tokenizer_files *files, const json_t *tokenizer,
                                     const char *word_end);
void para_bpe_vocabulary_close(para_bpe_vocabulary *v);

/* The id of a whole word (raw bytes), or -1. */
int32_t para_bpe_vocabulary_find_word(const para_bpe_vocabulary *v, const char *word, size_t bytes);

#endif
