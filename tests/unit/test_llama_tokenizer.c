/* Llama 3's tokenizer: ids against transformers, limits, files that it refuses. SPDX-License-Identifier: Apache-2.0 */
#include "tokenizer_vectors.h"

#define LLAMA_FOLDER PARA_SOURCE_DIR "/tests/data/tokenizer-llama"

static void all_strings_have_the_ids_of_transformers(void **state) {
    (void)state;
    para_tokenizer *t;
    assert_ok(para_llama_tokenizer_open(&t, LLAMA_FOLDER));
    assert_int_equal(count_differences(t, LLAMA_FOLDER "/ids.jsonl", 2000), 0);
    assert_int_equal(count_differences_of(t, PARA_SOURCE_DIR "/tests/data/tokenizer_llama_strings.jsonl",
                                          LLAMA_FOLDER "/own_ids.jsonl", 363),
                     0);
    assert_int_equal(para_tokenizer_max_length(t), INT32_MAX);
    para_tokenizer_close(&t);
    assert_null(t);
}

/* ---- A tokenizer.json that fits a page: the 256 bytes, ab, abc and " x" by merges, "whole" without; then the added tokens. */

enum { AB = 256, ABC, SPACE_X, WHOLE, BEGIN, END, PAD, UP };

static json_t *small_vocabulary(void) {
    static const char *const more[] = {"ab", "abc", "\xC4\xA0x", "whole"};
    json_t *vocab = json_object();
    for (int byte = 0, spare = 256; byte < 256; byte++) {
        bool itself = (byte > 32 && byte < 127) || (byte > 160 && byte != 173);
        int c = itself ? byte : spare++;
        char text[3] = {(char)c, 0, 0};
        if (c >= 128) {
            text[0] = (char)(0xC0 | c >> 6);
            text[1] = (char)(0x80 | (c & 63));
        }
        json_object_set_new(vocab, text, json_integer(byte));
    }
    for (int i = 0; i < 4; i++) json_object_set_new(vocab, more[i], json_integer(AB + i));
    return vocab;
}

static json_t *small_tokenizer(void) {
    static const char parts[] =
        "{'added_tokens': [{'id': 260, 'content': '<s>', 'special': true, 'normalized': false}, {'id': 261, 'content': "
        "'</s>', 'special': true},"
        "{'id': 262, 'content': '<pad>', 'special': true}, {'id': 263, 'content': 'Up', 'lstrip': true, 'normalized': "
        "true}], 'normalizer': null,"
        "'pre_tokenizer': {'type': 'Sequence', 'pretokenizers': [{'type': 'Split', 'pattern': {'Regex':"
        "\"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\\\r\\\\n\\\\p{L}\\\\p{N}]?\\\\p{L}+|\\\\p{N}{1,3}| "
        "?[^\\\\s\\\\p{L}\\\\p{N}]+[\\\\r\\\\n]*|"
        "\\\\s*[\\\\r\\\\n]+|\\\\s+(?!\\\\S)|\\\\s+\"}, 'behavior': 'Isolated', 'invert': false},"
        "{'type': 'ByteLevel', 'add_prefix_space': false, 'use_regex': false}]},"
        "'post_processor': {'type': 'TemplateProcessing', 'single': [{'SpecialToken': {'id': '<s>', 'type_id': 0}}, "
        "{'Sequence': {'id': 'A', 'type_id': 0}}],"
        "'special_tokens': {'<s>': {'id': '<s>', 'ids': [260]}, '</s>': {'ids': [261]}}},"
        "'model': {'type': 'BPE', 'dropout': null, 'ignore_merges': true, 'merges': ['a b', ['ab', 'c'], '\xC4\xA0 "
        "x']}}";
    char text[sizeof parts];
    bool quoted = false; /* inside the expression, whose quotes stay */
    for (size_t i = 0; i < sizeof parts; i++) {
        if (parts[i] == '"') quoted = !quoted;
        text[i] = parts[i] == '\'' && !quoted ? '"' : parts[i];
    }
    json_t *root = json_loads(text, 0, NULL);
    assert_non_null(root);
    json_object_set_new(json_object_get(root, "model"), "vocab", small_vocabulary());
    return root;
}

static const char small_config[] =
    "{\"bos_token\": \"<s>\", \"eos_token\": \"</s>\", \"pad_token\": \"<pad>\", \"padding_side\": \"right\"}";

static para_status parse(para_tokenizer **t, const json_t *root, const char *config) {
    char *text = root ? json_dumps(root, 0) : NULL;
    para_tokenizer_files files = {.folder = "memory"};
    if (text) SET_FILE(files, PARA_FILE_TOKENIZER, text);
    if (config) SET_FILE(files, PARA_FILE_TOKENIZER_CONFIG, config);
    para_status status = para_llama_tokenizer_parse(t, &files);
    free(text);
    return status;
}

/* The member that a path of keys and indices names: "model.merges.0". */
static void set_member(json_t *root, const char *path, const char *value) {
    char keys[128], *key = keys, *dot;
    snprintf(keys, sizeof keys, "%s", path);
    json_t *at = root, *new = json_loads(value, JSON_DECODE_ANY, NULL);
    assert_non_null(new);
    for (; (dot = strchr(key, '.')); key = dot + 1) {
        *dot = 0;
        at = json_is_array(at) ? json_array_get(at, (size_t)atoi(key)) : json_object_get(at, key);
        assert_non_null(at);
    }
    if (json_is_array(at)) assert_int_equal(json_array_set_new(at, (size_t)atoi(key), new), 0);
    else assert_int_equal(json_object_set_new(at, key, new), 0);
}

static para_tokenizer *open_with(const char *path, const char *value) {
    json_t *root = small_tokenizer();
    if (path) set_member(root, path, value);
    para_tokenizer *t;
    assert_ok(parse(&t, root, small_config));
    json_decref(root);
    return t;
}

/* Worked out by hand. */
static void words_merges_and_whole_words(void **state) {
    (void)state;
    para_tokenizer *t = open_with(NULL, NULL);
    IDS(t, "", BEGIN);
    IDS(t, "abcab", BEGIN, ABC, AB);
    IDS(t, "whole", BEGIN, WHOLE);
    IDS(t, "wholes", BEGIN, 'w', 'h', 'o', 'l', 'e', 's');
    IDS(t, "a x  x", BEGIN, 'a', SPACE_X, ' ', SPACE_X); /* of two spaces the last goes with the word */
    IDS(t, "12ab", BEGIN, '1', '2', AB);
    IDS(t, "\xC3\xA9\0", BEGIN, 0xC3, 0xA9, 0);
    IDS(t, "a</s> Up <pad>Upab", BEGIN, 'a', END, UP, ' ', PAD, UP, AB);
    para_tokenizer_close(&t);
    t = open_with("model.ignore_merges", "false");
    IDS(t, "whole", BEGIN, 'w', 'h', 'o', 'l', 'e');
    para_tokenizer_close(&t);
}

static void templates(void **state) {
    (void)state;
    para_tokenizer *t = open_with("post_processor", "null");
    IDS(t, "ab", AB);
    IDS(t, "", -1);
    para_tokenizer_close(&t);
    t = open_with("post_processor", "{\"type\": \"ByteLevel\"}");
    IDS(t, "ab", AB);
    para_tokenizer_close(&t);
    t = open_with("post_processor.single", "[{\"Sequence\": {\"id\": \"A\"}}, {\"SpecialToken\": {\"id\": \"</s>\"}}]");
    IDS(t, "ab", AB, END);
    int32_t ids[3];
    int used, dropped;
    assert_ok(para_tokenize(t, "abcabab", 7, 2, ids, &used, &dropped));
    assert_memory_equal(ids, ((int32_t[]){ABC, END}), 2 * sizeof *ids);
    assert_int_equal(dropped, 2);
    para_tokenizer_close(&t);
}

static void truncates_and_pads(void **state) {
    (void)state;
    para_tokenizer *t = open_with(NULL, NULL);
    int32_t ids[5];
    int used, dropped;
    assert_ok(para_tokenize(t, "abcab", 5, 5, ids, &used, &dropped));
    assert_memory_equal(ids, ((int32_t[]){BEGIN, ABC, AB, PAD, PAD}), sizeof ids);
    assert_int_equal(used, 3);
    assert_int_equal(dropped, 0);
    assert_ok(
        para_tokenize(t, "abcabab", 7, 2, ids, &used, &dropped)); /* nothing closes a text: its first tokens stay */
    assert_memory_equal(ids, ((int32_t[]){BEGIN, ABC}), 2 * sizeof *ids);
    assert_int_equal(used, 2);
    assert_int_equal(dropped, 2);
    assert_fails(PARA_ERR_ARGUMENT, "leaves no room", para_tokenize(t, "a", 1, 0, ids, &used, &dropped));
    assert_fails(PARA_ERR_ARGUMENT, "not UTF-8 (byte 1)", para_tokenize(t, "a\xFF", 2, 5, ids, &used, &dropped));
    assert_fails(PARA_ERR_ARGUMENT, "not UTF-8", para_tokenize(t, "\xF0\x9F\x98", 3, 5, ids, &used, &dropped));
    para_tokenizer_close(&t);
    t = open_with("post_processor", "null");
    assert_ok(para_tokenize(t, "", 0, 2, ids, &used, &dropped));
    assert_memory_equal(ids, ((int32_t[]){PAD, PAD}), 2 * sizeof *ids);
    assert_int_equal(used, 0);
    para_tokenizer_close(&t);
}

/* Every field that would change ids and that we do not follow. */
static void what_is_not_supported_is_named(void **state) {
    (void)state;
    static const struct {
        const char *path, *value;
        para_status status;
        const char *sentence;
    } cases[] = {
        {"normalizer", "{\"type\": \"NFC\"}", PARA_ERR_CONFIG, "memory/tokenizer.json: normalizer is not null"},
        {"truncation", "{\"direction\": \"Left\"}", PARA_ERR_CONFIG, "truncation.direction is not \"Right\""},
        {"padding", "{\"direction\": \"Left\"}", PARA_ERR_CONFIG, "padding.direction is not \"Right\""},
        {"pre_tokenizer", "null", PARA_ERR_CONFIG, "pre_tokenizer is not a Sequence of Split and ByteLevel"},
        {"pre_tokenizer.pretokenizers.0", "{\"type\": \"Digits\"}", PARA_ERR_CONFIG, "pre_tokenizer is not a Sequence"},
        {"pre_tokenizer.pretokenizers.0.pattern.Regex", "\"\\\\p{N}\"", PARA_ERR_CONFIG,
         "another pattern than Llama 3's"},
        {"pre_tokenizer.pretokenizers.0.pattern", "{\"String\": \" \"}", PARA_ERR_CONFIG,
         "another pattern than Llama 3's"},
        {"pre_tokenizer.pretokenizers.0.behavior", "\"Removed\"", PARA_ERR_CONFIG, "behavior Isolated"},
        {"pre_tokenizer.pretokenizers.0.invert", "true", PARA_ERR_CONFIG, "invert false"},
        {"pre_tokenizer.pretokenizers.1.add_prefix_space", "true", PARA_ERR_CONFIG, "add_prefix_space false"},
        {"pre_tokenizer.pretokenizers.1.use_regex", "true", PARA_ERR_CONFIG, "use_regex false"},
        {"model.type", "\"WordPiece\"", PARA_ERR_CONFIG, "the model is not BPE"},
        {"model.dropout", "0.1", PARA_ERR_CONFIG, "model.dropout leaves merges out at random"},
        {"model.continuing_subword_prefix", "\"##\"", PARA_ERR_CONFIG, "model.continuing_subword_prefix"},
        {"model.end_of_word_suffix", "\"</w>\"", PARA_ERR_CONFIG, "model.end_of_word_suffix"},
        {"model.ignore_merges", "1", PARA_ERR_CONFIG, "model.ignore_merges is neither"},
        {"model.vocab", "{\"a\": 0}", PARA_ERR_FORMAT, "merge 1 merges a string"},
        {"model.merges.1", "[\"a\", \"a\"]", PARA_ERR_FORMAT, "merge 2 makes a string"},
        {"post_processor.type", "\"BertProcessing\"", PARA_ERR_CONFIG, "post_processor is neither ByteLevel nor"},
        {"post_processor.single", "[]", PARA_ERR_CONFIG, "lacks the text"},
        {"post_processor.single.1", "{\"Sequence\": {\"id\": \"B\"}}", PARA_ERR_CONFIG,
         "holds something other than that text"},
        {"post_processor.single.1", "{\"SpecialToken\": {\"id\": \"</s>\"}}", PARA_ERR_CONFIG,
         "more than one special token"},
        {"post_processor.single.0", "{\"SpecialToken\": {\"id\": \"<x>\"}}", PARA_ERR_CONFIG, "without exactly one id"},
        {"post_processor.special_tokens.<s>.ids", "[1, 2]", PARA_ERR_CONFIG, "without exactly one id"},
        {"added_tokens", "{}", PARA_ERR_CONFIG, "added_tokens is not a list"},
        {"added_tokens.3.id", "300", PARA_ERR_CONFIG,
         "the added token \"Up\" has the id 300 in the file, but 263 by its place"},
    };
    para_tokenizer *t;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        json_t *root = small_tokenizer();
        set_member(root, cases[i].path, cases[i].value);
        assert_fails(cases[i].status, cases[i].sentence, parse(&t, root, small_config));
        assert_null(t);
        json_decref(root);
    }
    json_t *root = small_tokenizer();
    assert_fails(PARA_ERR_CONFIG, "padding_side is missing", parse(&t, root, "{\"pad_token\": \"<pad>\"}"));
    assert_fails(PARA_ERR_CONFIG, "padding_side is missing", parse(&t, root, NULL));
    assert_fails(PARA_ERR_CONFIG, "padding_side is not", parse(&t, root, "{\"padding_side\": \"left\"}"));
    assert_fails(PARA_ERR_CONFIG, "pad_token is null", parse(&t, root, "{\"padding_side\": \"right\"}"));
    assert_fails(
        PARA_ERR_CONFIG, "gives an id to another token",
        parse(&t, root, "{\"padding_side\": \"right\", \"added_tokens_decoder\": {\"262\": {\"content\": \"<p>\"}}}"));
    json_object_del(json_object_get(json_object_get(root, "model"), "vocab"), "w");
    assert_fails(PARA_ERR_CONFIG, "no entry for the byte 0x77", parse(&t, root, small_config));
    json_decref(root);
    assert_fails(PARA_ERR_NOT_FOUND, "memory has no tokenizer.json", parse(&t, NULL, small_config));
    assert_fails(PARA_ERR_NOT_FOUND, "no-such-folder is not a folder", para_llama_tokenizer_open(&t, "no-such-folder"));
}

/* The config's flags go before those of tokenizer.json. */
static void tokens_of_both_files(void **state) {
    (void)state;
    json_t *root = small_tokenizer();
    para_tokenizer *t;
    assert_ok(parse(&t, root,
                    "{\"padding_side\": \"right\", \"pad_token\": \"<pad>\", \"added_tokens_decoder\": {\"263\": "
                    "{\"content\": \"Up\", \"rstrip\": true},"
                    "\"264\": {\"content\": \"new\"}}, \"unk_token\": \"<unk>\"}"));
    IDS(t, "a Up b new<unk>", BEGIN, 'a', ' ', UP, 'b', ' ', 264, 265);
    para_tokenizer_close(&t);
    json_decref(root);
}

static char *small_text;

static para_status open_and_encode(void) {
    para_tokenizer_files files = {.folder = "memory"};
    SET_FILE(files, PARA_FILE_TOKENIZER, small_text);
    SET_FILE(files, PARA_FILE_TOKENIZER_CONFIG, small_config);
    para_tokenizer *t;
    PARA_TRY(para_llama_tokenizer_parse(&t, &files));
    int32_t ids[8];
    int used, dropped;
    static const char text[] = "abc \xC3\xA9 whole</s> Up "
                               "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";
    para_status status = para_tokenize(t, text, sizeof text - 1, 8, ids, &used, &dropped);
    para_tokenizer_close(&t);
    return status;
}

static void survives_failed_allocations(void **state) {
    (void)state;
    json_t *root = small_tokenizer();
    small_text = json_dumps(root, 0);
    json_decref(root);
    assert_survives_alloc_failure(30, open_and_encode());
    free(small_text);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(all_strings_have_the_ids_of_transformers),
        cmocka_unit_test(words_merges_and_whole_words),
        cmocka_unit_test(templates),
        cmocka_unit_test(truncates_and_pads),
        cmocka_unit_test(what_is_not_supported_is_named),
        cmocka_unit_test(tokens_of_both_files),
        cmocka_unit_test(survives_failed_allocations),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
