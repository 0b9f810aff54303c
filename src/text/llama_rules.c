/* Checking the pipeline that a tokenizer.json describes. SPDX-License-Identifier: Apache-2.0 */
#include "text/llama_rules.h"

#include <string.h>

#include "core/error.h"
#include "text/word_pattern.h"

/* Llama 3's words, as its tokenizer.json writes them: contractions, letters, one to three digits, signs, lines, white space. Every character
 * belongs to one. */
static const char expression[] =
    "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|"
    "\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+";

#define L PARA_WORD_LETTERS
#define N PARA_WORD_NUMBERS
#define S PARA_WORD_SPACES
const char para_llama_words[] =
    "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n" L N "]?[" L "]+|[" N "]{1,3}| ?[^" S L N "]+[\\r\\n]*|"
    "[" S "]*[\\r\\n]+|[" S "]+(?![^" S "])|[" S "]+";

static para_status refuse(const para_tokenizer_files *files, const char *what) {
    return para_fail(PARA_ERR_CONFIG, "%s/tokenizer.json: %s", files->folder, what);
}

static bool is_text(const json_t *value, const char *text) {
    return json_is_string(value) && strcmp(json_string_value(value), text) == 0;
}

static bool has_type(const json_t *object, const char *type) {
    return is_text(json_object_get(object, "type"), type);
}

/* Absent, null or an empty string. */
static bool is_nothing(const json_t *value) {
    return !value || json_is_null(value) || is_text(value, "");
}

static para_status check_words(const para_tokenizer_files *files, const json_t *pre_tokenizer) {
    const json_t *steps = json_object_get(pre_tokenizer, "pretokenizers");
    const json_t *split = json_array_get(steps, 0), *bytes = json_array_get(steps, 1);
    if (!has_type(pre_tokenizer, "Sequence") || json_array_size(steps) != 2 || !has_type(split, "Split") ||
        !has_type(bytes, "ByteLevel"))
        return refuse(files, "pre_tokenizer is not a Sequence of Split and ByteLevel, the only kind that is supported");
    if (!is_text(json_object_get(json_object_get(split, "pattern"), "Regex"), expression))
        return refuse(files, "pre_tokenizer splits by another pattern than Llama 3's regular expression, the only one "
                             "that is supported");
    if (!is_text(json_object_get(split, "behavior"), "Isolated") || !json_is_false(json_object_get(split, "invert")))
        return refuse(files, "pre_tokenizer's Split must have the behavior Isolated and invert false");
    if (!json_is_false(json_object_get(bytes, "add_prefix_space")) ||
        !json_is_false(json_object_get(bytes, "use_regex")))
        return refuse(files, "pre_tokenizer's ByteLevel must have add_prefix_space false and use_regex false");
    return PARA_OK;
}

static para_status check_model(const para_tokenizer_files *files, const json_t *model, bool *ignore_merges) {
    const json_t *dropout = json_object_get(model, "dropout"), *ignore = json_object_get(model, "ignore_merges");
    if (!is_nothing(dropout) && !(json_is_number(dropout) && json_number_value(dropout) == 0))
        return refuse(files, "model.dropout leaves merges out at random, which is not supported; set it to null");
    if (!is_nothing(json_object_get(model, "continuing_subword_prefix")) ||
        !is_nothing(json_object_get(model, "end_of_word_suffix")))
        return refuse(files, "model.continuing_subword_prefix and model.end_of_word_suffix are not supported; a "
                             "byte-level vocabulary has neither");
    if (ignore && !json_is_boolean(ignore)) return refuse(files, "model.ignore_merges is neither true nor false");
    *ignore_merges = json_is_true(ignore);
    return PARA_OK;
}

static para_status check_side(const para_tokenizer_files *files, const json_t *tokenizer, const char *key) {
    const json_t *direction = json_object_get(json_object_get(tokenizer, key), "direction");
    if (!direction || is_text(direction, "Right")) return PARA_OK;
    return para_fail(PARA_ERR_CONFIG,
                     "%s/tokenizer.json: %s.direction is not \"Right\", the only side that is supported", files->folder,
                     key);
}

/* The one id of a special token that the template names. */
static para_status special_id(const para_tokenizer_files *files, const json_t *template, const json_t *name,
                              int32_t *out) {
    const json_t *token = json_is_string(name)
                              ? json_object_get(json_object_get(template, "special_tokens"), json_string_value(name))
                              : NULL;
    const json_t *ids = json_object_get(token, "ids");
    double id = json_number_value(json_array_get(ids, 0));
    if (json_array_size(ids) != 1 || !json_is_number(json_array_get(ids, 0)) || !(id >= 0 && id < INT32_MAX) ||
        id != (int32_t)id)
        return refuse(files, "post_processor has a special token without exactly one id");
    *out = (int32_t)id;
    return PARA_OK;
}

static para_status read_template(const para_tokenizer_files *files, const json_t *template, para_llama_rules *rules) {
    const json_t *pieces = json_object_get(template, "single");
    bool text = false;
    for (size_t i = 0; i < json_array_size(pieces); i++) {
        const json_t *piece = json_array_get(pieces, i), *special = json_object_get(piece, "SpecialToken");
        if (!special) {
            if (text || !is_text(json_object_get(json_object_get(piece, "Sequence"), "id"), "A"))
                return refuse(files, "post_processor's template for one text holds something other than that text, "
                                     "once, and special tokens");
            text = true;
            continue;
        }
        int32_t *id = text ? &rules->last_id : &rules->first_id;
        if (*id >= 0)
            return refuse(files, "post_processor puts more than one special token before a text, or behind it; one "
                                 "each is supported");
        PARA_TRY(special_id(files, template, json_object_get(special, "id"), id));
    }
    return text ? PARA_OK : refuse(files, "post_processor's template for one text lacks the text");
}

static para_status read_post_processor(const para_tokenizer_files *files, const json_t *processor,
                                       para_llama_rules *rules) {
    const json_t *list = has_type(processor, "Sequence") ? json_object_get(processor, "processors") : NULL;
    size_t count = list ? json_array_size(list) : 1;
    bool template = false;
    for (size_t i = 0; i < count; i++) {
        const json_t *one = list ? json_array_get(list, i) : processor;
        if (is_nothing(one) || has_type(one, "ByteLevel")) continue; /* which moves offsets, no ids */
        if (template || !has_type(one, "TemplateProcessing"))
            return refuse(files,
                          "post_processor is neither ByteLevel nor one TemplateProcessing, nor both in a Sequence");
        PARA_TRY(read_template(files, one, rules));
        template = true;
    }
    return PARA_OK;
}

para_status para_llama_rules_read(para_llama_rules *rules, const para_tokenizer_files *files, const json_t *tokenizer) {
    *rules = (para_llama_rules){.first_id = -1, .last_id = -1};
    if (!is_nothing(json_object_get(tokenizer, "normalizer")))
        return refuse(files,
                      "normalizer is not null; Llama 3 changes nothing in a text, and nothing else is supported");
    PARA_TRY(check_side(files, tokenizer, "truncation"));
    PARA_TRY(check_side(files, tokenizer, "padding"));
    PARA_TRY(check_words(files, json_object_get(tokenizer, "pre_tokenizer")));
    PARA_TRY(check_model(files, json_object_get(tokenizer, "model"), &rules->ignore_merges));
    return read_post_processor(files, json_object_get(tokenizer, "post_processor"), rules);
}
