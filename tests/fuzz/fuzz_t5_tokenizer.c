/* Fuzzes T5's tokenizer: its files and its texts; input: see tokenizer_input.h. SPDX-License-Identifier: Apache-2.0
 * Covers: src/text/t5_tokenizer.c, src/text/t5_vocabulary.c, src/text/spiece_model.c, src/text/charsmap.c
 * Covers: src/text/unigram.c, src/text/tokenizer_config.c */
#include "tokenizer_input.h"

#define SMALL PARA_SOURCE_DIR "/tests/golden/flux-dev/tokenizer_2"
#define LARGE PARA_SOURCE_DIR "/tests/data/tokenizer-t5"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static para_tokenizer_files base; /* kept to the end: these pointers reach it for the leak check */
    static para_tokenizer *whole[3];
    if (!base.folder) {
        require(para_tokenizer_files_read(&base, SMALL) == PARA_OK);
        require(para_t5_tokenizer_open(&whole[0], SMALL) == PARA_OK);
        require(para_t5_tokenizer_open(&whole[1], LARGE) == PARA_OK);
        para_tokenizer_files spiece; /* and from spiece.model */
        require(para_tokenizer_files_read(&spiece, LARGE) == PARA_OK);
        para_free((void *)(uintptr_t)spiece.file[PARA_FILE_TOKENIZER].data);
        spiece.file[PARA_FILE_TOKENIZER].data = NULL;
        spiece.file[PARA_FILE_TOKENIZER].bytes = 0;
        require(para_t5_tokenizer_parse(&whole[2], &spiece) == PARA_OK);
        para_tokenizer_files_close(&spiece);
    }
    fuzz_tokenizer(para_t5_tokenizer_parse, &base, 3, whole, data, size);
    return 0;
}
