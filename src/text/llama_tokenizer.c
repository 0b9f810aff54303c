/* Llama 3's tokenizer: words by its regular expression, byte-level BPE. As transformers' PreTrainedTokenizerFast on the tokenizers library.
 * SPDX-License-Identifier: Apache-2.0 */
#include "core/alloc.h"
#include "core/error.h"
#include "text/bpe_vocabulary.h"
#include "text/llama_rules.h"
#include "text/tokenizer_parts.h"
#include "text/word_pattern.h"

typedef struct llama_tokenizer {
    para_bpe_vocabulary vocabulary;
    para_word_pattern *words;
    para_llama_rules rules;
} llama_tokenizer;

static int32_t llama_find(const void *self, const char *text, size_t bytes) {
    const llama_tokenizer *llama = self;
    return para_trie_find(&llama->vocabulary.words, text, bytes);
}

static para_status llama_normalize(const void *self, const char *text, size_t bytes, para_bytes *out) {
    (void)self;
    return para_bytes_append(out, text, bytes);
}

static para_status encode_word(const llama_tokenizer *llama, const char *word, size_t bytes, para_pair_work *work,
                               para_ids *ids) {
    int32_t whole = llama->rules.ignore_merges ? para_bpe_vocabulary_find_word(&llama->vocabulary, word, bytes) : -1;
    if (whole >= 0) return para_ids_append(ids, whole);
    return para_byte_pairs_encode(&llama->vocabulary.pairs, (const unsigned char *)word, bytes, work, ids);
}

static para_status llama_encode(const void *self, const char *text, size_t bytes, para_ids *ids) {
    const llama_tokenizer *llama = self;
    para_pair_work work = {0};
    para_word_walk walk;
    para_status status = para_word_walk_open(&walk, llama->words, text, bytes);
    for (bool found = true; status == PARA_OK && found;) {
        status = para_word_walk_next(&walk, &found);
        if (status == PARA_OK && found)
            status = encode_word(llama, text + walk.start, walk.stop - walk.start, &work, ids);
    }
    para_word_walk_close(&walk);
    para_pair_work_close(&work);
    return status;
}

static void llama_close(void *self) {
    llama_tokenizer *llama = self;
    para_bpe_vocabulary_close(&llama->vocabulary);
    para_word_pattern_close(&llama->words);
    para_free(llama);
}

static const para_tokenizer_class llama_class = {"PreTrainedTokenizerFast", llama_find, llama_normalize, llama_encode,
                                                 llama_close};

/* With all of them no text meets an unknown token, whatever unk_token, fuse_unk and byte_fallback say. */
static para_status check_bytes(const llama_tokenizer *llama, const para_tokenizer_files *files) {
    for (int byte = 0; byte < 0xF5; byte++) /* UTF-8 has neither C0, C1 nor F5 to FF */
        if (llama->vocabulary.pairs.inner[byte] < 0 && byte != 0xC0 && byte != 0xC1)
            return para_fail(PARA_ERR_CONFIG,
                             "%s/tokenizer.json: the vocabulary has no entry for the byte 0x%02X; a byte-level one has "
                             "an entry for each",
                             files->folder, (unsigned)byte);
    return PARA_OK;
}

static para_status open_parts(llama_tokenizer *llama, const para_tokenizer_files *files, const json_t *tokenizer) {
    PARA_TRY(para_llama_rules_read(&llama->rules, files, tokenizer));
    PARA_TRY(para_bpe_vocabulary_open(&llama->vocabulary, files, tokenizer, ""));
    PARA_TRY(check_bytes(llama, files));
    return para_word_pattern_open(&llama->words, para_llama_words);
}

/* Ids follow from the order of the added tokens; a file that says otherwise would be read in two ways. */
static para_status check_ids(const para_tokenizer *t, const para_tokenizer_config *config,
                             const para_tokenizer_files *files) {
    for (size_t i = 0; i < config->decoder.n; i++) {
        const para_added_token *listed = &config->decoder.items[i];
        size_t at = para_token_list_find(&t->added.tokens, listed->content, listed->bytes);
        if (at < t->added.tokens.n && t->added.tokens.items[at].id != listed->id)
            return para_fail(PARA_ERR_CONFIG,
                             "%s: the added token \"%.60s\" has the id %d in the file, but %d by its place; list added "
                             "tokens in the order of their ids, behind the vocabulary",
                             files->folder, listed->content, (int)listed->id, (int)t->added.tokens.items[at].id);
    }
    return PARA_OK;
}

/* LlamaTokenizerFast pads on the left unless it is told otherwise, PreTrainedTokenizerFast on the right. */
static para_status check_side(const para_tokenizer_config *config, const para_tokenizer_files *files) {
    if (config->says_padding_side) return PARA_OK;
    return para_fail(PARA_ERR_CONFIG,
                     "%s/tokenizer_config.json: padding_side is missing, which classes of transformers take in two "
                     "ways; set it to \"right\", the only side that is supported",
                     files->folder);
}

static para_status parse(para_tokenizer **out, const para_tokenizer_files *files, const json_t *tokenizer) {
    static const char *const no_defaults[PARA_NAMED_TOKENS];
    para_tokenizer_config config;
    PARA_TRY(para_tokenizer_config_read(&config, files, tokenizer, no_defaults));
    llama_tokenizer *llama = NULL;
    para_status status = check_side(&config, files);
    if (status == PARA_OK) status = para_tokenizer_config_add_listed(&config, files, tokenizer);
    if (status == PARA_OK && !(llama = para_alloc(1, sizeof *llama))) status = PARA_ERR_MEMORY;
    if (status == PARA_OK) status = open_parts(llama, files, tokenizer);
    if (status == PARA_OK) {
        status = para_tokenizer_assemble(out, &llama_class, llama, llama->vocabulary.size, &config, files,
                                         PARA_NAMED_TOKENS, PARA_NAMED_TOKENS);
        if (status == PARA_OK) {
            (*out)->first_id = llama->rules.first_id;
            (*out)->last_id = llama->rules.last_id;
            status = check_ids(*out, &config, files);
        }
        if (status != PARA_OK) para_tokenizer_close(out);
    } else if (llama) {
        llama_close(llama);
    }
    para_tokenizer_config_close(&config);
    return status;
}

para_status para_llama_tokenizer_parse(para_tokenizer **out, const para_tokenizer_files *files) {
    *out = NULL;
    json_t *tokenizer;
    PARA_TRY(para_tokenizer_files_json(files, PARA_FILE_TOKENIZER, &tokenizer));
    if (!tokenizer) return para_fail(PARA_ERR_NOT_FOUND, "%s has no tokenizer.json; download it", files->folder);
    para_status status = parse(out, files, tokenizer);
    json_decref(tokenizer);
    return status;
}

para_status para_llama_tokenizer_open(para_tokenizer **out, const char *folder) {
    *out = NULL;
    para_tokenizer_files files;
    PARA_TRY(para_tokenizer_files_read(&files, folder));
    para_status status = para_llama_tokenizer_parse(out, &files);
    para_tokenizer_files_close(&files);
    return status;
}
