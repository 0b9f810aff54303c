/* Fuzzes CLIP's tokenizer: its files, then a text. SPDX-License-Identifier: Apache-2.0
 * Covers: src/text/clip_tokenizer.c, src/text/bpe_vocabulary.c, src/text/word_pattern.c, src/text/byte_pairs.c
 * Covers: src/text/tokenizer_config.c, src/text/added_tokens.c, src/text/tokenizer.c, src/text/byte_trie.c, src/text/unicode_text.c */
#include "tokenizer_input.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    return run_input(para_clip_tokenizer_parse, data, size);
}
