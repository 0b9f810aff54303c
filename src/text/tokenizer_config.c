/* tokenizer_config.json and its older companions. SPDX-License-Identifier: Apache-2.0 */
#include "text/tokenizer_config.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "core/error.h"

static const char *const named_keys[PARA_NAMED_TOKENS] = {"bos_token", "eos_token", "unk_token", "sep_token",
                                                          "pad_token", "cls_token", "mask_token"};

/* Where a value stands, for messages. */
typedef struct place {
    const para_tokenizer_files *files;
    para_tokenizer_file_name file;
    const char *key;
} place;

static para_status refuse(const place *at, const char *what) {
    return para_fail(PARA_ERR_CONFIG, "%s/%s: %s %s", at->files->folder, para_tokenizer_file(at->file), at->key, what);
}

static para_status read_flag(const json_t *object, const char *key, bool fallback, bool *out, const place *at) {
    const json_t *value = json_object_get(object, key);
    *out = fallback;
    if (!value) return PARA_OK;
    if (!json_is_boolean(value)) return refuse(at, "has a flag that is neither true nor false");
    *out = json_is_true(value);
    return PARA_OK;
}

/* A token as string or object. `special`: an object without the member is special, and a string always is.
 * The content stays the JSON document's. */
static para_status read_token(const json_t *value, bool special, const place *at, para_added_token *out) {
    *out = (para_added_token){.special = true};
    const json_t *content = value;
    if (json_is_object(value)) {
        content = json_object_get(value, "content");
        PARA_TRY(read_flag(value, "special", special, &out->special, at));
        PARA_TRY(read_flag(value, "normalized", !out->special, &out->normalized, at));
        PARA_TRY(read_flag(value, "single_word", false, &out->single_word, at));
        PARA_TRY(read_flag(value, "lstrip", false, &out->lstrip, at));
        PARA_TRY(read_flag(value, "rstrip", false, &out->rstrip, at));
    } else {
        out->plain_string = true;
    }
    if (!json_is_string(content)) return refuse(at, "is neither a string nor an object with a content");
    out->content = (char *)(uintptr_t)json_string_value(content);
    out->bytes = json_string_length(content);
    return PARA_OK;
}

/* Makes `list` hold just this token. */
static para_status set_token(para_token_list *list, const json_t *value, bool special, const place *at) {
    para_added_token token;
    PARA_TRY(read_token(value, special, at, &token));
    para_token_list_close(list);
    return para_token_list_append(list, &token);
}

static para_status append_tokens(para_token_list *list, const json_t *array, const place *at) {
    if (!json_is_array(array)) return refuse(at, "is not a list");
    for (size_t i = 0; i < json_array_size(array); i++) {
        para_added_token token;
        PARA_TRY(read_token(json_array_get(array, i), true, at, &token));
        PARA_TRY(para_token_list_append(list, &token));
    }
    return PARA_OK;
}

/* Replaces or inserts by index. */
static para_status put_indexed(para_token_list *list, int32_t index, para_added_token token) {
    token.id = index;
    for (size_t i = 0; i < list->n; i++) {
        if (list->items[i].id != index) continue;
        para_token_list single = {0}; /* takes the new one first, then the old one */
        para_status status = para_token_list_append(&single, &token);
        if (status == PARA_OK) {
            para_added_token old = list->items[i];
            list->items[i] = single.items[0];
            single.items[0] = old;
        }
        para_token_list_close(&single);
        return status;
    }
    return para_token_list_append(list, &token);
}

static int compare_index(const void *left, const void *right) {
    const para_added_token *a = left, *b = right;
    return (a->id > b->id) - (a->id < b->id);
}

static para_status read_index(const json_t *value, const place *at, int32_t *out) {
    double number = json_number_value(value);
    if (!json_is_number(value) || !(number >= 0 && number < INT32_MAX) || number != (int32_t)number)
        return refuse(at, "holds an id that is not a whole number from 0 to 2^31 - 2");
    *out = (int32_t)number;
    return PARA_OK;
}

static para_status read_decoder(para_tokenizer_config *config, json_t *object, const place *at) {
    if (!json_is_object(object)) return refuse(at, "is not an object");
    const char *key;
    json_t *value;
    json_object_foreach(object, key, value) {
        char *end;
        long index = strtol(key, &end, 10);
        if (*key < '0' || *key > '9' || *end || index < 0 || index >= INT32_MAX)
            return refuse(at, "has a key that is not a token id");
        if (!json_is_object(value)) return refuse(at, "has an entry that is not an object");
        para_added_token token;
        PARA_TRY(read_token(value, false, at, &token));
        PARA_TRY(put_indexed(&config->decoder, (int32_t)index, token));
    }
    return PARA_OK;
}

static bool ends_with_token(const char *key) {
    size_t n = strlen(key);
    return n > 6 && strcmp(key + n - 6, "_token") == 0;
}

/* A key of tokenizer_config.json or special_tokens_map.json that names a token. */
static para_status read_named(para_tokenizer_config *config, const char *key, const json_t *value, const place *at) {
    for (int i = 0; i < PARA_NAMED_TOKENS; i++) {
        if (strcmp(key, named_keys[i]) != 0) continue;
        if (!json_is_null(value)) return set_token(&config->named[i], value, true, at);
        para_token_list_close(&config->named[i]);
        return PARA_OK;
    }
    if (!ends_with_token(key) || !(json_is_string(value) || json_is_object(value))) return PARA_OK;
    para_added_token token;
    PARA_TRY(read_token(value, true, at, &token));
    return para_token_list_append(&config->model_specific, &token);
}

static para_status read_extra(para_tokenizer_config *config, json_t *value, const place *at) {
    if (json_is_object(value)) { /* named tokens of the model's own */
        const char *key;
        json_t *member;
        json_object_foreach(value, key, member) {
            para_added_token token;
            PARA_TRY(read_token(member, true, at, &token));
            PARA_TRY(para_token_list_append(&config->model_specific, &token));
        }
        return PARA_OK;
    }
    config->has_extra = true;
    return append_tokens(&config->extra, value, at);
}

static para_status read_side(const json_t *root, const char *key, place *at) {
    const json_t *value = json_object_get(root, key);
    at->key = key;
    if (!value || (json_is_string(value) && strcmp(json_string_value(value), "right") == 0)) return PARA_OK;
    return refuse(at, "is not \"right\", the only side that is supported");
}

static para_status read_length(const json_t *root, para_tokenizer_config *config, place *at) {
    at->key = json_object_get(root, "model_max_length") ? "model_max_length" : "max_len";
    const json_t *value = json_object_get(root, at->key);
    if (!value || json_is_null(value)) return PARA_OK;
    double number = json_number_value(value);
    if (!json_is_number(value) || !(number >= 1)) return refuse(at, "is not a positive number");
    config->model_max_length = number >= INT_MAX ? INT_MAX : (int)number;
    return PARA_OK;
}

/* *has_decoder: whether the file lists its added tokens itself. */
static para_status read_config(para_tokenizer_config *config, json_t *root, place at, bool *has_decoder) {
    const char *key;
    json_t *value;
    json_object_foreach(root, key, value) {
        at.key = key;
        PARA_TRY(read_named(config, key, value, &at));
    }
    json_t *extra = json_object_get(root, "extra_special_tokens");
    json_t *additional = json_object_get(root, "additional_special_tokens");
    bool extra_filled = json_array_size(extra) > 0 || json_object_size(extra) > 0;
    if (additional && !extra_filled) { /* the older name of the same list */
        at.key = "additional_special_tokens";
        extra = additional;
        additional = NULL;
    } else {
        at.key = "extra_special_tokens";
    }
    if (extra && json_is_null(extra)) config->has_extra = true; /* said to be none: T5 adds no sentinels then */
    else if (extra) PARA_TRY(read_extra(config, extra, &at));
    if (additional && !json_is_null(additional)) {
        at.key = "additional_special_tokens";
        config->has_additional = true;
        PARA_TRY(append_tokens(&config->additional, additional, &at));
    }
    PARA_TRY(read_side(root, "padding_side", &at));
    config->says_padding_side = json_object_get(root, "padding_side") != NULL;
    PARA_TRY(read_side(root, "truncation_side", &at));
    PARA_TRY(read_length(root, config, &at));
    at.key = "split_special_tokens";
    PARA_TRY(read_flag(root, at.key, false, &config->split_special_tokens, &at));
    at.key = "extra_ids";
    value = json_object_get(root, at.key);
    if (value) PARA_TRY(read_index(value, &at, &config->extra_ids));
    if (config->extra_ids > PARA_ADDED_TOKENS_MAX / 2) return refuse(&at, "asks for more sentinels than are supported");
    at.key = "added_tokens_decoder";
    value = json_object_get(root, at.key);
    *has_decoder = value != NULL;
    return value ? read_decoder(config, value, &at) : PARA_OK;
}

static para_status read_map(para_tokenizer_config *config, json_t *root, place at) {
    const char *key;
    json_t *value;
    json_object_foreach(root, key, value) {
        at.key = key;
        if (json_is_object(value) && strcmp(key, "extra_special_tokens") != 0) json_object_del(value, "special");
        if (strcmp(key, "extra_special_tokens") == 0) {
            PARA_TRY(read_extra(config, value, &at));
        } else if (strcmp(key, "additional_special_tokens") == 0) {
            para_token_list_close(&config->additional);
            config->has_additional = true;
            PARA_TRY(append_tokens(&config->additional, value, &at));
        } else {
            PARA_TRY(read_named(config, key, value, &at));
        }
    }
    return PARA_OK;
}

static bool is_special(const para_tokenizer_config *config, const para_added_token *token) {
    for (int i = 0; i < PARA_NAMED_TOKENS; i++)
        if (para_token_list_find(&config->named[i], token->content, token->bytes) < config->named[i].n) return true;
    return para_token_list_find(&config->extra, token->content, token->bytes) < config->extra.n;
}

static para_status read_added(para_tokenizer_config *config, json_t *root, const place *at) {
    const char *key;
    json_t *value;
    json_object_foreach(root, key, value) {
        para_added_token token = {.content = (char *)(uintptr_t)key, .bytes = strlen(key)};
        token.special = is_special(config, &token);
        token.normalized = !token.special;
        int32_t index = 0;
        PARA_TRY(read_index(value, at, &index));
        PARA_TRY(put_indexed(&config->decoder, index, token));
    }
    return PARA_OK;
}

/* The entry i of tokenizer.json's added_tokens. */
static para_status read_listed(const json_t *array, size_t i, const place *at, para_added_token *token) {
    const json_t *value = json_array_get(array, i);
    if (!json_is_object(value)) return refuse(at, "has an entry that is not an object");
    PARA_TRY(read_token(value, false, at, token));
    return read_index(json_object_get(value, "id"), at, &token->id);
}

static para_status read_tokenizer_added(para_tokenizer_config *config, const json_t *tokenizer, const place *at) {
    const json_t *array = json_object_get(tokenizer, "added_tokens");
    if (!array) return PARA_OK;
    if (!json_is_array(array)) return refuse(at, "is not a list");
    for (size_t i = 0; i < json_array_size(array); i++) {
        para_added_token token;
        PARA_TRY(read_listed(array, i, at, &token));
        PARA_TRY(put_indexed(&config->decoder, token.id, token));
    }
    return PARA_OK;
}

static para_status read_all(para_tokenizer_config *config, const para_tokenizer_files *files, const json_t *tokenizer,
                            json_t *roots[3]) {
    bool has_decoder = false;
    place at = {files, PARA_FILE_TOKENIZER_CONFIG, ""};
    PARA_TRY(para_tokenizer_files_json(files, PARA_FILE_TOKENIZER_CONFIG, &roots[0]));
    if (roots[0]) PARA_TRY(read_config(config, roots[0], at, &has_decoder));
    if (has_decoder) return PARA_OK;
    at.file = PARA_FILE_SPECIAL_TOKENS_MAP;
    PARA_TRY(para_tokenizer_files_json(files, at.file, &roots[1]));
    if (roots[1]) PARA_TRY(read_map(config, roots[1], at));
    at = (place){files, PARA_FILE_ADDED_TOKENS, "the file"};
    PARA_TRY(para_tokenizer_files_json(files, at.file, &roots[2]));
    if (roots[2]) PARA_TRY(read_added(config, roots[2], &at));
    at = (place){files, PARA_FILE_TOKENIZER, "added_tokens"};
    return tokenizer ? read_tokenizer_added(config, tokenizer, &at) : PARA_OK;
}

para_status para_tokenizer_config_read(para_tokenizer_config *config, const para_tokenizer_files *files,
                                       const json_t *tokenizer, const char *const defaults[PARA_NAMED_TOKENS]) {
    *config = (para_tokenizer_config){.model_max_length = INT_MAX, .extra_ids = 100};
    para_status status = PARA_OK;
    for (int i = 0; i < PARA_NAMED_TOKENS && status == PARA_OK; i++) {
        if (!defaults[i]) continue;
        para_added_token token = {.content = (char *)(uintptr_t)defaults[i],
                                  .bytes = strlen(defaults[i]),
                                  .special = true,
                                  .plain_string = true};
        status = para_token_list_append(&config->named[i], &token);
    }
    json_t *roots[3] = {NULL, NULL, NULL};
    if (status == PARA_OK) status = read_all(config, files, tokenizer, roots);
    for (int i = 0; i < 3; i++) json_decref(roots[i]);
    if (status == PARA_OK && config->decoder.n > 1)
        qsort(config->decoder.items, config->decoder.n, sizeof *config->decoder.items, compare_index);
    if (status != PARA_OK) para_tokenizer_config_close(config);
    return status;
}

para_status para_tokenizer_config_add_listed(para_tokenizer_config *config, const para_tokenizer_files *files,
                                             const json_t *tokenizer) {
    const place at = {files, PARA_FILE_TOKENIZER, "added_tokens"};
    const json_t *array = json_object_get(tokenizer, "added_tokens");
    if (array && !json_is_array(array)) return refuse(&at, "is not a list");
    size_t named = config->decoder.n;
    for (size_t i = 0; i < json_array_size(array); i++) {
        para_added_token token;
        size_t k = 0;
        PARA_TRY(read_listed(array, i, &at, &token));
        while (k < named && config->decoder.items[k].id != token.id) k++;
        const para_added_token *known = &config->decoder.items[k];
        if (k == named) PARA_TRY(para_token_list_append(&config->decoder, &token));
        else if (known->bytes != token.bytes || memcmp(known->content, token.content, token.bytes) != 0)
            return refuse(&at, "gives an id to another token than added_tokens_decoder in tokenizer_config.json does");
    }
    if (config->decoder.n > 1)
        qsort(config->decoder.items, config->decoder.n, sizeof *config->decoder.items, compare_index);
    return PARA_OK;
}

void para_tokenizer_config_close(para_tokenizer_config *config) {
    for (int i = 0; i < PARA_NAMED_TOKENS; i++) para_token_list_close(&config->named[i]);
    para_token_list_close(&config->decoder);
    para_token_list_close(&config->model_specific);
    para_token_list_close(&config->extra);
    para_token_list_close(&config->additional);
}

/* Whether the list holds an equal token, in content and in every flag. */
static bool holds(const para_token_list *list, const para_added_token *token) {
    for (size_t i = 0; i < list->n; i++) {
        const para_added_token *other = &list->items[i];
        if (other->bytes == token->bytes && memcmp(other->content, token->content, token->bytes) == 0 &&
            other->plain_string == token->plain_string && other->special == token->special &&
            other->normalized == token->normalized && other->single_word == token->single_word &&
            other->lstrip == token->lstrip && other->rstrip == token->rstrip)
            return true;
    }
    return false;
}

/* Appends those that neither the decoder nor the list so far has. */
static para_status append_new(const para_tokenizer_config *config, const para_token_list *from, para_token_list *list) {
    for (size_t i = 0; i < from->n; i++) {
        const para_added_token *token = &from->items[i];
        size_t at = para_token_list_find(&config->decoder, token->content, token->bytes);
        if (at < config->decoder.n || holds(list, token)) continue;
        PARA_TRY(para_token_list_append(list, token));
    }
    return PARA_OK;
}

para_status para_tokenizer_config_tokens(const para_tokenizer_config *config, para_token_list *list) {
    for (size_t i = 0; i < config->decoder.n; i++) PARA_TRY(para_token_list_append(list, &config->decoder.items[i]));
    for (int i = 0; i < PARA_NAMED_TOKENS; i++) PARA_TRY(append_new(config, &config->named[i], list));
    PARA_TRY(append_new(config, &config->model_specific, list));
    return append_new(config, config->has_extra ? &config->extra : &config->additional, list);
}
