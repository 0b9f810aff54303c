/* Added tokens: ids, patterns, splitting of a text. SPDX-License-Identifier: Apache-2.0 */
#include "text/added_tokens.h"

#include <string.h>

#include "core/alloc.h"
#include "core/error.h"
#include "text/unicode_text.h"

para_status para_token_list_append(para_token_list *list, const para_added_token *token) {
    if (list->n >= PARA_ADDED_TOKENS_MAX)
        return para_fail(PARA_ERR_FORMAT,
                         "a tokenizer adds more than %d tokens to its vocabulary; that many are not supported",
                         PARA_ADDED_TOKENS_MAX);
    if (list->n == list->capacity) {
        size_t next = list->capacity ? list->capacity * 2 : 16;
        para_added_token *grown = para_realloc(list->items, next, sizeof *grown);
        if (!grown) return PARA_ERR_MEMORY;
        list->items = grown;
        list->capacity = next;
    }
    char *content = para_alloc(token->bytes + 1, 1);
    if (!content) return PARA_ERR_MEMORY;
    if (token->bytes) memcpy(content, token->content, token->bytes);
    list->items[list->n] = *token;
    list->items[list->n++].content = content;
    return PARA_OK;
}

size_t para_token_list_find(const para_token_list *list, const char *content, size_t bytes) {
    for (size_t i = 0; i < list->n; i++)
        if (list->items[i].bytes == bytes && memcmp(list->items[i].content, content, bytes) == 0) return i;
    return list->n;
}

void para_token_list_close(para_token_list *list) {
    for (size_t i = 0; i < list->n; i++) para_free(list->items[i].content);
    para_free(list->items);
    *list = (para_token_list){0};
}

/* Gives each token its id; the same content twice keeps one entry, with the later flags. */
static para_status assign_ids(para_added_vocabulary *v, const para_token_list *tokens, const para_token_model *model) {
    int32_t next = model->size;
    for (size_t i = 0; i < tokens->n; i++) {
        para_added_token token = tokens->items[i];
        if (token.bytes == 0) continue;
        size_t at = para_token_list_find(&v->tokens, token.content, token.bytes);
        if (at < v->tokens.n) {
            para_added_token *old = &v->tokens.items[at];
            token.content = old->content;
            token.id = old->id;
            token.special |= old->special; /* once special, skipped for good by split_special_tokens */
            *old = token;
            continue;
        }
        token.id = model->find(model->self, token.content, token.bytes);
        if (token.id < 0) token.id = next++;
        PARA_TRY(para_token_list_append(&v->tokens, &token));
    }
    return PARA_OK;
}

/* Builds the trie of the tokens with this `normalized`; `forms` keeps normalised contents until the trie is built. */
static para_status build_patterns(para_added_vocabulary *v, bool normalized, const para_token_model *model,
                                  para_trie_entry *entries, para_bytes *forms) {
    size_t count = 0;
    for (size_t i = v->tokens.n; i-- > 0;) { /* from the back: of two equal patterns the first token wins */
        const para_added_token *token = &v->tokens.items[i];
        if (token->normalized != normalized) continue;
        const char *text = token->content;
        size_t bytes = token->bytes;
        if (normalized) {
            PARA_TRY(model->normalize(model->self, token->content, token->bytes, &forms[i]));
            text = forms[i].data;
            bytes = forms[i].n;
        }
        if (bytes) entries[count++] = (para_trie_entry){text, bytes, (int32_t)i};
    }
    return para_trie_build(normalized ? &v->normalized : &v->plain, entries, count);
}

para_status para_added_vocabulary_open(para_added_vocabulary *v, const para_token_list *tokens,
                                       bool split_special_tokens, const para_token_model *model) {
    *v = (para_added_vocabulary){.split_special_tokens = split_special_tokens};
    para_trie_entry *entries = para_alloc(tokens->n, sizeof *entries);
    para_bytes *forms = para_alloc(tokens->n, sizeof *forms);
    para_status status = entries && forms ? PARA_OK : PARA_ERR_MEMORY;
    if (status == PARA_OK) status = assign_ids(v, tokens, model);
    if (status == PARA_OK) status = build_patterns(v, false, model, entries, forms);
    if (status == PARA_OK) status = build_patterns(v, true, model, entries, forms);
    for (size_t i = 0; forms && i < tokens->n; i++) para_free(forms[i].data);
    para_free(forms);
    para_free(entries);
    if (status != PARA_OK) para_added_vocabulary_close(v);
    return status;
}

void para_added_vocabulary_close(para_added_vocabulary *v) {
    para_trie_close(&v->plain);
    para_trie_close(&v->normalized);
    para_token_list_close(&v->tokens);
}

int32_t para_added_vocabulary_find(const para_added_vocabulary *v, const para_token_model *model, const char *text,
                                   size_t bytes) {
    size_t at = para_token_list_find(&v->tokens, text, bytes);
    return at < v->tokens.n ? v->tokens.items[at].id : model->find(model->self, text, bytes);
}

static para_status append_segment(para_segments *out, size_t start, size_t stop, int32_t id) {
    if (out->n == out->capacity) {
        size_t next = out->capacity ? out->capacity * 2 : 16;
        para_segment *grown = para_realloc(out->items, next, sizeof *grown);
        if (!grown) return PARA_ERR_MEMORY;
        out->items = grown;
        out->capacity = next;
    }
    out->items[out->n++] = (para_segment){start, stop, id};
    return PARA_OK;
}

/* The longest pattern that starts at text[at], or -1; *end is behind it. */
static int32_t longest_pattern(const para_trie *t, const char *text, size_t bytes, size_t at, size_t *end) {
    int32_t found = -1;
    uint32_t node = 0;
    while (at < bytes && para_trie_step(t, &node, (uint8_t)text[at])) {
        at++;
        if (t->value[node] < 0) continue;
        found = t->value[node];
        *end = at;
    }
    return found;
}

static bool touches_word(const char *text, size_t bytes, size_t start, size_t stop) {
    if (start > 0 && para_is_word(para_utf8_previous(text, &start))) return true;
    return stop < bytes && para_is_word(para_utf8_next(text, bytes, &stop));
}

static size_t strip_left(const char *text, size_t start) {
    while (start > 0) {
        size_t before = start;
        if (!para_is_white_space(para_utf8_previous(text, &before))) break;
        start = before;
    }
    return start;
}

static size_t strip_right(const char *text, size_t bytes, size_t stop) {
    while (stop < bytes) {
        size_t behind = stop;
        if (!para_is_white_space(para_utf8_next(text, bytes, &behind))) break;
        stop = behind;
    }
    return stop;
}

para_status para_added_split(const para_added_vocabulary *v, bool normalized, const char *text, size_t bytes,
                             para_segments *out) {
    const para_trie *patterns = normalized ? &v->normalized : &v->plain;
    size_t done = 0; /* all before it is in a segment */
    out->n = 0;
    for (size_t at = 0; at < bytes;) {
        size_t start = at, stop = at;
        int32_t found = longest_pattern(patterns, text, bytes, at, &stop);
        at = found < 0 ? at + 1 : stop;
        if (found < 0) continue;
        const para_added_token *token = &v->tokens.items[found];
        if (v->split_special_tokens && token->special) continue;
        if (token->single_word && touches_word(text, bytes, start, stop)) continue;
        if (token->lstrip) {
            size_t left = strip_left(text, start);
            start = left > done ? left : done;
        }
        if (token->rstrip) stop = strip_right(text, bytes, stop);
        if (done < start) PARA_TRY(append_segment(out, done, start, -1));
        PARA_TRY(append_segment(out, start, stop, token->id));
        done = stop;
    }
    if (done < bytes) PARA_TRY(append_segment(out, done, bytes, -1));
    return PARA_OK;
}
