/* CLIP's tokenizer: NFC, one space for white space, lower case, words, byte-level BPE. As transformers' CLIPTokenizer on the
 * tokenizers library. SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "core/alloc.h"
#include "core/error.h"
#include "text/bpe_vocabulary.h"
#include "text/tokenizer_parts.h"
#include "text/unicode_text.h"
#include "text/word_pattern.h"

typedef struct clip_tokenizer {
    para_bpe_vocabulary vocabulary;
    para_word_pattern *words;
} clip_tokenizer;

static const char word_expression[] = "<\\|startoftext\\|>|<\\|endoftext\\|>|'s|'t|'re|'ve|'m|'ll|'d|"
                                      "[" PARA_WORD_LETTERS "]+|[" PARA_WORD_NUMBERS "]|"
                                      "[^" PARA_WORD_SPACES PARA_WORD_LETTERS PARA_WORD_NUMBERS "]+";

static int32_t clip_find(const void *self, const char *text, size_t bytes) {
    const clip_tokenizer *clip = self;
    return para_trie_find(&clip->vocabulary.words, text, bytes);
}

/* Runs of white space become one space, all else lower case. */
static para_status append_lower(para_bytes *out, const char *text, size_t bytes) {
    bool in_space = false;
    PARA_TRY(para_bytes_reserve(out, bytes));
    for (size_t at = 0; at < bytes;) {
        int32_t c = para_utf8_next(text, bytes, &at), lower[2];
        bool space = para_is_white_space(c);
        if (space && in_space) continue;
        in_space = space;
        int n = para_lower(space ? ' ' : c, lower);
        for (int i = 0; i < n; i++) PARA_TRY(para_utf8_append(out, lower[i]));
    }
    return PARA_OK;
}

static para_status clip_normalize(const void *self, const char *text, size_t bytes, para_bytes *out) {
    (void)self;
    para_bytes composed = {0};
    para_status status = para_append_nfc(&composed, text, bytes);
    if (status == PARA_OK) status = append_lower(out, composed.data, composed.n);
    para_free(composed.data);
    return status;
}

/* A word to ids. The byte-level step splits by GPT-2's expression once more, which cuts only a spelled-out special token: "<|", name, "|>". */
static para_status encode_word(const clip_tokenizer *clip, const char *word, size_t bytes, para_pair_work *work,
                               para_ids *ids) {
    const para_byte_pairs *pairs = &clip->vocabulary.pairs;
    const unsigned char *w = (const unsigned char *)word;
    if (bytes < 5 || memcmp(word, "<|", 2) != 0 || (word[2] != 's' && word[2] != 'e'))
        return para_byte_pairs_encode(pairs, w, bytes, work, ids);
    PARA_TRY(para_byte_pairs_encode(pairs, w, 2, work, ids));
    PARA_TRY(para_byte_pairs_encode(pairs, w + 2, bytes - 4, work, ids));
    return para_byte_pairs_encode(pairs, w + bytes - 2, 2, work, ids);
}

static para_status clip_encode(const void *self, const char *text, size_t bytes, para_ids *ids) {
    const clip_tokenizer *clip = self;
    para_pair_work work = {0};
    para_word_walk walk;
    para_status status = para_word_walk_open(&walk, clip->words, text, bytes);
    for (bool found = true; status == PARA_OK && found;) {
        status = para_word_walk_next(&walk, &found);
        if (status == PARA_OK && found)
            status = encode_word(clip, text + walk.start, walk.stop - walk.start, &work, ids);
    }
    para_word_walk_close(&walk);
    para_pair_work_close(&work);
    return status;
}

static void clip_close(void *self) {
    clip_tokenizer *clip = self;
    para_bpe_vocabulary_close(&clip->vocabulary);
    para_word_pattern_close(&clip->words);
    para_free(clip);
}

static const para_tokenizer_class clip_class = {"CLIPTokenizer", clip_find, clip_normalize, clip_encode, clip_close};

static const char *const clip_tokens[PARA_NAMED_TOKENS] = {[PARA_TOKEN_BOS] = "<|startoftext|>",
                                                           [PARA_TOKEN_EOS] = "<|endoftext|>",
                                                           [PARA_TOKEN_UNK] = "<|endoftext|>",
                                                           [PARA_TOKEN_PAD] = "<|endoftext|>"};

static para_status open_parts(clip_tokenizer *clip, const para_tokenizer_files *files,
                              const para_tokenizer_config *config, const json_t *tokenizer) {
    const para_token_list *unknown = &config->named[PARA_TOKEN_UNK];
    if (!unknown->n)
        return para_fail(PARA_ERR_CONFIG,
                         "%s/tokenizer_config.json: unk_token is null, but CLIPTokenizer needs it; name a token there",
                         files->folder);
    PARA_TRY(para_bpe_vocabulary_open(&clip->vocabulary, files, tokenizer, "</w>"));
    clip->vocabulary.pairs.unknown =
        para_trie_find(&clip->vocabulary.words, unknown->items[0].content, unknown->items[0].bytes);
    return para_word_pattern_open(&clip->words, word_expression);
}

static para_status parse(para_tokenizer **out, const para_tokenizer_files *files, const json_t *tokenizer) {
    para_tokenizer_config config;
    PARA_TRY(para_tokenizer_config_read(&config, files, tokenizer, clip_tokens));
    clip_tokenizer *clip = para_alloc(1, sizeof *clip);
    para_status status = clip ? open_parts(clip, files, &config, tokenizer) : PARA_ERR_MEMORY;
    if (status == PARA_OK)
        status = para_tokenizer_assemble(out, &clip_class, clip, clip->vocabulary.size, &config, files, PARA_TOKEN_BOS,
                                         PARA_TOKEN_EOS);
    else if (clip) clip_close(clip);
    para_tokenizer_config_close(&config);
    return status;
}

para_status para_clip_tokenizer_parse(para_tokenizer **out, const para_tokenizer_files *files) {
    *out = NULL;
    json_t *tokenizer;
    PARA_TRY(para_tokenizer_files_json(files, PARA_FILE_TOKENIZER, &tokenizer));
    para_status status = parse(out, files, tokenizer);
    json_decref(tokenizer);
    return status;
}

para_status para_clip_tokenizer_open(para_tokenizer **out, const char *folder) {
    *out = NULL;
    para_tokenizer_files files;
    PARA_TRY(para_tokenizer_files_read(&files, folder));
    para_status status = para_clip_tokenizer_parse(out, &files);
    para_tokenizer_files_close(&files);
    return status;
}
