/* HunyuanVideo's prompt as Llama reads it: inside a template that asks for a description of the video, whose part before the prompt is cropped.
 * Source: HunyuanVideoPipeline._get_llama_prompt_embeds. SPDX-License-Identifier: Apache-2.0 */
#ifndef PARA_TEXT_HUNYUAN_PROMPT_H
#define PARA_TEXT_HUNYUAN_PROMPT_H

#include "text/tokenizer.h"

/* Of its text encoder, hidden_states[-3] is taken. */
enum { PARA_HUNYUAN_LAYERS_TO_SKIP = 2 };

typedef struct para_prompt_template {
    const char *text; /* with one {} for the prompt; {{ and }} are braces */
    int crop_start;   /* tokens at the front that are dropped after encoding; -1: all before the {}, as diffusers counts them */
} para_prompt_template;

/* DEFAULT_PROMPT_TEMPLATE. */
extern const para_prompt_template para_hunyuan_template;

typedef struct para_prompt_tokens {
    int32_t *ids;   /* [used], no padding: it is behind the text, where a causal model's text does not see it. para_free */
    int used;       /* tokens to encode */
    int crop_start; /* of which the first so many are dropped: used - crop_start go to the transformer, at least 1 */
    int dropped;    /* tokens of the prompt that truncation cut */
} para_prompt_tokens;

/* The ids of a prompt in a template, at most max_sequence_length of them behind the crop. PARA_ERR_ARGUMENT: a template without exactly one {},
 * nothing left behind the crop, text that is not UTF-8. PARA_ERR_MEMORY. */
para_status para_hunyuan_tokenize(const para_tokenizer *t, const para_prompt_template *template, const char *prompt,
                                  int max_sequence_length, para_prompt_tokens *out);

#endif
