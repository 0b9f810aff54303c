/* T5's tokenizer: character map, words with U+2581 before each, unigram model. As transformers' T5Tokenizer on the tokenizers
 * library, which takes no notice of the flags (prefix, white space, byte fallback) in spiece.model either.
 * SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "core/alloc.h"
#include "core/error.h"
#include "text/t5_vocabulary.h"
#include "text/tokenizer_parts.h"
#include "text/unicode_text.h"

static const char meta[] = "\xE2\x96\x81"; /* U+2581, which stands for a space */
enum { META_BYTES = 3 };

static int32_t t5_find(const void *self, const char *text, size_t bytes) {
    const para_t5_vocabulary *v = self;
    return para_trie_find(&v->model.pieces, text, bytes);
}

static para_status t5_normalize(const void *self, const char *text, size_t bytes, para_bytes *out) {
    const para_t5_vocabulary *v = self;
    return para_charsmap_apply(&v->charsmap, text, bytes, out);
}

static bool starts_with_meta(const char *text, size_t bytes) {
    return bytes >= META_BYTES && memcmp(text, meta, META_BYTES) == 0;
}

/* A word without white space: U+2581 goes before it, and each U+2581 in it starts another word. */
static para_status encode_word(const para_t5_vocabulary *v, const char *text, size_t bytes, para_bytes *word,
                               para_unigram_work *work, para_ids *ids) {
    word->n = 0;
    if (!starts_with_meta(text, bytes)) PARA_TRY(para_bytes_append(word, meta, META_BYTES));
    PARA_TRY(para_bytes_append(word, text, bytes));
    for (size_t start = 0; start < word->n;) {
        const char *rest = word->data + start + META_BYTES;
        const char *next = memmem(rest, word->n - start - META_BYTES, meta, META_BYTES);
        size_t stop = next ? (size_t)(next - word->data) : word->n;
        PARA_TRY(para_unigram_encode(&v->model, word->data + start, stop - start, work, ids));
        start = stop;
    }
    return PARA_OK;
}

static para_status t5_encode(const void *self, const char *text, size_t bytes, para_ids *ids) {
    para_bytes word = {0};
    para_unigram_work work = {0};
    para_status status = PARA_OK;
    size_t start = 0, at = 0;
    while (status == PARA_OK && at < bytes) {
        size_t next = at;
        if (para_is_white_space(para_utf8_next(text, bytes, &next))) {
            if (start < at) status = encode_word(self, text + start, at - start, &word, &work, ids);
            start = next;
        }
        at = next;
    }
    if (status == PARA_OK && start < bytes) status = encode_word(self, text + start, bytes - start, &word, &work, ids);
    para_free(word.data);
    para_free(work.nodes);
    return status;
}

static void t5_close(void *self) {
    para_t5_vocabulary_close(self);
    para_free(self);
}

static const para_tokenizer_class t5_class = {"T5Tokenizer", t5_find, t5_normalize, t5_encode, t5_close};

static const char *const t5_tokens[PARA_NAMED_TOKENS] = {
    [PARA_TOKEN_EOS] = "</s>", [PARA_TOKEN_UNK] = "<unk>", [PARA_TOKEN_PAD] = "<pad>"};

static para_status parse(para_tokenizer **out, const para_tokenizer_files *files, const json_t *tokenizer) {
    para_tokenizer_config config;
    PARA_TRY(para_tokenizer_config_read(&config, files, tokenizer, t5_tokens));
    para_t5_vocabulary *v = para_alloc(1, sizeof *v);
    para_status status = v ? para_t5_vocabulary_open(v, files, tokenizer, &config) : PARA_ERR_MEMORY;
    if (status == PARA_OK)
        status = para_tokenizer_assemble(out, &t5_class, v, v->model.size, &config, files, PARA_NAMED_TOKENS,
                                         PARA_TOKEN_EOS);
    else if (v) t5_close(v);
    para_tokenizer_config_close(&config);
    return status;
}

para_status para_t5_tokenizer_parse(para_tokenizer **out, const para_tokenizer_files *files) {
    *out = NULL;
    json_t *tokenizer;
    PARA_TRY(para_tokenizer_files_json(files, PARA_FILE_TOKENIZER, &tokenizer));
    para_status status = parse(out, files, tokenizer);
    json_decref(tokenizer);
    return status;
}

para_status para_t5_tokenizer_open(para_tokenizer **out, const char *folder) {
    *out = NULL;
    para_tokenizer_files files;
    PARA_TRY(para_tokenizer_files_read(&files, folder));
    para_status status = para_t5_tokenizer_parse(out, &files);
    para_tokenizer_files_close(&files);
    return status;
}
