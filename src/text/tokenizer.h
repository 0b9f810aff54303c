/* Tokenizers: text to ids, as transformers' CLIPTokenizer, T5TokenizerFast and PreTrainedTokenizerFast of Llama 3. SPDX-License-Identifier: Apache-2.0 */
#ifndef PARA_TEXT_TOKENIZER_H
#define PARA_TEXT_TOKENIZER_H

#include <paraattn/status.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Immutable after open: any number of threads may encode with one. */
typedef struct para_tokenizer para_tokenizer;

/* CLIP: folder with vocab.json, merges.txt, tokenizer_config.json, special_tokens_map.json. */
para_status para_clip_tokenizer_open(para_tokenizer **out, const char *folder);
/* T5: folder with tokenizer.json (preferred) or spiece.model, and tokenizer_config.json. */
para_status para_t5_tokenizer_open(para_tokenizer **out, const char *folder);
/* Llama 3: folder with tokenizer.json and tokenizer_config.json. As PreTrainedTokenizerFast, and as LlamaTokenizerFast before transformers 5
 * (which takes Llama 2's rules whatever the file says); what the files ask for beyond that is refused. */
para_status para_llama_tokenizer_open(para_tokenizer **out, const char *folder);
void para_tokenizer_close(para_tokenizer **t);

/* model_max_length of the tokenizer's config (77 for CLIP, 512 for T5); INT_MAX: no limit. */
int para_tokenizer_max_length(const para_tokenizer *t);

/* Encodes UTF-8 text with special tokens, as tokenizer(text, padding="max_length", max_length=length, truncation=True):
 * ids[0..length), padded with the pad id; *used = tokens before padding; *dropped = tokens that truncation cut (0: none).
 * Invalid UTF-8: PARA_ERR_ARGUMENT. PARA_ERR_MEMORY. */
para_status para_tokenize(const para_tokenizer *t, const char *text, size_t bytes, int length, int32_t *ids, int *used, int *dropped);
/* All ids without truncation and padding, with special tokens; *ids is the caller's, para_free. */
para_status para_tokenize_all(const para_tokenizer *t, const char *text, size_t bytes, int32_t **ids, int64_t *n);

#endif
