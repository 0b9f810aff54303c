/* Ids of the strings in tests/data/tokenizer_strings.jsonl against those of transformers, which
 * tools/reference/tokenizer_vectors.py wrote. SPDX-License-Identifier: Apache-2.0 */
#ifndef PARA_TESTS_TOKENIZER_VECTORS_H
#define PARA_TESTS_TOKENIZER_VECTORS_H

#include <jansson.h>

#include "io_checks.h"
#include "text/tokenizer.h"
#include "text/tokenizer_parts.h"

static inline uint64_t fnv1a64(uint64_t hash, const void *data, size_t n) {
    const unsigned char *bytes = data;
    for (size_t i = 0; i < n; i++) hash = (hash ^ bytes[i]) * 0x100000001B3u;
    return hash;
}

static const uint64_t fnv_start = 0xCBF29CE484222325u;

/* The JSON value of the next line of *at, NULL at the end. */
static inline json_t *next_line(char **at) {
    char *end = strchr(*at, '\n');
    if (!end) return NULL;
    json_t *value = json_loadb(*at, (size_t)(end - *at), JSON_DECODE_ANY | JSON_ALLOW_NUL, NULL);
    assert_non_null(value);
    *at = end + 1;
    return value;
}

/* A line of the strings: a string, or one that is repeated. To be freed. */
static inline char *line_text(const json_t *line, size_t *bytes) {
    const json_t *unit = json_is_object(line) ? json_object_get(line, "text") : line;
    size_t n = json_string_length(unit);
    size_t times = json_is_object(line) ? (size_t)json_integer_value(json_object_get(line, "repeat")) : 1;
    char *text = calloc(n * times + 1, 1);
    assert_non_null(text);
    for (size_t i = 0; i < times; i++) memcpy(text + i * n, json_string_value(unit), n);
    *bytes = n * times;
    return text;
}

static inline bool ids_match(const json_t *expected, const int32_t *ids, int64_t n) {
    const json_t *all = json_object_get(expected, "ids");
    if (all) {
        if ((int64_t)json_array_size(all) != n) return false;
        for (int64_t i = 0; i < n; i++)
            if (json_integer_value(json_array_get(all, (size_t)i)) != ids[i]) return false;
        return true;
    }
    char hash[17];
    snprintf(hash, sizeof hash, "%016llx", (unsigned long long)fnv1a64(fnv_start, ids, (size_t)n * sizeof *ids));
    return json_integer_value(json_object_get(expected, "count")) == n &&
           strcmp(hash, json_string_value(json_object_get(expected, "fnv1a64"))) == 0;
}

/* Encodes all strings of a file and compares with `ids_path`; how many differ. The file must hold `wanted` lines. */
static inline int count_differences_of(const para_tokenizer *t, const char *strings_path, const char *ids_path, int wanted) {
    size_t n;
    char *strings = slurp(strings_path, &n), *string_at = strings;
    char *expected = slurp(ids_path, &n), *expected_at = expected;
    int lines = 0, differ = 0;
    for (json_t *line, *want; (line = next_line(&string_at)); json_decref(line), json_decref(want), lines++) {
        want = next_line(&expected_at);
        assert_non_null(want);
        assert_int_equal(json_integer_value(json_object_get(want, "i")), lines);
        size_t bytes;
        char *text = line_text(line, &bytes);
        int32_t *ids;
        int64_t count;
        assert_ok(para_tokenize_all(t, text, bytes, &ids, &count));
        if (!ids_match(want, ids, count)) {
            if (differ++ < 5) print_error("string %d differs: %.60s\n", lines, text);
        }
        para_free(ids);
        free(text);
    }
    assert_int_equal(lines, wanted);
    free(strings);
    free(expected);
    return differ;
}

static inline int count_differences(const para_tokenizer *t, const char *ids_path, int wanted) {
    return count_differences_of(t, PARA_SOURCE_DIR "/tests/data/tokenizer_strings.jsonl", ids_path, wanted);
}

/* Files in memory. */
#define SET_FILE(files, name, text) ((files).file[name].data = (text), (files).file[name].bytes = strlen(text))

/* Whether the text has exactly these ids (special tokens included), ended by -1. */
static inline void assert_ids(const para_tokenizer *t, const char *text, size_t bytes, const int *wanted) {
    int32_t *ids;
    int64_t n;
    assert_ok(para_tokenize_all(t, text, bytes, &ids, &n));
    int64_t i = 0;
    while (i < n && wanted[i] == ids[i]) i++;
    if (i < n || wanted[i] != -1)
        fail_msg("\"%s\": id %d is %d, wanted %d", text, (int)i, i < n ? ids[i] : -1, wanted[i]);
    para_free(ids);
}
#define IDS(t, text, ...) assert_ids(t, text, sizeof(text) - 1, (const int[]){__VA_ARGS__, -1})

#endif
