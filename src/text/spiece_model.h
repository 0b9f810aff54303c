/* spiece.model: sentencepiece's ModelProto, the parts that a tokenizer needs. SPDX-License-Identifier: Apache-2.0 */
#ifndef PARA_TEXT_SPIECE_MODEL_H
#define PARA_TEXT_SPIECE_MODEL_H

#include <paraattn/status.h>
#include <stddef.h>
#include <stdint.h>

/* ModelProto.SentencePiece.Type */
typedef enum para_spiece_type {
    PARA_SPIECE_NORMAL = 1,
    PARA_SPIECE_UNKNOWN = 2,
    PARA_SPIECE_CONTROL = 3,
    PARA_SPIECE_USER_DEFINED = 4,
    PARA_SPIECE_UNUSED = 5,
    PARA_SPIECE_BYTE = 6
} para_spiece_type;

typedef struct para_spiece {
    const char *text; /* [bytes] of UTF-8, inside the file's data */
    size_t bytes;
    float score;
    para_spiece_type type;
} para_spiece;

typedef struct para_spiece_model {
    para_spiece *pieces; /* [count], para_free */
    size_t count, capacity;
    int model_type;       /* TrainerSpec.ModelType: 1 unigram, 2 bpe, 3 word, 4 char */
    const char *charsmap; /* [charsmap_bytes], inside the file's data; NULL: none */
    size_t charsmap_bytes;
} para_spiece_model;

/* Reads the protobuf message `data`, which must outlive the model; `path` for messages. PARA_ERR_FORMAT with the byte where
 * it goes wrong, PARA_ERR_MEMORY; nothing to free on failure. */
para_status para_spiece_model_read(para_spiece_model *m, const char *data, size_t bytes, const char *path);

#endif
