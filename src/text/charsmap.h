/* sentencepiece's precompiled character map: a normalisation as a double-array trie. SPDX-License-Identifier: Apache-2.0 */
#ifndef PARA_TEXT_CHARSMAP_H
#define PARA_TEXT_CHARSMAP_H

#include "text/text_buffer.h"

typedef struct para_charsmap {
    uint32_t *units; /* [count], Darts-clone's format; NULL: text stays as it is */
    size_t count;
    char *texts; /* [bytes], replacements, each ends with a NUL */
    size_t bytes;
} para_charsmap;

/* Copies from the blob: u32 size of the trie in bytes, trie, replacements, all little-endian. PARA_ERR_FORMAT (`path` names
 * the file), PARA_ERR_MEMORY. */
para_status para_charsmap_open(para_charsmap *map, const char *blob, size_t bytes, const char *path);
/* The same from base64, as tokenizer.json has it. */
para_status para_charsmap_open_base64(para_charsmap *map, const char *text, size_t bytes, const char *path);
void para_charsmap_close(para_charsmap *map);

/* Appends the normalised text. A grapheme cluster of fewer than 6 bytes is replaced as a whole by the entry for its shortest
 * prefix that has one, else each code point by its own (tokenizers' Precompiled). PARA_ERR_FORMAT where the trie points
 * outside itself, PARA_ERR_MEMORY. */
para_status para_charsmap_apply(const para_charsmap *map, const char *text, size_t bytes, para_bytes *out);

#endif
