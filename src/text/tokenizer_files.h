/* The files of a tokenizer's folder, in memory. SPDX-License-Identifier: Apache-2.0 */
#ifndef PARA_TEXT_TOKENIZER_FILES_H
#define PARA_TEXT_TOKENIZER_FILES_H

#include <jansson.h>
#include <paraattn/status.h>
#include <stdbool.h>
#include <stddef.h>

typedef enum para_tokenizer_file_name {
    PARA_FILE_TOKENIZER_CONFIG,   /* tokenizer_config.json */
    PARA_FILE_SPECIAL_TOKENS_MAP, /* special_tokens_map.json */
    PARA_FILE_ADDED_TOKENS,       /* added_tokens.json */
    PARA_FILE_TOKENIZER,          /* tokenizer.json */
    PARA_FILE_VOCAB,              /* vocab.json */
    PARA_FILE_MERGES,             /* merges.txt */
    PARA_FILE_SPIECE,             /* spiece.model */
    PARA_TOKENIZER_FILES
} para_tokenizer_file_name;

typedef struct para_tokenizer_files {
    const char *folder; /* for messages */
    struct {
        const char *data; /* [bytes], NULL: the file is not there */
        size_t bytes;
    } file[PARA_TOKENIZER_FILES];
} para_tokenizer_files;

/* "vocab.json" and so on. */
const char *para_tokenizer_file(para_tokenizer_file_name name);

/* Reads those of the files that are there. `folder` must outlive them. PARA_ERR_IO, PARA_ERR_NOT_FOUND (no such folder),
 * PARA_ERR_FORMAT (beyond 256 MiB), PARA_ERR_MEMORY. */
para_status para_tokenizer_files_read(para_tokenizer_files *files, const char *folder);
void para_tokenizer_files_close(para_tokenizer_files *files);

/* Parses a JSON file whose root is an object, whole numbers as reals (a model_max_length of 1e30 is common). *out is NULL
 * where the file is not there; json_decref it. PARA_ERR_FORMAT with line and column. */
para_status para_tokenizer_files_json(const para_tokenizer_files *files, para_tokenizer_file_name name, json_t **out);

#endif
