/* T5's vocabulary from either of its two files. SPDX-License-Identifier: Apache-2.0 */
#include "text/t5_vocabulary.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "core/alloc.h"
#include "core/error.h"
#include "text/spiece_model.h"

enum { UNKNOWN_ID = 2, PATH_MAX_SHOWN = 512 }; /* transformers' T5Tokenizer takes 2, whatever the file says */

static para_status open_model(para_t5_vocabulary *v, const para_unigram_piece *pieces, size_t count, const char *path) {
    if (count <= UNKNOWN_ID)
        return para_fail(PARA_ERR_FORMAT, "%s has %zu pieces; T5 needs <pad>, </s> and <unk> at least", path, count);
    return para_unigram_open(&v->model, pieces, count, UNKNOWN_ID);
}

static para_status read_json_pieces(para_t5_vocabulary *v, const json_t *array, const char *path) {
    if (!json_is_array(array))
        return para_fail(PARA_ERR_FORMAT, "%s: model.vocab is not a list of pieces with scores", path);
    size_t count = json_array_size(array);
    para_unigram_piece *pieces = para_alloc(count, sizeof *pieces);
    if (!pieces) return PARA_ERR_MEMORY;
    para_status status = PARA_OK;
    for (size_t i = 0; status == PARA_OK && i < count; i++) {
        const json_t *pair = json_array_get(array, i), *text = json_array_get(pair, 0),
                     *score = json_array_get(pair, 1);
        if (json_array_size(pair) == 2 && json_is_string(text) && json_is_number(score))
            pieces[i] =
                (para_unigram_piece){json_string_value(text), json_string_length(text), json_number_value(score)};
        else status = para_fail(PARA_ERR_FORMAT, "%s: entry %zu of model.vocab is not a string with a score", path, i);
    }
    if (status == PARA_OK) status = open_model(v, pieces, count, path);
    para_free(pieces);
    return status;
}

/* The first normalizer of type Precompiled, alone or in a sequence; transformers' T5Tokenizer leaves out all others. */
static para_status read_json_charsmap(para_t5_vocabulary *v, const json_t *normalizer, const char *path) {
    const json_t *list = json_object_get(normalizer, "normalizers");
    size_t count = list ? json_array_size(list) : 1;
    for (size_t i = 0; i < count; i++) {
        const json_t *one = list ? json_array_get(list, i) : normalizer;
        const json_t *type = json_object_get(one, "type"), *map = json_object_get(one, "precompiled_charsmap");
        if (!map || !json_is_string(type) || strcmp(json_string_value(type), "Precompiled") != 0) continue;
        if (!json_is_string(map)) return para_fail(PARA_ERR_FORMAT, "%s: precompiled_charsmap is not a string", path);
        return para_charsmap_open_base64(&v->charsmap, json_string_value(map), json_string_length(map), path);
    }
    return PARA_OK;
}

static para_status open_json(para_t5_vocabulary *v, const json_t *tokenizer, const char *path) {
    const json_t *model = json_object_get(tokenizer, "model"), *type = json_object_get(model, "type");
    if (type && (!json_is_string(type) || strcmp(json_string_value(type), "Unigram") != 0))
        return para_fail(PARA_ERR_CONFIG, "%s: the model is not Unigram, as T5's must be", path);
    PARA_TRY(read_json_charsmap(v, json_object_get(tokenizer, "normalizer"), path));
    return read_json_pieces(v, json_object_get(model, "vocab"), path);
}

/* "<extra_id_N>" */
typedef struct sentinel {
    char text[32];
} sentinel;

static sentinel sentinel_name(int number) {
    sentinel s;
    snprintf(s.text, sizeof s.text, "<extra_id_%d>", number);
    return s;
}

/* Pieces of the file, then the sentinels from the highest down. */
static para_status open_pieces(para_t5_vocabulary *v, const para_spiece_model *m, int extra_ids, const char *path) {
    size_t count = m->count + (size_t)extra_ids;
    para_unigram_piece *pieces = para_alloc(count, sizeof *pieces);
    sentinel *names = para_alloc((size_t)extra_ids, sizeof *names);
    para_status status = pieces && names ? PARA_OK : PARA_ERR_MEMORY;
    if (status == PARA_OK) {
        for (size_t i = 0; i < m->count; i++)
            pieces[i] = (para_unigram_piece){m->pieces[i].text, m->pieces[i].bytes, m->pieces[i].score};
        for (int i = 0; i < extra_ids; i++) {
            names[i] = sentinel_name(extra_ids - 1 - i);
            pieces[m->count + (size_t)i] = (para_unigram_piece){names[i].text, strlen(names[i].text), 0.0};
        }
        status = open_model(v, pieces, count, path);
    }
    para_free(names);
    para_free(pieces);
    return status;
}

static para_status take_special_pieces(const para_spiece_model *m, para_tokenizer_config *config) {
    para_token_list_close(&config->additional);
    config->has_additional = true;
    for (size_t i = 0; i < m->count; i++) {
        const para_spiece *piece = &m->pieces[i];
        if (piece->type != PARA_SPIECE_CONTROL && piece->type != PARA_SPIECE_USER_DEFINED) continue;
        para_added_token token = {.content = (char *)(uintptr_t)piece->text,
                                  .bytes = piece->bytes,
                                  .special = piece->type == PARA_SPIECE_CONTROL};
        PARA_TRY(para_token_list_append(&config->additional, &token));
    }
    return PARA_OK;
}

static para_status open_spiece(para_t5_vocabulary *v, const para_tokenizer_files *files, para_tokenizer_config *config,
                               const char *path) {
    para_spiece_model m;
    PARA_TRY(para_spiece_model_read(&m, files->file[PARA_FILE_SPIECE].data, files->file[PARA_FILE_SPIECE].bytes, path));
    para_status status = PARA_OK;
    if (m.model_type != 1)
        status = para_fail(PARA_ERR_CONFIG, "%s holds a BPE, word or character model; T5 takes a unigram model", path);
    if (status == PARA_OK && m.charsmap) status = para_charsmap_open(&v->charsmap, m.charsmap, m.charsmap_bytes, path);
    if (status == PARA_OK) status = open_pieces(v, &m, config->extra_ids, path);
    if (status == PARA_OK) status = take_special_pieces(&m, config);
    para_free(m.pieces);
    return status;
}

/* The sentinels belong to the additional tokens, whether the list names them or not. */
static para_status complete_sentinels(para_tokenizer_config *config, const para_tokenizer_files *files) {
    int named = 0;
    for (size_t i = 0; i < config->additional.n; i++) {
        const para_added_token *token = &config->additional.items[i];
        named += memmem(token->content, token->bytes, "<extra_id_", 10) != NULL;
    }
    if (named && config->extra_ids > 0 && named != config->extra_ids)
        return para_fail(PARA_ERR_CONFIG,
                         "%s: extra_ids is %d, but additional_special_tokens name %d sentinels; make them agree",
                         files->folder, config->extra_ids, named);
    for (int i = 0; !named && i < config->extra_ids; i++) {
        sentinel name = sentinel_name(i);
        para_added_token token = {
            .content = name.text, .bytes = strlen(name.text), .special = true, .plain_string = true};
        PARA_TRY(para_token_list_append(&config->additional, &token));
    }
    config->has_additional = true;
    return PARA_OK;
}

para_status para_t5_vocabulary_open(para_t5_vocabulary *v, const para_tokenizer_files *files, const json_t *tokenizer,
                                    para_tokenizer_config *config) {
    char path[PATH_MAX_SHOWN];
    snprintf(path, sizeof path, "%s/%s", files->folder,
             para_tokenizer_file(tokenizer ? PARA_FILE_TOKENIZER : PARA_FILE_SPIECE));
    if (tokenizer) PARA_TRY(open_json(v, tokenizer, path));
    else if (files->file[PARA_FILE_SPIECE].data) PARA_TRY(open_spiece(v, files, config, path));
    else
        return para_fail(PARA_ERR_NOT_FOUND, "%s has neither tokenizer.json nor spiece.model; download one",
                         files->folder);
    return complete_sentinels(config, files);
}

void para_t5_vocabulary_close(para_t5_vocabulary *v) {
    para_unigram_close(&v->model);
    para_charsmap_close(&v->charsmap);
}
