/* CLIP's tokenizer: ids against transformers, limits, damaged files. SPDX-License-Identifier: Apache-2.0 */
#include "tokenizer_vectors.h"

#define CLIP_FOLDER PARA_SOURCE_DIR "/tests/data/tokenizer-clip"

static void all_strings_have_the_ids_of_transformers(void **state) {
    (void)state;
    para_tokenizer *t;
    assert_ok(para_clip_tokenizer_open(&t, CLIP_FOLDER));
    assert_int_equal(count_differences(t, CLIP_FOLDER "/ids.jsonl", 2000), 0);
    assert_int_equal(para_tokenizer_max_length(t), 77);
    para_tokenizer_close(&t);
    assert_null(t);
}

/* The small vocabulary of the model that ships: few merges, so that other scripts are spelt in bytes. */
static void all_strings_with_tiny_flux(void **state) {
    (void)state;
    para_tokenizer *t;
    assert_ok(para_clip_tokenizer_open(&t, PARA_SOURCE_DIR "/models/tiny-flux/tokenizer"));
    assert_int_equal(count_differences(t, PARA_SOURCE_DIR "/tests/data/tokenizer_tiny_flux_clip.jsonl", 2000), 0);
    para_tokenizer_close(&t);
}

/* tokenizer.json holds what vocab.json and merges.txt hold; transformers 5 saves nothing else. */
static void tokenizer_json_gives_the_same_ids(void **state) {
    (void)state;
    size_t n;
    char *vocab = slurp(CLIP_FOLDER "/vocab.json", &n);
    char *merges = slurp(CLIP_FOLDER "/merges.txt", &n);
    json_t *list = json_array();
    for (char *line = strtok(merges, "\n"), *space; line; line = strtok(NULL, "\n")) {
        if (*line == '#' || !(space = strchr(line, ' '))) continue;
        if (json_array_size(list) % 2) json_array_append_new(list, json_string(line));
        else json_array_append_new(list, json_pack("[s#, s]", line, (int)(space - line), space + 1));
    }
    json_t *root = json_pack("{s: {s: s, s: o, s: o}, s: []}", "model", "type", "BPE", "vocab",
                             json_loads(vocab, 0, NULL), "merges", list, "added_tokens");
    char *tokenizer = json_dumps(root, 0), *config = slurp(CLIP_FOLDER "/tokenizer_config.json", &n);
    para_tokenizer_files files = {.folder = "memory"};
    SET_FILE(files, PARA_FILE_TOKENIZER, tokenizer);
    SET_FILE(files, PARA_FILE_TOKENIZER_CONFIG, config);
    para_tokenizer *t;
    assert_ok(para_clip_tokenizer_parse(&t, &files));
    assert_int_equal(count_differences(t, CLIP_FOLDER "/ids.jsonl", 2000), 0);
    para_tokenizer_close(&t);
    free(tokenizer);
    free(config);
    free(vocab);
    free(merges);
    json_decref(root);
}

/* A vocabulary that fits a page: a b c, alone and at the end of a word, ab, abc</w>, é in bytes. */
static const char small_vocab[] =
    "{\"a\":0,\"b\":1,\"c\":2,\"a</w>\":3,\"b</w>\":4,\"c</w>\":5,\"ab\":6,\"abc</w>\":7,\"\\u00c3\":8,\"\\u00a9</"
    "w>\":9,"
    "\"<|startoftext|>\":10,\"<|endoftext|>\":11,\"!</w>\":12,\"<\":13,\"|</w>\":14,\"|\":15,\"></w>\":16}";
static const char small_merges[] = "#version: 0.2\r\na b\r\n\r\nab c</w>\r\n";
static const char small_config[] = "{\"model_max_length\": 1000000000000000019884624838656, \"pad_token\": \"!</w>\"}";

static para_tokenizer_files small_files(void) {
    para_tokenizer_files files = {.folder = "memory"};
    SET_FILE(files, PARA_FILE_VOCAB, small_vocab);
    SET_FILE(files, PARA_FILE_MERGES, small_merges);
    SET_FILE(files, PARA_FILE_TOKENIZER_CONFIG, small_config);
    return files;
}

static para_tokenizer *open_with(para_tokenizer_file_name name, const char *text) {
    para_tokenizer_files files = small_files();
    if (text) SET_FILE(files, name, text);
    para_tokenizer *t;
    assert_ok(para_clip_tokenizer_parse(&t, &files));
    return t;
}

/* Worked out by hand; transformers gives the same. */
static void words_are_merged_by_rank(void **state) {
    (void)state;
    para_tokenizer *t = open_with(PARA_FILE_VOCAB, NULL);
    IDS(t, "", 10, 11);
    IDS(t, "\xC2\x85 \t\xE3\x80\x80", 10, 11);        /* white space only */
    IDS(t, "abc", 10, 7, 11);                         /* a b, then ab c</w> */
    IDS(t, "ABC ab\nabcc", 10, 7, 0, 4, 6, 2, 5, 11); /* ab at the end of a word has no entry of its own */
    IDS(t, "e\xCC\x81 \xC3\x89", 10, 8, 9, 8, 9, 11); /* composed, lower case */
    IDS(t, "a!", 10, 3, 12, 11);
    IDS(t, "a\0b", 10, 3, 11, 4, 11); /* U+0000 is a word, and unknown */
    para_tokenizer_close(&t);
}

static void special_tokens_in_the_text(void **state) {
    (void)state;
    para_tokenizer *t = open_with(PARA_FILE_VOCAB, NULL);
    IDS(t, "a<|endoftext|>b <|startoftext|>", 10, 3, 11, 4, 10, 11);
    IDS(t, "<|ENDOFTEXT|>", 10, 13, 14, 11, 11, 11, 11, 11, 11, 11, 11, 11, 15, 16,
        11); /* not the token: "<|", 9 letters, "|>" */
    para_tokenizer_close(&t);
    t = open_with(
        PARA_FILE_TOKENIZER_CONFIG,
        "{\"added_tokens_decoder\": {\"11\": {\"content\": \"<|endoftext|>\", \"normalized\": true, \"special\": true},"
        "\"40\": {\"content\": \"B\", \"lstrip\": true, \"rstrip\": true, \"single_word\": true}}}");
    IDS(t, "<|ENDOFTEXT|>", 10, 11, 11);     /* a normalised token is found in any case */
    IDS(t, "a  b\t!", 10, 3, 17, 12, 11);    /* a new token's id follows the vocabulary */
    IDS(t, "abc ab b", 10, 7, 0, 4, 17, 11); /* single_word */
    para_tokenizer_close(&t);
    t = open_with(PARA_FILE_TOKENIZER_CONFIG, "{\"added_tokens_decoder\": {\"40\": {\"content\": \"b  c\"}}}");
    IDS(t, "a B\n \tC", 10, 3, 17, 11); /* white space is one space in token and text */
    para_tokenizer_close(&t);
    t = open_with(PARA_FILE_TOKENIZER_CONFIG, "{\"split_special_tokens\": true, \"bos_token\": \"ab\"}");
    IDS(t, "abc", 6, 7, 11);
    para_tokenizer_close(&t);
}

static void truncates_and_pads(void **state) {
    (void)state;
    para_tokenizer *t = open_with(PARA_FILE_VOCAB, NULL);
    assert_int_equal(para_tokenizer_max_length(t), INT32_MAX);
    int32_t ids[7];
    int used, dropped;
    assert_ok(para_tokenize(t, "abc a b", 7, 7, ids, &used, &dropped));
    assert_memory_equal(ids, ((int32_t[]){10, 7, 3, 4, 11, 12, 12}), sizeof ids);
    assert_int_equal(used, 5);
    assert_int_equal(dropped, 0);
    assert_ok(para_tokenize(t, "abc a b", 7, 4, ids, &used, &dropped));
    assert_memory_equal(ids, ((int32_t[]){10, 7, 3, 11}), 4 * sizeof *ids);
    assert_int_equal(used, 4);
    assert_int_equal(dropped, 1);
    assert_ok(para_tokenize(t, "abc a b", 7, 2, ids, &used, &dropped));
    assert_memory_equal(ids, ((int32_t[]){10, 11}), 2 * sizeof *ids);
    assert_int_equal(dropped, 3);
    assert_fails(PARA_ERR_ARGUMENT, "leaves no room", para_tokenize(t, "a", 1, 1, ids, &used, &dropped));
    assert_fails(PARA_ERR_ARGUMENT, "not UTF-8 (byte 1)", para_tokenize(t, "a\xFF", 2, 7, ids, &used, &dropped));
    assert_fails(PARA_ERR_ARGUMENT, "not UTF-8", para_tokenize(t, "\xED\xA0\x80", 3, 7, ids, &used, &dropped));
    para_tokenizer_close(&t);
}

static void damaged_files_are_named(void **state) {
    (void)state;
    static const struct {
        para_tokenizer_file_name file;
        const char *text;
        para_status status;
        const char *sentence;
    } cases[] = {
        {PARA_FILE_VOCAB, "{\"a\":0,", PARA_ERR_FORMAT, "memory/vocab.json: line 1"},
        {PARA_FILE_VOCAB, "[]", PARA_ERR_FORMAT, "vocab.json is JSON, but not an object"},
        {PARA_FILE_VOCAB, "{}", PARA_ERR_FORMAT, "holds no vocabulary"},
        {PARA_FILE_VOCAB, "{\"a\":0,\"b\":0}", PARA_ERR_FORMAT, "two strings of the vocabulary have the id 0"},
        {PARA_FILE_VOCAB, "{\"a\":-1}", PARA_ERR_FORMAT, "the id of \"a\""},
        {PARA_FILE_VOCAB, "{\"a\":1.5}", PARA_ERR_FORMAT, "the id of \"a\""},
        {PARA_FILE_VOCAB, "{\"a\":99999999}", PARA_ERR_FORMAT, "the id of \"a\""},
        {PARA_FILE_VOCAB, "{\"a\":\"0\"}", PARA_ERR_FORMAT, "the id of \"a\""},
        {PARA_FILE_MERGES, "#version\na b\na  b\n", PARA_ERR_FORMAT, "merges.txt: line 3 is not two strings"},
        {PARA_FILE_MERGES, "ab\n", PARA_ERR_FORMAT, "merges.txt: line 1 is not two strings"},
        {PARA_FILE_MERGES, "a z\n", PARA_ERR_FORMAT, "merges.txt: line 1 merges a string"},
        {PARA_FILE_MERGES, "a b\nb a\n", PARA_ERR_FORMAT, "merges.txt: line 2 makes a string"},
        {PARA_FILE_TOKENIZER, "{\"model\":{\"type\":\"Unigram\"}}", PARA_ERR_CONFIG, "not BPE"},
        {PARA_FILE_TOKENIZER, "{\"model\":{\"vocab\":{\"a\":0}}}", PARA_ERR_FORMAT, "model.merges is not a list"},
        {PARA_FILE_TOKENIZER, "{\"model\":{\"vocab\":{\"a\":0},\"merges\":[[\"a\"]]}}", PARA_ERR_FORMAT,
         "merge 1 is not"},
        {PARA_FILE_TOKENIZER, "{\"model\":{\"vocab\":{\"a\":0},\"merges\":[\"a\"]}}", PARA_ERR_FORMAT,
         "merge 1 is not"},
        {PARA_FILE_TOKENIZER_CONFIG, "{\"model_max_length\":\"77\"}", PARA_ERR_CONFIG,
         "model_max_length is not a positive"},
        {PARA_FILE_TOKENIZER_CONFIG, "{\"model_max_length\":0}", PARA_ERR_CONFIG, "model_max_length is not a positive"},
        {PARA_FILE_TOKENIZER_CONFIG, "{\"padding_side\":\"left\"}", PARA_ERR_CONFIG, "padding_side is not \"right\""},
        {PARA_FILE_TOKENIZER_CONFIG, "{\"eos_token\":null}", PARA_ERR_CONFIG, "eos_token is null"},
        {PARA_FILE_TOKENIZER_CONFIG, "{\"unk_token\":null}", PARA_ERR_CONFIG, "unk_token is null"},
        {PARA_FILE_TOKENIZER_CONFIG, "{\"bos_token\":7}", PARA_ERR_CONFIG, "bos_token is neither a string nor"},
        {PARA_FILE_TOKENIZER_CONFIG, "{\"bos_token\":{\"content\":\"a\",\"lstrip\":1}}", PARA_ERR_CONFIG,
         "bos_token has a flag"},
        {PARA_FILE_TOKENIZER_CONFIG, "{\"added_tokens_decoder\":{\"x\":{}}}", PARA_ERR_CONFIG,
         "a key that is not a token id"},
        {PARA_FILE_TOKENIZER_CONFIG, "{\"added_tokens_decoder\":[]}", PARA_ERR_CONFIG,
         "added_tokens_decoder is not an object"},
        {PARA_FILE_TOKENIZER_CONFIG, "{\"extra_special_tokens\":5}", PARA_ERR_CONFIG,
         "extra_special_tokens is not a list"},
        {PARA_FILE_SPECIAL_TOKENS_MAP, "{\"eos_token\":[]}", PARA_ERR_CONFIG, "special_tokens_map.json: eos_token"},
        {PARA_FILE_ADDED_TOKENS, "{\"x\":-3}", PARA_ERR_CONFIG, "added_tokens.json: the file holds an id"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        para_tokenizer_files files = small_files();
        SET_FILE(files, cases[i].file, cases[i].text);
        para_tokenizer *t;
        assert_fails(cases[i].status, cases[i].sentence, para_clip_tokenizer_parse(&t, &files));
        assert_null(t);
    }
    para_tokenizer *t;
    assert_fails(PARA_ERR_NOT_FOUND, "no-such-folder is not a folder", para_clip_tokenizer_open(&t, "no-such-folder"));
    assert_fails(PARA_ERR_NOT_FOUND, "neither tokenizer.json nor both", para_clip_tokenizer_open(&t, temp_folder));
    assert_int_equal(mkdir(temp_path("vocab.json"), 0700), 0);
    assert_fails(PARA_ERR_IO, "vocab.json is not a file", para_clip_tokenizer_open(&t, temp_folder));
}

/* A byte that neither the vocabulary nor an unknown token covers is refused, not dropped. */
static void unknown_without_unknown_token(void **state) {
    (void)state;
    para_tokenizer *t = open_with(PARA_FILE_TOKENIZER_CONFIG, "{\"unk_token\": \"<new>\"}");
    int32_t *ids;
    int64_t n;
    assert_fails(PARA_ERR_CONFIG, "the byte 0x7A", para_tokenize_all(t, "abz", 3, &ids, &n));
    IDS(t, "<new>", 10, 17, 11);
    para_tokenizer_close(&t);
}

static para_status open_and_encode(void) {
    para_tokenizer_files files = small_files();
    SET_FILE(files, PARA_FILE_SPECIAL_TOKENS_MAP,
             "{\"eos_token\": {\"content\": \"<|endoftext|>\", \"normalized\": true}}");
    para_tokenizer *t;
    PARA_TRY(para_clip_tokenizer_parse(&t, &files));
    int32_t ids[8];
    int used, dropped;
    static const char text[] = "abc \xC3\xA9 <|endoftext|> "
                               "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";
    para_status status = para_tokenize(t, text, sizeof text - 1, 8, ids, &used, &dropped);
    para_tokenizer_close(&t);
    return status;
}

/* Two tokens with one index. */
static para_status open_with_added_twice(void) {
    para_tokenizer_files files = small_files();
    SET_FILE(files, PARA_FILE_ADDED_TOKENS, "{\"x\": 21, \"y\": 21}");
    para_tokenizer *t;
    para_status status = para_clip_tokenizer_parse(&t, &files);
    para_tokenizer_close(&t);
    return status;
}

static para_status open_folder(void) {
    para_tokenizer *t;
    para_status status = para_clip_tokenizer_open(&t, temp_folder);
    para_tokenizer_close(&t);
    return status;
}

static void survives_failed_allocations(void **state) {
    (void)state;
    assert_survives_alloc_failure(30, open_and_encode());
    assert_survives_alloc_failure(30, open_with_added_twice());
    rmdir(temp_path("vocab.json"));
    temp_write("vocab.json", small_vocab, sizeof small_vocab - 1);
    temp_write("merges.txt", small_merges, sizeof small_merges - 1);
    assert_survives_alloc_failure(30, open_folder());
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(all_strings_have_the_ids_of_transformers),
        cmocka_unit_test(all_strings_with_tiny_flux),
        cmocka_unit_test(tokenizer_json_gives_the_same_ids),
        cmocka_unit_test(words_are_merged_by_rank),
        cmocka_unit_test(special_tokens_in_the_text),
        cmocka_unit_test(truncates_and_pads),
        cmocka_unit_test(damaged_files_are_named),
        cmocka_unit_test(unknown_without_unknown_token),
        cmocka_unit_test(survives_failed_allocations),
    };
    return cmocka_run_group_tests(tests, temp_folder_setup, temp_folder_teardown);
}
