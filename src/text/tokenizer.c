/* Text to ids: added tokens, special tokens, truncation, padding. SPDX-License-Identifier: Apache-2.0 */
#include "text/tokenizer.h"

#include <string.h>

#include "core/alloc.h"
#include "core/error.h"
#include "text/tokenizer_parts.h"
#include "text/unicode_text.h"

static const char *const named_words[PARA_NAMED_TOKENS] = {"bos_token", "eos_token", "unk_token", "sep_token",
                                                           "pad_token", "cls_token", "mask_token"};

static para_token_model token_model(const para_tokenizer *t, int32_t size) {
    return (para_token_model){t->self, t->type->find, t->type->normalize, size};
}

static para_status find_named(const para_tokenizer *t, const para_tokenizer_config *config,
                              const para_tokenizer_files *files, para_named_token name, int32_t *id) {
    const para_token_list *token = &config->named[name];
    para_token_model model = token_model(t, 0);
    *id = token->n ? para_added_vocabulary_find(&t->added, &model, token->items[0].content, token->items[0].bytes) : -1;
    if (*id < 0)
        return para_fail(PARA_ERR_CONFIG, "%s/%s: %s is null or empty, but %s needs it; name a token there",
                         files->folder, para_tokenizer_file(PARA_FILE_TOKENIZER_CONFIG), named_words[name],
                         t->type->name);
    return PARA_OK;
}

para_status para_tokenizer_assemble(para_tokenizer **out, const para_tokenizer_class *type, void *self, int32_t size,
                                    const para_tokenizer_config *config, const para_tokenizer_files *files,
                                    para_named_token first, para_named_token last) {
    para_tokenizer *t = para_alloc(1, sizeof *t);
    if (!t) {
        type->close(self);
        return PARA_ERR_MEMORY;
    }
    *t = (para_tokenizer){
        .type = type, .self = self, .first_id = -1, .last_id = -1, .model_max_length = config->model_max_length};
    para_token_list tokens = {0};
    para_token_model model = token_model(t, size);
    para_status status = para_tokenizer_config_tokens(config, &tokens);
    if (status == PARA_OK)
        status = para_added_vocabulary_open(&t->added, &tokens, config->split_special_tokens, &model);
    if (status == PARA_OK && first < PARA_NAMED_TOKENS) status = find_named(t, config, files, first, &t->first_id);
    if (status == PARA_OK && last < PARA_NAMED_TOKENS) status = find_named(t, config, files, last, &t->last_id);
    if (status == PARA_OK) status = find_named(t, config, files, PARA_TOKEN_PAD, &t->pad_id);
    para_token_list_close(&tokens);
    if (status != PARA_OK) para_tokenizer_close(&t);
    *out = t;
    return status;
}

void para_tokenizer_close(para_tokenizer **t) {
    if (!t || !*t) return;
    (*t)->type->close((*t)->self);
    para_added_vocabulary_close(&(*t)->added);
    para_free(*t);
    *t = NULL;
}

int para_tokenizer_max_length(const para_tokenizer *t) {
    return t->model_max_length;
}

/* A piece between added tokens: normalises, splits once more, encodes what is left. */
static para_status encode_piece(const para_tokenizer *t, const char *text, size_t bytes, para_bytes *normal,
                                para_segments *parts, para_ids *ids) {
    normal->n = 0;
    PARA_TRY(t->type->normalize(t->self, text, bytes, normal));
    PARA_TRY(para_added_split(&t->added, true, normal->data, normal->n, parts));
    for (size_t i = 0; i < parts->n; i++) {
        const para_segment *s = &parts->items[i];
        if (s->id >= 0) PARA_TRY(para_ids_append(ids, s->id));
        else PARA_TRY(t->type->encode(t->self, normal->data + s->start, s->stop - s->start, ids));
    }
    return PARA_OK;
}

static para_status encode_text(const para_tokenizer *t, const char *text, size_t bytes, para_ids *ids) {
    size_t bad;
    if (!para_utf8_valid(text, bytes, &bad))
        return para_fail(PARA_ERR_ARGUMENT, "the text is not UTF-8 (byte %zu); convert it to UTF-8", bad);
    para_segments pieces = {0}, parts = {0};
    para_bytes normal = {0};
    para_status status = para_added_split(&t->added, false, text, bytes, &pieces);
    for (size_t i = 0; status == PARA_OK && i < pieces.n; i++) {
        const para_segment *s = &pieces.items[i];
        if (s->id >= 0) status = para_ids_append(ids, s->id);
        else status = encode_piece(t, text + s->start, s->stop - s->start, &normal, &parts, ids);
    }
    para_free(pieces.items);
    para_free(parts.items);
    para_free(normal.data);
    return status;
}

para_status para_tokenize_all(const para_tokenizer *t, const char *text, size_t bytes, int32_t **ids, int64_t *n) {
    para_ids list = {0};
    para_status status = PARA_OK;
    if (t->first_id >= 0) status = para_ids_append(&list, t->first_id);
    if (status == PARA_OK) status = encode_text(t, text, bytes, &list);
    if (status == PARA_OK && t->last_id >= 0) status = para_ids_append(&list, t->last_id);
    if (status != PARA_OK) {
        para_free(list.data);
        return status;
    }
    *ids = list.data;
    *n = (int64_t)list.n;
    return PARA_OK;
}

para_status para_tokenize(const para_tokenizer *t, const char *text, size_t bytes, int length, int32_t *ids, int *used,
                          int *dropped) {
    int special = (t->first_id >= 0) + (t->last_id >= 0), least = special ? special : 1;
    if (length < least)
        return para_fail(PARA_ERR_ARGUMENT,
                         "a length of %d tokens leaves no room for the special tokens of %s; ask for %d or more",
                         length, t->type->name, least);
    int32_t *all;
    int64_t n;
    PARA_TRY(para_tokenize_all(t, text, bytes, &all, &n));
    int kept = n < length ? (int)n : length;
    if (kept > 0) memcpy(ids, all, (size_t)kept * sizeof *ids);
    if (t->last_id >= 0) ids[kept - 1] = t->last_id;
    for (int i = kept; i < length; i++) ids[i] = t->pad_id;
    int64_t cut = n - kept;
    *used = kept;
    *dropped = cut > INT32_MAX ? INT32_MAX : (int)cut;
    para_free(all);
    return PARA_OK;
}
