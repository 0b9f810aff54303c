/* Special tokens and limits from a tokenizer's configs, as transformers' from_pretrained gathers them.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef PARA_TEXT_TOKENIZER_CONFIG_H
#define PARA_TEXT_TOKENIZER_CONFIG_H

#include "text/added_tokens.h"
#include "text/tokenizer_files.h"

/* In the order in which transformers adds them. */
typedef enum para_named_token {
    PARA_TOKEN_BOS,
    PARA_TOKEN_EOS,
    PARA_TOKEN_UNK,
    PARA_TOKEN_SEP,
    PARA_TOKEN_PAD,
    PARA_TOKEN_CLS,
    PARA_TOKEN_MASK,
    PARA_NAMED_TOKENS
} para_named_token;

typedef struct para_tokenizer_config {
    para_token_list named[PARA_NAMED_TOKENS]; /* each empty or one token */
    para_token_list decoder;                  /* added_tokens_decoder, by index */
    para_token_list model_specific;           /* other keys that end in _token */
    para_token_list extra;                    /* extra_special_tokens, where has_extra */
    para_token_list additional;               /* additional_special_tokens, where has_additional */
    bool has_extra, has_additional;
    int model_max_length; /* INT_MAX: no limit */
    int extra_ids;        /* T5's sentinels */
    bool split_special_tokens;
    bool says_padding_side; /* which then is "right" */
} para_tokenizer_config;

/* Reads tokenizer_config.json and, where that holds no added_tokens_decoder, special_tokens_map.json, added_tokens.json and
 * the added_tokens of tokenizer.json (`tokenizer`, NULL where there is none). defaults[i] names each special token of the
 * class, or is NULL. PARA_ERR_FORMAT, PARA_ERR_CONFIG, PARA_ERR_MEMORY; close after success only. */
para_status para_tokenizer_config_read(para_tokenizer_config *config, const para_tokenizer_files *files,
                                       const json_t *tokenizer, const char *const defaults[PARA_NAMED_TOKENS]);
void para_tokenizer_config_close(para_tokenizer_config *config);

/* Adds the added_tokens of tokenizer.json that added_tokens_decoder does not list, as classes do that take the whole of that file.
 * PARA_ERR_CONFIG where the two give an id to different tokens; PARA_ERR_MEMORY. */
para_status para_tokenizer_config_add_listed(para_tokenizer_config *config, const para_tokenizer_files *files,
                                             const json_t *tokenizer);

/* All tokens to add to the vocabulary, in order. `list` starts zeroed. */
para_status para_tokenizer_config_tokens(const para_tokenizer_config *config, para_token_list *list);

#endif
