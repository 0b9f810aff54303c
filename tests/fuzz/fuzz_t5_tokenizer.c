/* Fuzzes T5's tokenizer: its files, then a text. SPDX-License-Identifier: Apache-2.0
 * Covers: src/text/t5_tokenizer.c, src/text/t5_vocabulary.c, src/text/unigram.c, src/text/charsmap.c, src/text/spiece_model.c
 * Covers: src/text/tokenizer_config.c, src/text/added_tokens.c, src/text/tokenizer.c, src/text/byte_trie.c */
#include "tokenizer_input.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    return run_input(para_t5_tokenizer_parse, data, size);
}
