/* T5's tokenizer: ids against transformers from both of its files, damaged files. SPDX-License-Identifier: Apache-2.0 */
#include <utf8proc.h>

#include "text/charsmap.h"
#include "text/spiece_model.h"
#include "tokenizer_vectors.h"

#define T5_FOLDER   PARA_SOURCE_DIR "/tests/data/tokenizer-t5"
#define TINY_FOLDER PARA_SOURCE_DIR "/models/tiny-flux/tokenizer_2"
#define TINY_IDS    PARA_SOURCE_DIR "/tests/data/tokenizer_tiny_flux_t5.jsonl"

static void check_tokenizer_json(const char *folder, const char *ids) {
    para_tokenizer *t;
    assert_ok(para_t5_tokenizer_open(&t, folder));
    assert_int_equal(count_differences(t, ids, 2000), 0);
    assert_int_equal(para_tokenizer_max_length(t), 512);
    para_tokenizer_close(&t);
}

/* With tokenizer.json out of sight. */
static void check_spiece_model(const char *folder, const char *ids) {
    para_tokenizer_files files;
    assert_ok(para_tokenizer_files_read(&files, folder));
    para_free((void *)(uintptr_t)files.file[PARA_FILE_TOKENIZER].data);
    files.file[PARA_FILE_TOKENIZER].data = NULL;
    para_tokenizer *t;
    assert_ok(para_t5_tokenizer_parse(&t, &files));
    assert_int_equal(count_differences(t, ids, 2000), 0);
    para_tokenizer_close(&t);
    para_tokenizer_files_close(&files);
}

static void all_strings_from_tokenizer_json(void **state) {
    (void)state;
    check_tokenizer_json(T5_FOLDER, T5_FOLDER "/ids.jsonl");
}

static void all_strings_from_spiece_model(void **state) {
    (void)state;
    check_spiece_model(T5_FOLDER, T5_FOLDER "/ids.jsonl");
}

static void all_strings_with_tiny_flux(void **state) {
    (void)state;
    check_tokenizer_json(TINY_FOLDER, TINY_IDS);
    check_spiece_model(TINY_FOLDER, TINY_IDS);
}

static uint64_t hash_normalized(const para_charsmap *map, uint64_t hash, const char *text, size_t bytes) {
    para_bytes out = {0};
    assert_ok(para_charsmap_apply(map, text, bytes, &out));
    hash = fnv1a64(hash, out.data, out.n);
    para_free(out.data);
    return fnv1a64(hash, "", 1);
}

static uint64_t hash_block(const para_charsmap *map, int32_t start, int32_t size) {
    uint64_t hash = fnv_start;
    for (int32_t c = start ? start : 1; c < start + size; c++) {
        if (c >= 0xD800 && c < 0xE000) continue;
        utf8proc_uint8_t text[4];
        size_t n = (size_t)utf8proc_encode_char(c, text);
        hash = hash_normalized(map, hash, (const char *)text, n);
    }
    return hash;
}

/* All keys of the trie in byte order, by its own units: prefix, then each longer key. */
static uint64_t hash_keys(const para_charsmap *map, int64_t *count) {
    typedef struct level {
        size_t base;
        int byte;
    } level;
    enum { DEPTH_MAX = 64 };
    level levels[DEPTH_MAX];
    char key[DEPTH_MAX];
    uint64_t hash = fnv_start;
    size_t depth = 0;
#define CHILDREN(at, unit) ((at) ^ ((size_t)((unit) >> 10) << (((unit)&0x200) >> 6)))
    levels[0] = (level){CHILDREN((size_t)0, map->units[0]), 0};
    *count = 0;
    for (;;) {
        level *l = &levels[depth];
        if (++l->byte > 255) {
            if (depth-- == 0) return hash;
            continue;
        }
        size_t at = l->base ^ (size_t)l->byte;
        if (at >= map->count || (map->units[at] & 0x800000FF) != (uint32_t)l->byte) continue;
        assert_true(depth + 1 < DEPTH_MAX);
        key[depth++] = (char)l->byte;
        levels[depth] = (level){CHILDREN(at, map->units[at]), 0};
        if (!(map->units[at] & 0x100)) continue;
        hash = hash_normalized(map, hash, key, depth);
        ++*count;
    }
#undef CHILDREN
}

static void every_code_point_and_key_of_the_charsmap(void **state) {
    (void)state;
    size_t n;
    char *data = slurp(T5_FOLDER "/spiece.model", &n), *text = slurp(T5_FOLDER "/charsmap.json", &(size_t){0});
    json_t *expected = json_loads(text, 0, NULL);
    para_spiece_model m;
    assert_ok(para_spiece_model_read(&m, data, n, "spiece.model"));
    para_charsmap map;
    assert_ok(para_charsmap_open(&map, m.charsmap, m.charsmap_bytes, "spiece.model"));
    int32_t size = (int32_t)json_integer_value(json_object_get(expected, "block"));
    const json_t *blocks = json_object_get(expected, "blocks"), *keys = json_object_get(expected, "keys");
    char hash[17];
    assert_int_equal(json_array_size(blocks), 0x110000 / size);
    for (size_t i = 0; i < json_array_size(blocks); i++) {
        snprintf(hash, sizeof hash, "%016llx", (unsigned long long)hash_block(&map, (int32_t)i * size, size));
        assert_string_equal(hash, json_string_value(json_array_get(blocks, i)));
    }
    int64_t count;
    snprintf(hash, sizeof hash, "%016llx", (unsigned long long)hash_keys(&map, &count));
    assert_int_equal(count, json_integer_value(json_object_get(keys, "count")));
    assert_string_equal(hash, json_string_value(json_object_get(keys, "fnv1a64")));
    para_charsmap_close(&map);
    para_free(m.pieces);
    json_decref(expected);
    free(text);
    free(data);
}

/* Pieces with scores; the ids are the places. */
static const char small_model[] =
    "{\"model\":{\"type\":\"Unigram\",\"vocab\":[[\"<pad>\",0],[\"</"
    "s>\",0],[\"<unk>\",0],[\"\\u2581\",-3],[\"a\",-2],[\"b\",-2],"
    "[\"\\u2581a\",-4.5],[\"ab\",-3.5],[\"\\u2581ab\",-9],[\"<extra_id_1>\",0],[\"<extra_id_0>\",0]]}}";
static const char small_config[] = "{\"extra_ids\":2}";

static para_tokenizer_files small_files(void) {
    para_tokenizer_files files = {.folder = "memory"};
    SET_FILE(files, PARA_FILE_TOKENIZER, small_model);
    SET_FILE(files, PARA_FILE_TOKENIZER_CONFIG, small_config);
    return files;
}

static para_tokenizer *open_small(void) {
    para_tokenizer_files files = small_files();
    para_tokenizer *t;
    assert_ok(para_t5_tokenizer_parse(&t, &files));
    return t;
}

/* Worked out by hand; transformers gives the same. */
static void words_start_with_the_meta_symbol(void **state) {
    (void)state;
    para_tokenizer *t = open_small();
    IDS(t, "", 1);
    IDS(t, " \n\xE3\x80\x80", 1);
    IDS(t, "a b", 6, 3, 5, 1);
    IDS(t, "ab", 3, 7, 1); /* -3 - 3.5; as good as -4.5 - 2, but found first */
    IDS(t, "a\xE2\x96\x81\x61", 6, 6, 1);
    IDS(t, "\xE2\x96\x81\xE2\x96\x81\x61", 3, 6, 1);
    IDS(t, "axyzb", 6, 2, 5, 1); /* unknown characters in a row are one */
    IDS(t, "x y", 3, 2, 3, 2, 1);
    IDS(t, "a\0b", 6, 2, 5, 1);
    para_tokenizer_close(&t);
}

static void special_tokens_in_the_text(void **state) {
    (void)state;
    para_tokenizer *t = open_small();
    IDS(t, "a</s>b", 6, 1, 3, 5, 1); /* what follows a special token is a word of its own */
    IDS(t, " <pad> ", 0, 1);
    IDS(t, "<extra_id_0><extra_id_1>", 10, 9, 1);
    IDS(t, "<extra_id_2>", 3, 2, 4, 2, 1); /* no token, but text with an a */
    IDS(t, "a<unk>", 6, 2, 1);
    para_tokenizer_close(&t);
}

static void truncates_and_pads(void **state) {
    (void)state;
    para_tokenizer *t = open_small();
    int32_t ids[6];
    int used, dropped;
    assert_ok(para_tokenize(t, "a ab", 4, 6, ids, &used, &dropped));
    assert_memory_equal(ids, ((int32_t[]){6, 3, 7, 1, 0, 0}), sizeof ids);
    assert_int_equal(used, 4);
    assert_int_equal(dropped, 0);
    assert_ok(para_tokenize(t, "a ab", 4, 2, ids, &used, &dropped));
    assert_memory_equal(ids, ((int32_t[]){6, 1}), 2 * sizeof *ids);
    assert_int_equal(used, 2);
    assert_int_equal(dropped, 2);
    assert_fails(PARA_ERR_ARGUMENT, "leaves no room", para_tokenize(t, "a", 1, 0, ids, &used, &dropped));
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
        {PARA_FILE_TOKENIZER, "{", PARA_ERR_FORMAT, "memory/tokenizer.json: line 1"},
        {PARA_FILE_TOKENIZER, "{}", PARA_ERR_FORMAT, "model.vocab is not a list"},
        {PARA_FILE_TOKENIZER, "{\"model\":{\"type\":\"BPE\"}}", PARA_ERR_CONFIG, "not Unigram"},
        {PARA_FILE_TOKENIZER, "{\"model\":{\"vocab\":[[\"a\",0],[\"b\"]]}}", PARA_ERR_FORMAT, "entry 1 of model.vocab"},
        {PARA_FILE_TOKENIZER, "{\"model\":{\"vocab\":[[\"a\",0],[\"b\",0]]}}", PARA_ERR_FORMAT, "has 2 pieces"},
        {PARA_FILE_TOKENIZER, "{\"normalizer\":{\"type\":\"Precompiled\",\"precompiled_charsmap\":\"A\"}}",
         PARA_ERR_FORMAT, "not base64"},
        {PARA_FILE_TOKENIZER, "{\"normalizer\":{\"type\":\"Precompiled\",\"precompiled_charsmap\":\"AAAA\"}}",
         PARA_ERR_FORMAT, "has only 3 bytes"},
        {PARA_FILE_TOKENIZER, "{\"normalizer\":{\"type\":\"Precompiled\",\"precompiled_charsmap\":\"//8AAAAAAAA=\"}}",
         PARA_ERR_FORMAT, "its trie has 65535 bytes"},
        {PARA_FILE_TOKENIZER_CONFIG, "{\"extra_ids\":-1}", PARA_ERR_CONFIG, "extra_ids holds an id"},
        {PARA_FILE_TOKENIZER_CONFIG, "{\"extra_ids\":100000}", PARA_ERR_CONFIG, "extra_ids asks for more"},
        {PARA_FILE_TOKENIZER_CONFIG, "{\"pad_token\":null}", PARA_ERR_CONFIG, "pad_token is null"},
        {PARA_FILE_SPECIAL_TOKENS_MAP, "{\"additional_special_tokens\":[\"<extra_id_0>\"]}", PARA_ERR_CONFIG,
         "name 1 sentinels"},
    };
    para_tokenizer *t;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        para_tokenizer_files files = small_files();
        SET_FILE(files, cases[i].file, cases[i].text);
        assert_fails(cases[i].status, cases[i].sentence, para_t5_tokenizer_parse(&t, &files));
        assert_null(t);
    }
    assert_fails(PARA_ERR_NOT_FOUND, "neither tokenizer.json nor spiece.model",
                 para_t5_tokenizer_open(&t, temp_folder));
}

/* Appends a field of bytes to a message. */
static size_t put_field(char *at, int number, const char *bytes, size_t n) {
    at[0] = (char)(number << 3 | 2);
    at[1] = (char)n;
    memcpy(at + 2, bytes, n);
    return n + 2;
}

/* A piece: text, score as float, type. */
static size_t put_piece(char *at, const char *text, float score, int type) {
    char piece[64];
    size_t n = put_field(piece, 1, text, strlen(text));
    piece[n] = 2 << 3 | 5;
    memcpy(piece + n + 1, &score, 4);
    piece[n + 5] = 3 << 3;
    piece[n + 6] = (char)type;
    return put_field(at, 1, piece, n + 7);
}

static size_t small_spiece(char *at, int model_type) {
    size_t n = 0;
    n += put_piece(at + n, "<pad>", 0, PARA_SPIECE_CONTROL);
    n += put_piece(at + n, "</s>", 0, PARA_SPIECE_CONTROL);
    n += put_piece(at + n, "<unk>", 0, PARA_SPIECE_UNKNOWN);
    n += put_piece(at + n, "\xE2\x96\x81", -3, PARA_SPIECE_NORMAL);
    n += put_piece(at + n, "a", -2, PARA_SPIECE_NORMAL);
    n += put_piece(at + n, "b c", -2, PARA_SPIECE_USER_DEFINED);
    n += put_piece(at + n, "<c>", -2, PARA_SPIECE_CONTROL);
    char trainer[] = {3 << 3, (char)model_type, (char)(40 << 3 & 0x7F) | (char)0x80, 40 >> 4,
                      9}; /* unk_id 9: not taken */
    n += put_field(at + n, 2, trainer, sizeof trainer);
    return n;
}

static para_status parse_spiece(const char *data, size_t n, para_tokenizer **t) {
    para_tokenizer_files files = {.folder = "memory"};
    files.file[PARA_FILE_SPIECE].data = data;
    files.file[PARA_FILE_SPIECE].bytes = n;
    SET_FILE(files, PARA_FILE_TOKENIZER_CONFIG, small_config);
    return para_t5_tokenizer_parse(t, &files);
}

static void special_pieces_of_spiece_model(void **state) {
    (void)state;
    char data[512];
    para_tokenizer *t;
    assert_ok(parse_spiece(data, small_spiece(data, 1), &t));
    IDS(t, "ab ca", 3, 4, 5, 3, 4, 1); /* a user-defined piece is found before words are made */
    IDS(t, "<c>", 6, 1);
    IDS(t, "<extra_id_1> <extra_id_0>", 7, 8, 1); /* sentinels follow the pieces, the highest first */
    para_tokenizer_close(&t);
}

static void damaged_spiece_models(void **state) {
    (void)state;
    char data[512];
    para_tokenizer *t;
    assert_fails(PARA_ERR_CONFIG, "a unigram model", parse_spiece(data, small_spiece(data, 2), &t));
    size_t n = small_spiece(data, 1), bad = 0;
    for (size_t i = 0; i < n; i++) { /* cut anywhere: refused, or a shorter list of pieces */
        para_status status = parse_spiece(data, i, &t);
        if (status != PARA_OK) {
            assert_int_equal(status, PARA_ERR_FORMAT);
            bad++;
        }
        para_tokenizer_close(&t);
    }
    assert_true(bad > n / 2);
    static const struct {
        const char *bytes;
        size_t n;
        const char *sentence;
    } cases[] = {
        {"\x0A\x03\x0A\x01\xFF", 5, "byte 5: a piece is not UTF-8"},
        {"\x0A\x05\x15\x00\x00\x80\x7F", 7, "not a finite number"},
        {"\x0A\x7F", 2, "longer than what is left"},
        {"\x0F", 1, "a field has an unknown type"},
        {"\x02", 1, "impossible number"},
        {"\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF", 11, "more than ten bytes"},
        {"\x23", 1, "a group does not end"},
        {"\x23\x2C", 2, "a group ends that did not start"},
        {"\x25\x01", 2, "a number is cut off"},
        {"", 0, "has 2 pieces"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        assert_fails(PARA_ERR_FORMAT, cases[i].sentence, parse_spiece(cases[i].bytes, cases[i].n, &t));
    char deep[100];
    memset(deep, 0x23, sizeof deep);
    assert_fails(PARA_ERR_FORMAT, "nested too deeply", parse_spiece(deep, sizeof deep, &t));
}

/* A trie with one key, U+0001: the root's children stand at 2, so that it is unit 2 ^ 1 = 3, and its value unit 3 ^ 2 = 1. */
static para_status apply_tiny_map(uint32_t root, uint32_t value, const char *text, size_t bytes, para_bytes *out) {
    enum { UNITS = 256 };
    uint32_t units[UNITS] = {root << 10, value, 0, 1u | 1u << 8 | 2u << 10};
    static const char texts[] = "x\0\xC3\xA9"; /* the last ends with the blob */
    char blob[4 + sizeof units + sizeof texts - 1];
    uint32_t size = sizeof units;
    memcpy(blob, &size, 4);
    memcpy(blob + 4, units, sizeof units);
    memcpy(blob + 4 + sizeof units, texts, sizeof texts - 1);
    para_charsmap map;
    PARA_TRY(para_charsmap_open(&map, blob, sizeof blob, "tiny"));
    para_status status = para_charsmap_apply(&map, text, bytes, out);
    para_charsmap_close(&map);
    return status;
}

static void charsmap_stays_inside_itself(void **state) {
    (void)state;
    para_bytes out = {0};
    assert_ok(apply_tiny_map(2, 0, "b\1\1c", 4, &out));
    assert_ok(apply_tiny_map(2, 2, "\1", 1, &out));
    assert_ok(apply_tiny_map(2, 1, "\1", 1, &out)); /* nothing */
    assert_ok(apply_tiny_map(2, 4, "\1", 1, &out)); /* the end: nothing */
    assert_int_equal(out.n, 6);
    assert_memory_equal(out.data, "bxxc\xC3\xA9", 6);
    assert_fails(PARA_ERR_FORMAT, "points outside itself", apply_tiny_map(2, 5, "\1", 1, &out));
    assert_fails(PARA_ERR_FORMAT, "points outside itself",
                 apply_tiny_map(2, 3, "\1", 1, &out)); /* inside a character */
    assert_fails(PARA_ERR_FORMAT, "points outside itself", apply_tiny_map(256, 0, "z", 1, &out));
    para_free(out.data);
}

static para_status open_and_encode(void) {
    para_tokenizer_files files = small_files();
    para_tokenizer *t;
    PARA_TRY(para_t5_tokenizer_parse(&t, &files));
    int32_t ids[8];
    int used, dropped;
    static const char text[] =
        "a ab </s> "
        "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";
    para_status status = para_tokenize(t, text, sizeof text - 1, 8, ids, &used, &dropped);
    para_tokenizer_close(&t);
    return status;
}

static para_status open_spiece(void) {
    char data[512];
    para_tokenizer *t;
    para_status status = parse_spiece(data, small_spiece(data, 1), &t);
    para_tokenizer_close(&t);
    return status;
}

static para_status tiny_map(void) {
    para_bytes out = {0};
    para_status status = apply_tiny_map(2, 0, "\1\1", 2, &out);
    para_free(out.data);
    return status;
}

static void survives_failed_allocations(void **state) {
    (void)state;
    assert_survives_alloc_failure(30, open_and_encode());
    assert_survives_alloc_failure(30, open_spiece());
    assert_survives_alloc_failure(3, tiny_map());
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(all_strings_from_tokenizer_json),
        cmocka_unit_test(all_strings_from_spiece_model),
        cmocka_unit_test(all_strings_with_tiny_flux),
        cmocka_unit_test(every_code_point_and_key_of_the_charsmap),
        cmocka_unit_test(words_start_with_the_meta_symbol),
        cmocka_unit_test(special_tokens_in_the_text),
        cmocka_unit_test(truncates_and_pads),
        cmocka_unit_test(damaged_files_are_named),
        cmocka_unit_test(special_pieces_of_spiece_model),
        cmocka_unit_test(damaged_spiece_models),
        cmocka_unit_test(charsmap_stays_inside_itself),
        cmocka_unit_test(survives_failed_allocations),
    };
    return cmocka_run_group_tests(tests, temp_folder_setup, temp_folder_teardown);
}
