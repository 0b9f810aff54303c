/* Words by a regular expression, on PCRE2. SPDX-License-Identifier: Apache-2.0 */
#define PCRE2_CODE_UNIT_WIDTH 8
#include "text/word_pattern.h"

#include <pcre2.h>
#include <string.h>

#include "core/alloc.h"
#include "core/error.h"

struct para_word_pattern {
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

static para_status library_error(int code) {
    char text[128] = "";
    pcre2_get_error_message(code, (PCRE2_UCHAR *)text, sizeof text);
    if (code == PCRE2_ERROR_NOMEMORY || code == PCRE2_ERROR_HEAPLIMIT || code == 121 /* compile: no memory */)
        return para_fail(PARA_ERR_MEMORY, "out of memory in PCRE2: %s", text);
    return para_fail(PARA_ERR_LIBRARY, "PCRE2 failed: %s; it must be built with Unicode support", text);
}

para_status para_word_pattern_open(para_word_pattern **out, const char *expression) {
    para_word_pattern *p = para_alloc(1, sizeof *p);
    if (!p) return PARA_ERR_MEMORY;
    para_status status = PARA_OK;
    p->memory = pcre2_general_context_create(take, give, NULL);
    if (!p->memory) status = PARA_ERR_MEMORY;
    if (status == PARA_OK) {
        pcre2_compile_context *context = pcre2_compile_context_create(p->memory);
        if (context) {
            int code;
            PCRE2_SIZE at;
            p->code =
                pcre2_compile((PCRE2_SPTR)expression, strlen(expression), PCRE2_UTF | PCRE2_UCP, &code, &at, context);
            if (!p->code) status = library_error(code);
            pcre2_compile_context_free(context);
        } else {
            status = PARA_ERR_MEMORY;
        }
    }
    if (status != PARA_OK) para_word_pattern_close(&p);
    *out = p;
    return status;
}

void para_word_pattern_close(para_word_pattern **pattern) {
    if (!*pattern) return;
    pcre2_code_free((*pattern)->code);
    pcre2_general_context_free((*pattern)->memory);
    para_free(*pattern);
    *pattern = NULL;
}

para_status para_word_walk_open(para_word_walk *walk, const para_word_pattern *pattern, const char *text,
                                size_t bytes) {
    *walk = (para_word_walk){.pattern = pattern, .text = text, .bytes = bytes};
    walk->match = pcre2_match_data_create(1, pattern->memory);
    return walk->match ? PARA_OK : PARA_ERR_MEMORY;
}

void para_word_walk_close(para_word_walk *walk) {
    pcre2_match_data_free(walk->match);
    walk->match = NULL;
}

para_status para_word_walk_next(para_word_walk *walk, bool *found) {
    *found = false;
    int code = pcre2_match(walk->pattern->code, (PCRE2_SPTR)walk->text, walk->bytes, walk->stop, PCRE2_NO_UTF_CHECK,
                           walk->match, NULL);
    if (code == PCRE2_ERROR_NOMATCH) return PARA_OK;
    if (code < 0) return library_error(code);
    const PCRE2_SIZE *ends = pcre2_get_ovector_pointer(walk->match);
    walk->start = ends[0];
    walk->stop = ends[1];
    *found = true;
    return PARA_OK;
}
