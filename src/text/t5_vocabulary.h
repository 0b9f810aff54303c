/* T5's pieces and character map from tokenizer.json or spiece.model. SPDX-License-Identifier: Apache-2.0 */
#ifndef PARA_TEXT_T5_VOCABULARY_H
#define PARA_TEXT_T5_VOCABULARY_H

#include "text/charsmap.h"
#include "text/tokenizer_config.h"
#include "text/unigram.h"

typedef struct para_t5_vocabulary {
    para_unigram model;
    para_charsmap charsmap;
} para_t5_vocabulary;

/* `tokenizer` is tokenizer.json or NULL; then spiece.model is read, whose control and user-defined pieces become the config's
 * additional tokens, and config->extra_ids sentinels follow its pieces. PARA_ERR_NOT_FOUND, PARA_ERR_FORMAT, PARA_ERR_CONFIG
 * (no unigram model), PARA_ERR_MEMORY. Close always. */
para_status para_t5_vocabulary_open(para_t5_vocabulary *v, const para_tokenizer_files *files, const json_t *tokenizer,
                                    para_tokenizer_config *config);
void para_t5_vocabulary_close(para_t5_vocabulary *v);

#endif
