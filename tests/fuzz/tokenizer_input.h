/* One input as a tokenizer's folder and a text. SPDX-License-Identifier: Apache-2.0
 * A byte 0x1E and a letter start a part: c tokenizer_config.json, m special_tokens_map.json, a added_tokens.json, t tokenizer.json,
 * v vocab.json, g merges.txt, s spiece.model, x the text. What stands before the first is left out. */
#ifndef PARA_FUZZ_TOKENIZER_INPUT_H
#define PARA_FUZZ_TOKENIZER_INPUT_H

#include <stdlib.h>
#include <string.h>

#include "core/alloc.h"
#include "core/error.h"
#include "fuzz_target.h"
#include "text/tokenizer_parts.h"
#include "text/unicode_text.h"

static inline void require(int condition) {
    if (!condition) abort();
}

typedef struct tokenizer_input {
    para_tokenizer_files files;
    char *text;
    size_t bytes;
} tokenizer_input;

/* A copy of exactly n bytes, so that the sanitizer sees a read behind them. */
static inline char *copy_part(const uint8_t *data, size_t n) {
    char *copy = malloc(n ? n : 1);
    require(copy != NULL);
    if (n) memcpy(copy, data, n);
    return copy;
}

static inline void take_part(tokenizer_input *in, const uint8_t *data, size_t n) {
    static const char letters[PARA_TOKENIZER_FILES] = {'c', 'm', 'a', 't', 'v', 'g', 's'};
    const char *letter = memchr(letters, data[0], sizeof letters);
    if (data[0] == 'x') {
        free(in->text);
        in->text = copy_part(data + 1, n - 1);
        in->bytes = n - 1;
    } else if (letter) {
        size_t i = (size_t)(letter - letters);
        free((void *)(uintptr_t)in->files.file[i].data);
        in->files.file[i].data = copy_part(data + 1, n - 1);
        in->files.file[i].bytes = n - 1;
    }
}

static inline tokenizer_input split_input(const uint8_t *data, size_t size) {
    tokenizer_input in = {.files.folder = "fuzz"};
    for (size_t at = 0; at + 1 < size;) {
        size_t end = at + 1;
        while (end + 1 < size && !(data[end] == 0x1E && strchr("cmatvgsx", data[end + 1]) && data[end + 1])) end++;
        if (end + 1 >= size) end = size;
        if (data[at] == 0x1E) take_part(&in, data + at + 1, end - at - 1);
        at = end;
    }
    return in;
}

static inline void free_input(tokenizer_input *in) {
    for (int i = 0; i < PARA_TOKENIZER_FILES; i++) free((void *)(uintptr_t)in->files.file[i].data);
    free(in->text);
}

/* What holds for every tokenizer and text: the padded ids are the first of all ids. */
static inline para_status encode_input(const para_tokenizer *t, const tokenizer_input *in) {
    enum { LENGTH = 8 };
    int32_t *all, ids[LENGTH];
    int64_t n;
    int used, dropped;
    size_t bad;
    para_status status = para_tokenize_all(t, in->text, in->bytes, &all, &n);
    if (!para_utf8_valid(in->text, in->bytes, &bad)) require(status == PARA_ERR_ARGUMENT || status == PARA_ERR_MEMORY);
    if (status != PARA_OK) return status;
    status = para_tokenize(t, in->text, in->bytes, LENGTH, ids, &used, &dropped);
    if (status == PARA_OK) {
        require(n >= 0 && used >= 0 && used <= LENGTH && used + (int64_t)dropped == n);
        for (int i = 0; i + 1 < used; i++) require(ids[i] == all[i]);
        require(used == 0 || ids[used - 1] == (t->last_id >= 0 ? all[n - 1] : all[used - 1]));
        for (int64_t i = 0; i < n; i++) require(all[i] >= 0);
        for (int i = used + 1; i < LENGTH; i++) require(ids[i] == ids[used]);
    }
    para_free(all);
    return status;
}

typedef para_status (*parse_tokenizer)(para_tokenizer **out, const para_tokenizer_files *files);

static inline para_status run_once(parse_tokenizer parse, const tokenizer_input *in) {
    para_tokenizer *t;
    para_status status = parse(&t, &in->files);
    require((status == PARA_OK) == (t != NULL));
    if (status == PARA_OK) status = encode_input(t, in);
    require(status == PARA_OK || *para_last_error());
    para_tokenizer_close(&t);
    return status;
}

/* Once as it is, once with one allocation failing, which one the input decides. */
static inline int run_input(parse_tokenizer parse, const uint8_t *data, size_t size) {
    tokenizer_input in = split_input(data, size);
    if (!in.text) in.text = copy_part(NULL, 0);
    uint32_t mixed = 0;
    for (size_t i = 0; i < size; i++) mixed = mixed * 31 + data[i];
    para_clear_error();
    para_alloc_fail_after(0);
    run_once(parse, &in);
    long made = para_alloc_count();
    if (made) {
        para_alloc_fail_after(1 + (long)(mixed % (unsigned long)made));
        require(run_once(parse, &in) == PARA_ERR_MEMORY);
        para_alloc_fail_after(0);
    }
    free_input(&in);
    return 0;
}

#endif
