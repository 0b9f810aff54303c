/* Tokens added on top of a model's vocabulary, found in the text before the model sees it. As tokenizers' AddedVocabulary.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef PARA_TEXT_ADDED_TOKENS_H
#define PARA_TEXT_ADDED_TOKENS_H

#include <stdbool.h>

#include "text/byte_trie.h"
#include "text/text_buffer.h"

enum { PARA_ADDED_TOKENS_MAX = 10000 };

typedef struct para_added_token {
    char *content; /* [bytes], owned by the list that holds the token */
    size_t bytes;
    bool single_word;    /* only where no word character touches it */
    bool lstrip, rstrip; /* takes the white space on its left, on its right */
    bool normalized;     /* is looked for in the normalised text, else in the text as it came */
    bool special;
    bool plain_string; /* was a bare string in its file, which compares unequal to one with flags */
    int32_t id;        /* of the vocabulary; in a config's list, the index that the file gives */
} para_added_token;

/* A growing list that owns its contents; starts zeroed. */
typedef struct para_token_list {
    para_added_token *items;
    size_t n, capacity;
} para_token_list;

/* Appends a copy. PARA_ERR_MEMORY; PARA_ERR_FORMAT beyond PARA_ADDED_TOKENS_MAX. */
para_status para_token_list_append(para_token_list *list, const para_added_token *token);
/* The place of the token with this content, or list->n. */
size_t para_token_list_find(const para_token_list *list, const char *content, size_t bytes);
void para_token_list_close(para_token_list *list);

/* What the added tokens must know of the tokenizer that they extend. */
typedef struct para_token_model {
    const void *self;
    int32_t (*find)(const void *self, const char *text, size_t bytes); /* id of a vocabulary string, or -1 */
    para_status (*normalize)(const void *self, const char *text, size_t bytes, para_bytes *out);
    int32_t size; /* entries of the vocabulary: ids of new tokens start here */
} para_token_model;

typedef struct para_added_vocabulary {
    para_token_list tokens;      /* id filled in */
    para_trie plain, normalized; /* patterns; value: index into tokens */
    bool split_special_tokens;   /* special tokens in the text are text */
} para_added_vocabulary;

/* Adds the tokens in order; one that is already there takes the later flags. PARA_ERR_MEMORY, PARA_ERR_FORMAT. */
para_status para_added_vocabulary_open(para_added_vocabulary *v, const para_token_list *tokens,
                                       bool split_special_tokens, const para_token_model *model);
void para_added_vocabulary_close(para_added_vocabulary *v);

/* The id of an added token or vocabulary string, or -1. */
int32_t para_added_vocabulary_find(const para_added_vocabulary *v, const para_token_model *model, const char *text,
                                   size_t bytes);

/* A piece of a text: bytes [start, stop), an added token's id or -1 for text. */
typedef struct para_segment {
    size_t start, stop;
    int32_t id;
} para_segment;

typedef struct para_segments {
    para_segment *items;
    size_t n, capacity;
} para_segments;

/* Splits at the added tokens, leftmost and longest first, those that are looked for in normalised text or the others.
 * `out` (start zeroed, para_free(out->items)) is overwritten. PARA_ERR_MEMORY. */
para_status para_added_split(const para_added_vocabulary *v, bool normalized, const char *text, size_t bytes,
                             para_segments *out);

#endif
