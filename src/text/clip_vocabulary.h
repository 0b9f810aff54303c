/* CLIP's vocabulary and merges from vocab.json and merges.txt, or from tokenizer.json. SPDX-License-Identifier: Apache-2.0 */
#ifndef PARA_TEXT_CLIP_VOCABULARY_H
#define PARA_TEXT_CLIP_VOCABULARY_H

#include "text/byte_pairs.h"
#include "text/byte_trie.h"
#include "text/tokenizer_files.h"

typedef struct para_clip_vocabulary {
    para_trie words; /* vocabulary string (bytes written as GPT-2's printable characters) to id */
    int32_t size;    /* entries */
    para_byte_pairs pairs;
} para_clip_vocabulary;

/* `tokenizer` is tokenizer.json, which goes before the two files, or NULL. The unknown token's content is found in the
 * vocabulary or not at all. PARA_ERR_NOT_FOUND, PARA_ERR_FORMAT with file and entry, PARA_ERR_MEMORY. Close always. */
para_status para_clip_vocabulary_open(para_clip_vocabulary *v, const para_tokenizer_files *files,
                                      const json_t *tokenizer, const char *unknown, size_t unknown_bytes);
void para_clip_vocabulary_close(para_clip_vocabulary *v);

#endif
