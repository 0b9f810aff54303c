/* Pre-tokenization by a regular expression: a text's words, one after another. SPDX-License-Identifier: Apache-2.0 */
#ifndef PARA_TEXT_WORD_PATTERN_H
#define PARA_TEXT_WORD_PATTERN_H

#include <paraattn/status.h>
#include <stdbool.h>
#include <stddef.h>

#include "text/unicode_since.h"

/* Of a pattern, for the inside of a character class: letters, numbers, white space, as the tokenizers library knows them. */
#define PARA_WORD_LETTERS "\\p{L}" PARA_LETTERS_SINCE_UNICODE_14
#define PARA_WORD_NUMBERS "\\p{N}" PARA_NUMBERS_SINCE_UNICODE_14
#define PARA_WORD_SPACES PARA_WHITE_SPACE_CLASS

/* Any number of threads may search with one. */
typedef struct para_word_pattern para_word_pattern;

/* Compiles a regular expression of PCRE2 that never matches nothing. PARA_ERR_LIBRARY where PCRE2 has no Unicode support, PARA_ERR_MEMORY. */
para_status para_word_pattern_open(para_word_pattern **out, const char *expression);
void para_word_pattern_close(para_word_pattern **pattern);

/* A walk over one text (valid UTF-8, which must stay). Close it always. */
typedef struct para_word_walk {
    const para_word_pattern *pattern;
    const char *text;
    size_t bytes;
    size_t start, stop; /* the word that next found */
    void *match;
} para_word_walk;

para_status para_word_walk_open(para_word_walk *walk, const para_word_pattern *pattern, const char *text, size_t bytes);
/* Puts the next word into start and stop; *found false at the end. PARA_ERR_LIBRARY, PARA_ERR_MEMORY. */
para_status para_word_walk_next(para_word_walk *walk, bool *found);
void para_word_walk_close(para_word_walk *walk);

#endif
