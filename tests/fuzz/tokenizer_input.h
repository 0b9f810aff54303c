/* What the two tokenizers' fuzzers share. SPDX-License-Identifier: Apache-2.0
 * Input: the first byte chooses. 't': the rest is text for tokenizers that are whole. A letter of `letters`: the rest stands for that
 * file of a small tokenizer's folder, and a fixed text is encoded with what comes of it; the capital letter: with the folder's
 * other vocabulary files gone. */
#ifndef PARA_FUZZ_TOKENIZER_INPUT_H
#define PARA_FUZZ_TOKENIZER_INPUT_H

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "core/alloc.h"
#include "fuzz_target.h"
#include "text/tokenizer_parts.h"

typedef para_status (*tokenizer_parser)(para_tokenizer **out, const para_tokenizer_files *files);

/* Letters of the files, in the order of para_tokenizer_file_name. */
static const char letters[] = "csajvmp";

static const char fixed_text[] = "A photo of 3 cats\xE2\x80\xA6 \xE7\x8C\xAB e\xCC\x81 "
                                 "\xF0\x9F\x98\x80<|endoftext|></s><extra_id_0>  don't\t\n\xEF\xAC\x81";

static inline void require(int condition) {
    if (!condition) abort();
}

/* Encodes in both ways and checks what they promise. */
static inline void encode(const para_tokenizer *t, const char *text, size_t bytes) {
    int32_t *all = NULL, some[16];
    int64_t n = 0;
    int used = 0, dropped = 0;
    para_status whole = para_tokenize_all(t, text, bytes, &all, &n);
    para_status cut = para_tokenize(t, text, bytes, 16, some, &used, &dropped);
    require(whole == cut);
    if (whole != PARA_OK) return;
    require(n >= 1 && used >= 1 && used <= 16 && used + (int64_t)dropped == n);
    require(memcmp(some, all, (size_t)(used - 1) * sizeof *some) == 0 && some[used - 1] == all[n - 1]);
    for (int64_t i = 0; i < n; i++) require(all[i] >= 0);
    para_free(all);
    int32_t *again = NULL; /* with an allocation that fails */
    para_alloc_fail_after(1 + (long)(bytes % 8));
    if (para_tokenize_all(t, text, bytes, &again, &n) == PARA_OK) para_free(again);
    para_alloc_fail_after(0);
}

static inline void parse_files(tokenizer_parser parser, const para_tokenizer_files *files, long fail_at) {
    para_tokenizer *t = NULL;
    para_alloc_fail_after(fail_at);
    para_status status = parser(&t, files);
    para_alloc_fail_after(0);
    require((status == PARA_OK) == (t != NULL));
    if (t && fail_at == 0) encode(t, fixed_text, sizeof fixed_text - 1);
    para_tokenizer_close(&t);
}

/* `base`: the small tokenizer's folder. `whole`: n tokenizers to encode text with. */
static inline void fuzz_tokenizer(tokenizer_parser parser, const para_tokenizer_files *base, int n,
                                  para_tokenizer *const *whole, const uint8_t *data, size_t size) {
    if (size == 0) return;
    const char *rest = (const char *)data + 1;
    const char *letter = data[0] ? strchr(letters, tolower(data[0])) : NULL;
    if (!letter) {
        for (int i = 0; i < n; i++) encode(whole[i], rest, size - 1);
        return;
    }
    para_tokenizer_files files = *base;
    if (isupper(data[0]))
        for (int i = PARA_FILE_TOKENIZER; i < PARA_TOKENIZER_FILES; i++)
            files.file[i].data = NULL, files.file[i].bytes = 0;
    files.file[letter - letters].data = rest;
    files.file[letter - letters].bytes = size - 1;
    parse_files(parser, &files, 0);
    parse_files(parser, &files, 1 + (long)(size % 64));
}

#endif
