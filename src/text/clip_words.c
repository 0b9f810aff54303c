/* The regular expression of CLIP's tokenizer, on PCRE2. SPDX-License-Identifier: Apache-2.0 */
#define PCRE2_CODE_UNIT_WIDTH 8
#include "text/clip_words.h"

#include <pcre2.h>
#include <string.h>

#include "core/alloc.h"
#include "core/error.h"
#include "text/unicode_since.h"

struct para_clip_words {
    pcre2_general_context *memory;
    pcre2_code *code;
};

static void *take(PCRE2_SIZE bytes, void *user) {
    (void)user;
    return para_alloc(bytes, 1);
}

static void give(void *p, void *user) {
    (void)user;
    para_free(p);
}

/* L: letters, N: numbers, S: white space; each the inside of a character class. */
#define CLIP_PATTERN(L, N, S)                                                                                          \
    "<\\|startoftext\\|>|<\\|endoftext\\|>|'s|'t|'re|'ve|'m|'ll|'d|[" L "]+|[" N "]|[^" S L N "]+"

static const char pattern[] = CLIP_PATTERN("\\p{L}" PARA_LETTERS_SINCE_UNICODE_14,
                                           "\\p{N}" PARA_NUMBERS_SINCE_UNICODE_14, PARA_WHITE_SPACE_CLASS);

static para_status library_error(int code) {
    char text[128] = "";
    pcre2_get_error_message(code, (PCRE2_UCHAR *)text, sizeof text);
    if (code == PCRE2_ERROR_NOMEMORY || code == PCRE2_ERROR_HEAPLIMIT || code == 121 /* compile: no memory */)
        return para_fail(PARA_ERR_MEMORY, "out of memory in PCRE2: %s", text);
    return para_fail(PARA_ERR_LIBRARY, "PCRE2 failed: %s; it must be built with Unicode support", text);
}

para_status para_clip_words_open(para_clip_words **out) {
    para_clip_words *w = para_alloc(1, sizeof *w);
    if (!w) return PARA_ERR_MEMORY;
    para_status status = PARA_OK;
    w->memory = pcre2_general_context_create(take, give, NULL);
    if (!w->memory) status = PARA_ERR_MEMORY;
    if (status == PARA_OK) {
        pcre2_compile_context *context = pcre2_compile_context_create(w->memory);
        if (context) {
            int code;
            PCRE2_SIZE at;
            w->code =
                pcre2_compile((PCRE2_SPTR)pattern, sizeof pattern - 1, PCRE2_UTF | PCRE2_UCP, &code, &at, context);
            if (!w->code) status = library_error(code);
            pcre2_compile_context_free(context);
        } else {
            status = PARA_ERR_MEMORY;
        }
    }
    if (status != PARA_OK) para_clip_words_close(&w);
    *out = w;
    return status;
}

void para_clip_words_close(para_clip_words **words) {
    if (!*words) return;
    pcre2_code_free((*words)->code);
    pcre2_general_context_free((*words)->memory);
    para_free(*words);
    *words = NULL;
}

para_status para_word_walk_open(para_word_walk *walk, const para_clip_words *words, const char *text, size_t bytes) {
    *walk = (para_word_walk){.words = words, .text = text, .bytes = bytes};
    walk->match = pcre2_match_data_create(1, words->memory);
    return walk->match ? PARA_OK : PARA_ERR_MEMORY;
}

void para_word_walk_close(para_word_walk *walk) {
    pcre2_match_data_free(walk->match);
    walk->match = NULL;
}

/* The byte-level step splits by GPT-2's expression once more, which cuts only a spelled-out special token: "<|", name, "|>". */
static void cut_special(para_word_walk *walk) {
    const char *word = walk->text + walk->start;
    size_t n = walk->stop - walk->start;
    if (n < 5 || memcmp(word, "<|", 2) != 0 || (word[2] != 's' && word[2] != 'e')) return;
    walk->pending[0] = walk->stop - 2;
    walk->pending[1] = walk->stop;
    walk->stop = walk->start + 2;
}

para_status para_word_walk_next(para_word_walk *walk, int *found) {
    *found = 0;
    if (walk->pending[0] || walk->pending[1]) {
        walk->start = walk->stop;
        walk->stop = walk->pending[0] ? walk->pending[0] : walk->pending[1];
        if (walk->pending[0]) walk->pending[0] = 0;
        else walk->pending[1] = 0;
        *found = 1;
        return PARA_OK;
    }
    int code = pcre2_match(walk->words->code, (PCRE2_SPTR)walk->text, walk->bytes, walk->stop, PCRE2_NO_UTF_CHECK,
                           walk->match, NULL);
    if (code == PCRE2_ERROR_NOMATCH) return PARA_OK;
    if (code < 0) return library_error(code);
    const PCRE2_SIZE *ends = pcre2_get_ovector_pointer(walk->match);
    walk->start = ends[0];
    walk->stop = ends[1];
    cut_special(walk);
    *found = 1;
    return PARA_OK;
}
