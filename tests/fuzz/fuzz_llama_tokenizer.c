/* Fuzzes Llama 3's tokenizer: its files, then a text. SPDX-License-Identifier: Apache-2.0
 * Covers: src/text/llama_tokenizer.c, src/text/llama_rules.c */
#include "tokenizer_input.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    return run_input(para_llama_tokenizer_parse, data, size);
}
