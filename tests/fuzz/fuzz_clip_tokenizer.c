/* Fuzzes CLIP's tokenizer: its files and its texts; input: see tokenizer_input.h. SPDX-License-Identifier: Apache-2.0
 * Covers: src/text/clip_tokenizer.c, src/text/clip_vocabulary.c, src/text/clip_words.c, src/text/byte_pairs.c
 * Covers: src/text/tokenizer.c, src/text/added_tokens.c, src/text/byte_trie.c, src/text/unicode_text.c */
#include "tokenizer_input.h"

#define SMALL PARA_SOURCE_DIR "/tests/golden/flux-dev/tokenizer"
#define LARGE PARA_SOURCE_DIR "/tests/data/tokenizer-clip"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static para_tokenizer_files base; /* kept to the end: these pointers reach it for the leak check */
    static para_tokenizer *whole[2];
    if (!base.folder) {
        require(para_tokenizer_files_read(&base, SMALL) == PARA_OK);
        require(para_clip_tokenizer_open(&whole[0], SMALL) == PARA_OK);
        require(para_clip_tokenizer_open(&whole[1], LARGE) == PARA_OK);
    }
    fuzz_tokenizer(para_clip_tokenizer_parse, &base, 2, whole, data, size);
    return 0;
}
