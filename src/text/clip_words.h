/* CLIP's pre-tokenization: normalised text to words, by a regular expression. SPDX-License-Identifier: Apache-2.0 */
#ifndef PARA_TEXT_CLIP_WORDS_H
#define PARA_TEXT_CLIP_WORDS_H

#include <paraattn/status.h>
#include <stddef.h>

/* Any number of threads may search with one. */
typedef struct para_clip_words para_clip_words;

/* PARA_ERR_LIBRARY where PCRE2 has no Unicode support, PARA_ERR_MEMORY. */
para_status para_clip_words_open(para_clip_words **out);
void para_clip_words_close(para_clip_words **words);

/* A walk over one text (valid UTF-8, which must stay). Close it always. */
typedef struct para_word_walk {
    const para_clip_words *words;
    const char *text;
    size_t bytes;
    size_t start, stop; /* the word that next found */
    size_t pending[2];  /* ends of the parts still to come of a match that is more than one word; 0: none */
    void *match;
} para_word_walk;

para_status para_word_walk_open(para_word_walk *walk, const para_clip_words *words, const char *text, size_t bytes);
/* Puts the next word into start and stop; *found false at the end. PARA_ERR_LIBRARY. */
para_status para_word_walk_next(para_word_walk *walk, int *found);
void para_word_walk_close(para_word_walk *walk);

#endif
