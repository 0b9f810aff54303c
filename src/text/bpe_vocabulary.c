/* Reading and checking of a byte-level BPE's vocabulary and merges. SPDX-License-Identifier: Apache-2.0 */
#include "text/bpe_vocabulary.h"

#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

#include "core/alloc.h"
#include "core/error.h"

enum { ID_MAX = 1 << 24 }; /* above any embedding table */

/* Where a merge or word comes from, for messages. */
typedef struct source {
    const para_tokenizer_files *files;
    para_tokenizer_file_name name;
} source;

static para_status damaged(const source *s, const char *what, size_t number, const char *why) {
    return para_fail(PARA_ERR_FORMAT, "%s/%s: %s %zu %s", s->files->folder, para_tokenizer_file(s->name), what, number,
                     why);
}

static int compare_ids(const void *left, const void *right) {
    const int32_t *a = left, *b = right;
    return (*a > *b) - (*a < *b);
}

static para_status check_ids(const source *s, const para_trie_entry *entries, size_t n) {
    int32_t *ids = para_alloc(n, sizeof *ids);
    if (!ids) return PARA_ERR_MEMORY;
    for (size_t i = 0; i < n; i++) ids[i] = entries[i].value;
    qsort(ids, n, sizeof *ids, compare_ids);
    para_status status = PARA_OK;
    for (size_t i = 1; status == PARA_OK && i < n; i++)
        if (ids[i] == ids[i - 1])
            status = para_fail(PARA_ERR_FORMAT, "%s/%s: two strings of the vocabulary have the id %d", s->files->folder,
                               para_tokenizer_file(s->name), ids[i]);
    para_free(ids);
    return status;
}

static para_status read_entries(const source *s, json_t *object, para_trie_entry *entries) {
    const char *key;
    json_t *value;
    size_t n = 0;
    json_object_foreach(object, key, value) {
        double number = json_number_value(value);
        if (!json_is_number(value) || !(number >= 0 && number < ID_MAX) || number != (int32_t)number)
            return para_fail(PARA_ERR_FORMAT, "%s/%s: the id of \"%.60s\" is not a whole number from 0 to %d",
                             s->files->folder, para_tokenizer_file(s->name), key, ID_MAX - 1);
        entries[n++] = (para_trie_entry){key, strlen(key), (int32_t)number};
    }
    return check_ids(s, entries, n);
}

static para_status read_words(para_bpe_vocabulary *v, const source *s, json_t *object) {
    size_t count = json_object_size(object);
    if (count == 0)
        return para_fail(PARA_ERR_FORMAT, "%s/%s holds no vocabulary (an object of strings with ids)", s->files->folder,
                         para_tokenizer_file(s->name));
    para_trie_entry *entries = para_alloc(count, sizeof *entries);
    if (!entries) return PARA_ERR_MEMORY;
    para_status status = read_entries(s, object, entries);
    if (status == PARA_OK) status = para_trie_build(&v->words, entries, count);
    v->size = (int32_t)count;
    para_free(entries);
    return status;
}

/* The id of left followed by right, or -1. */
static int32_t find_joined(const para_trie *t, const char *left, size_t left_bytes, const char *right,
                           size_t right_bytes) {
    uint32_t node = 0;
    for (size_t i = 0; i < left_bytes; i++)
        if (!para_trie_step(t, &node, (uint8_t)left[i])) return -1;
    for (size_t i = 0; i < right_bytes; i++)
        if (!para_trie_step(t, &node, (uint8_t)right[i])) return -1;
    return t->value[node];
}

/* `number` counts lines or entries from 1. */
static para_status put_merge(para_bpe_vocabulary *v, const source *s, size_t number, int32_t rank, const char *left,
                             size_t left_bytes, const char *right, size_t right_bytes) {
    const char *what = s->name == PARA_FILE_MERGES ? "line" : "merge";
    para_merge merge = {.left = para_trie_find(&v->words, left, left_bytes),
                        .right = para_trie_find(&v->words, right, right_bytes),
                        .rank = rank,
                        .merged = find_joined(&v->words, left, left_bytes, right, right_bytes)};
    if (merge.left < 0 || merge.right < 0)
        return damaged(s, what, number, "merges a string that the vocabulary does not have");
    if (merge.merged < 0) return damaged(s, what, number, "makes a string that the vocabulary does not have");
    para_byte_pairs_put(&v->pairs, merge);
    return PARA_OK;
}

/* "left right" with exactly one space. */
static para_status put_merge_text(para_bpe_vocabulary *v, const source *s, size_t number, int32_t rank,
                                  const char *text, size_t bytes) {
    const char *space = memchr(text, ' ', bytes);
    size_t left = space ? (size_t)(space - text) : 0;
    if (!space || memchr(space + 1, ' ', bytes - left - 1))
        return damaged(s, s->name == PARA_FILE_MERGES ? "line" : "merge", number,
                       "is not two strings with a space between them");
    return put_merge(v, s, number, rank, text, left, space + 1, bytes - left - 1);
}

static para_status read_merges_text(para_bpe_vocabulary *v, const para_tokenizer_files *files) {
    const source s = {files, PARA_FILE_MERGES};
    const char *at = files->file[PARA_FILE_MERGES].data, *end = at + files->file[PARA_FILE_MERGES].bytes;
    size_t lines = 1;
    for (const char *p = at; p < end; p++) lines += *p == '\n';
    PARA_TRY(para_byte_pairs_open(&v->pairs, lines));
    int32_t rank = 0;
    for (size_t number = 1; at < end; number++) {
        const char *newline = memchr(at, '\n', (size_t)(end - at));
        const char *next = newline ? newline + 1 : end;
        size_t bytes = (size_t)((newline ? newline : end) - at);
        if (newline && bytes && at[bytes - 1] == '\r') bytes--;
        if (bytes && !(bytes >= 8 && memcmp(at, "#version", 8) == 0))
            PARA_TRY(put_merge_text(v, &s, number, rank++, at, bytes));
        at = next;
    }
    return PARA_OK;
}

static para_status read_merges_json(para_bpe_vocabulary *v, const source *s, const json_t *array) {
    if (!json_is_array(array))
        return para_fail(PARA_ERR_FORMAT, "%s/%s: model.merges is not a list", s->files->folder,
                         para_tokenizer_file(s->name));
    size_t count = json_array_size(array);
    PARA_TRY(para_byte_pairs_open(&v->pairs, count));
    for (size_t i = 0; i < count; i++) {
        const json_t *merge = json_array_get(array, i);
        if (json_is_string(merge)) {
            PARA_TRY(put_merge_text(v, s, i + 1, (int32_t)i, json_string_value(merge), json_string_length(merge)));
            continue;
        }
        const json_t *left = json_array_get(merge, 0), *right = json_array_get(merge, 1);
        if (json_array_size(merge) != 2 || !json_is_string(left) || !json_is_string(right))
            return damaged(s, "merge", i + 1, "is not two strings");
        PARA_TRY(put_merge(v, s, i + 1, (int32_t)i, json_string_value(left), json_string_length(left),
                           json_string_value(right), json_string_length(right)));
    }
    return PARA_OK;
}

/* Byte-level BPE writes each byte as a printable character: itself where it is one in Latin-1, else from U+0100 on. */
static int32_t byte_character(int byte, int *spare) {
    bool printable = (byte >= '!' && byte <= '~') || (byte >= 0xA1 && byte <= 0xAC) || byte >= 0xAE;
    return printable ? byte : 256 + (*spare)++;
}

static void find_bytes(para_bpe_vocabulary *v, const char *word_end) {
    int spare = 0;
    size_t end_bytes = strlen(word_end);
    for (int byte = 0; byte < 256; byte++) {
        para_bpe_letter *letter = &v->letter[byte];
        letter->bytes = (uint8_t)utf8proc_encode_char(byte_character(byte, &spare), (utf8proc_uint8_t *)letter->text);
        v->pairs.inner[byte] = para_trie_find(&v->words, letter->text, letter->bytes);
        v->pairs.last[byte] = find_joined(&v->words, letter->text, letter->bytes, word_end, end_bytes);
    }
}

int32_t para_bpe_vocabulary_find_word(const para_bpe_vocabulary *v, const char *word, size_t bytes) {
    uint32_t node = 0;
    for (size_t i = 0; i < bytes; i++) {
        const para_bpe_letter *letter = &v->letter[(uint8_t)word[i]];
        for (int k = 0; k < letter->bytes; k++)
            if (!para_trie_step(&v->words, &node, (uint8_t)letter->text[k])) return -1;
    }
    return v->words.value[node];
}

static para_status open_tokenizer_json(para_bpe_vocabulary *v, const para_tokenizer_files *files,
                                       const json_t *tokenizer) {
    const source s = {files, PARA_FILE_TOKENIZER};
    const json_t *model = json_object_get(tokenizer, "model"), *type = json_object_get(model, "type");
    if (type && (!json_is_string(type) || strcmp(json_string_value(type), "BPE") != 0))
        return para_fail(PARA_ERR_CONFIG, "%s/tokenizer.json: the model is not BPE, as this tokenizer's must be",
                         files->folder);
    PARA_TRY(read_words(v, &s, json_object_get(model, "vocab")));
    return read_merges_json(v, &s, json_object_get(model, "merges"));
}

static para_status open_files(para_bpe_vocabulary *v, const para_tokenizer_files *files) {
    const source s = {files, PARA_FILE_VOCAB};
    if (!files->file[PARA_FILE_VOCAB].data || !files->file[PARA_FILE_MERGES].data)
        return para_fail(PARA_ERR_NOT_FOUND,
                         "%s has neither tokenizer.json nor both of vocab.json and merges.txt; download them",
                         files->folder);
    json_t *object;
    PARA_TRY(para_tokenizer_files_json(files, PARA_FILE_VOCAB, &object));
    para_status status = read_words(v, &s, object);
    json_decref(object);
    return status == PARA_OK ? read_merges_text(v, files) : status;
}

para_status para_bpe_vocabulary_open(para_bpe_vocabulary *v, const para_tokenizer_files *files, const json_t *tokenizer,
                                     const char *word_end) {
    PARA_TRY(tokenizer ? open_tokenizer_json(v, files, tokenizer) : open_files(v, files));
    find_bytes(v, word_end);
    v->pairs.unknown = -1;
    return PARA_OK;
}

void para_bpe_vocabulary_close(para_bpe_vocabulary *v) {
    para_trie_close(&v->words);
    para_byte_pairs_close(&v->pairs);
}
