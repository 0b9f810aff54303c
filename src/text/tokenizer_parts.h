/* What the tokenizers have in common inside. SPDX-License-Identifier: Apache-2.0 */
#ifndef PARA_TEXT_TOKENIZER_PARTS_H
#define PARA_TEXT_TOKENIZER_PARTS_H

#include "text/added_tokens.h"
#include "text/tokenizer.h"
#include "text/tokenizer_config.h"
#include "text/tokenizer_files.h"

/* A tokenizer's own part. */
typedef struct para_tokenizer_class {
    const char *name;
    int32_t (*find)(const void *self, const char *text, size_t bytes); /* vocabulary string to id, or -1 */
    /* Text to normalised text, appended to out. */
    para_status (*normalize)(const void *self, const char *text, size_t bytes, para_bytes *out);
    /* Normalised text without added tokens to ids, appended. */
    para_status (*encode)(const void *self, const char *text, size_t bytes, para_ids *ids);
    void (*close)(void *self);
} para_tokenizer_class;

struct para_tokenizer {
    const para_tokenizer_class *type;
    void *self;
    para_added_vocabulary added;
    int32_t first_id, last_id; /* special tokens before and behind; -1: none */
    int32_t pad_id;
    int model_max_length;
};

/* Puts a tokenizer together: adds the tokens of `config` to the vocabulary of `size` entries and finds the ids of its special
 * tokens (`first` and `last` < PARA_NAMED_TOKENS: that token opens, ends the text). Takes over `self`, also on failure. */
para_status para_tokenizer_assemble(para_tokenizer **out, const para_tokenizer_class *type, void *self, int32_t size,
                                    const para_tokenizer_config *config, const para_tokenizer_files *files,
                                    para_named_token first, para_named_token last);

/* The open functions without the file system, for fuzzing. */
para_status para_clip_tokenizer_parse(para_tokenizer **out, const para_tokenizer_files *files);
para_status para_t5_tokenizer_parse(para_tokenizer **out, const para_tokenizer_files *files);
para_status para_llama_tokenizer_parse(para_tokenizer **out, const para_tokenizer_files *files);

#endif
