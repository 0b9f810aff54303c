/* Lower case, NFC, character classes and grapheme clusters of every code point against those inside the tokenizers library,
 * whatever Unicode versions are installed here. Vectors: tools/reference/unicode_vectors.py. SPDX-License-Identifier: Apache-2.0 */
#include "text/charsmap.h"
#include "text/spiece_model.h"
#include "text/unicode_text.h"
#include "text/word_pattern.h"

#include "tokenizer_vectors.h"

/* Appends to `out` what is hashed for one code point. */
typedef void (*describe)(para_bytes *out, int32_t c, const void *with);

static void append(para_bytes *out, const para_bytes *in) {
    assert_ok(para_bytes_append(out, in->data, in->n));
}

enum { NONE = -1 };

/* before, c, behind as UTF-8. */
static para_bytes sequence(int32_t before, int32_t c, int32_t behind) {
    para_bytes text = {0};
    if (before != NONE) assert_ok(para_utf8_append(&text, before));
    assert_ok(para_utf8_append(&text, c));
    if (behind != NONE) assert_ok(para_utf8_append(&text, behind));
    return text;
}

static void compare(const char *table, describe of, const void *with) {
    char *text = slurp(PARA_SOURCE_DIR "/tests/data/unicode.json", &(size_t){0});
    json_t *expected = json_loads(text, 0, NULL);
    int32_t block = (int32_t)json_integer_value(json_object_get(expected, "block"));
    const json_t *hashes = json_object_get(expected, table);
    assert_int_equal(json_array_size(hashes), 0x110000 / block);
    para_bytes out = {0};
    int differ = 0;
    for (int32_t start = 0; start < 0x110000; start += block) {
        out.n = 0;
        for (int32_t c = start; c < start + block; c++) {
            if (c >= 0xD800 && c < 0xE000) continue;
            of(&out, c, with);
            assert_ok(para_bytes_append(&out, "", 1));
        }
        char hash[17];
        snprintf(hash, sizeof hash, "%016llx", (unsigned long long)fnv1a64(fnv_start, out.data, out.n));
        if (strcmp(hash, json_string_value(json_array_get(hashes, (size_t)(start / block)))) == 0) continue;
        print_error("%s differs between U+%04X and U+%04X\n", table, start, start + block - 1);
        differ++;
    }
    para_free(out.data);
    json_decref(expected);
    free(text);
    assert_int_equal(differ, 0);
}

static void describe_lower(para_bytes *out, int32_t c, const void *with) {
    (void)with;
    int32_t lower[2];
    int n = para_lower(c, lower);
    for (int i = 0; i < n; i++) assert_ok(para_utf8_append(out, lower[i]));
}

static void append_nfc(para_bytes *out, para_bytes text) {
    assert_ok(para_append_nfc(out, text.data, text.n));
    para_free(text.data);
}

static void describe_nfc(para_bytes *out, int32_t c, const void *with) {
    (void)with;
    append_nfc(out, sequence(NONE, c, NONE));
    para_bytes marks = sequence(0x334, 0x301, c);
    append_nfc(out, marks);
    append_nfc(out, sequence(NONE, c, 0x334));
    append_nfc(out, sequence('A', c, 0x301));
}

typedef struct word_starts {
    para_bytes text; /* "a", c, "! " for each code point c */
    size_t *stop;    /* [text.n], where the word that starts there ends, 0: none starts */
    size_t at;       /* of the next code point's "a" */
} word_starts;

/* "ac" is a word where c is a letter; else c is none where it is white space, and one without the "!" where it is a number. */
static void describe_classes(para_bytes *out, int32_t c, const void *with) {
    word_starts *w = (word_starts *)(uintptr_t)with;
    size_t start = w->at + 1, end = start;
    assert_int_equal(para_utf8_next(w->text.data, w->text.n, &end), c);
    const char *class = "";
    if (w->stop[w->at] == end) class = "L";
    else if (w->stop[start] == 0) class = "S";
    else if (w->stop[start] == end) class = "N";
    w->at = end + 2;
    assert_ok(para_bytes_append(out, class, strlen(class)));
    if (para_is_white_space(c)) assert_ok(para_bytes_append(out, "W", 1));
}

static void describe_clusters(para_bytes *out, int32_t c, const void *with) {
    static const int32_t before[] = {0xAA, 0xFB01};
    for (int i = 0; i < 2; i++) {
        para_bytes text = sequence(before[i], c, NONE), normal = {0};
        assert_ok(para_charsmap_apply(with, text.data, text.n, &normal));
        append(out, &normal);
        para_free(text.data);
        para_free(normal.data);
    }
}

static void lower_case(void **state) {
    (void)state;
    compare("lower", describe_lower, NULL);
}

static void composition_and_order_of_marks(void **state) {
    (void)state;
    compare("nfc", describe_nfc, NULL);
}

static void letters_numbers_and_spaces(void **state) {
    (void)state;
    word_starts w = {0};
    for (int32_t c = 0; c < 0x110000; c++) {
        if (c >= 0xD800 && c < 0xE000) continue;
        para_bytes one = sequence('a', c, '!');
        append(&w.text, &one);
        assert_ok(para_bytes_append(&w.text, " ", 1));
        para_free(one.data);
    }
    w.stop = calloc(w.text.n, sizeof *w.stop);
    assert_non_null(w.stop);
    para_word_pattern *words;
    assert_ok(para_word_pattern_open(&words, "[" PARA_WORD_LETTERS "]+|[" PARA_WORD_NUMBERS "]|[^" PARA_WORD_SPACES PARA_WORD_LETTERS
                                             PARA_WORD_NUMBERS "]+"));
    para_word_walk walk;
    assert_ok(para_word_walk_open(&walk, words, w.text.data, w.text.n));
    for (bool found = true; found;) {
        assert_ok(para_word_walk_next(&walk, &found));
        if (found) w.stop[walk.start] = walk.stop;
    }
    para_word_walk_close(&walk);
    para_word_pattern_close(&words);
    compare("classes", describe_classes, &w);
    free(w.stop);
    para_free(w.text.data);
}

static void grapheme_clusters(void **state) {
    (void)state;
    size_t n;
    char *data = slurp(PARA_SOURCE_DIR "/tests/data/tokenizer-t5/spiece.model", &n);
    para_spiece_model m;
    para_charsmap map;
    assert_ok(para_spiece_model_read(&m, data, n, "spiece.model"));
    assert_ok(para_charsmap_open(&map, m.charsmap, m.charsmap_bytes, "spiece.model"));
    compare("clusters", describe_clusters, &map);
    para_charsmap_close(&map);
    para_free(m.pieces);
    free(data);
}

static void utf8_is_checked(void **state) {
    (void)state;
    static const struct {
        const char *text;
        size_t n, bad; /* bad == n: valid */
    } cases[] = {
        {"", 0, 0},
        {"a\0b", 3, 3},
        {"\xC3\xA9\xE2\x82\xAC\xF0\x9F\x98\x80", 9, 9},
        {"\xF4\x8F\xBF\xBF\xEF\xBF\xBF", 7, 7},
        {"a\x80", 2, 1},
        {"\xC3", 1, 0},
        {"a\xE2\x82", 3, 1},
        {"\xF0\x9F\x98", 3, 0},
        {"\xC0\x80", 2, 0},         /* overlong */
        {"\xE0\x80\xAF", 3, 0},     /* overlong */
        {"ab\xED\xA0\x80", 5, 2},   /* surrogate */
        {"\xF4\x90\x80\x80", 4, 0}, /* beyond U+10FFFF */
        {"\xC3\x28", 2, 0},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        size_t bad = cases[i].n;
        assert_int_equal(para_utf8_valid(cases[i].text, cases[i].n, &bad), cases[i].bad == cases[i].n);
        assert_int_equal(bad, cases[i].bad);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lower_case),
        cmocka_unit_test(composition_and_order_of_marks),
        cmocka_unit_test(letters_numbers_and_spaces),
        cmocka_unit_test(grapheme_clusters),
        cmocka_unit_test(utf8_is_checked),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
