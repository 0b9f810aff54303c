/* What Llama 3's tokenizer.json says besides its vocabulary. SPDX-License-Identifier: Apache-2.0 */
#ifndef PARA_TEXT_LLAMA_RULES_H
#define PARA_TEXT_LLAMA_RULES_H

#include <stdint.h>

#include "text/tokenizer_files.h"

typedef struct para_llama_rules {
    bool ignore_merges;        /* a word that the vocabulary has whole is not put together by merges */
    int32_t first_id, last_id; /* special tokens that open and end every text; -1: none */
} para_llama_rules;

/* The regular expression of its words, for para_word_pattern_open. */
extern const char para_llama_words[];

/* Reads the rules and refuses, in a sentence, every field that would give other ids than this project's code does: PARA_ERR_CONFIG.
 * PARA_ERR_FORMAT. */
para_status para_llama_rules_read(para_llama_rules *rules, const para_tokenizer_files *files, const json_t *tokenizer);

#endif
