/* What families share of prompts: tokenizers and text encoders. SPDX-License-Identifier: Apache-2.0 */
#ifndef PARA_PIPELINE_PROMPT_H
#define PARA_PIPELINE_PROMPT_H

#include "pipeline/pipeline_state.h"
#include "text/tokenizer.h"

/* Opens the tokenizer in the folder `name` of the pipeline, unless *t is open. */
para_status para_prompt_tokenizer(const para_pipeline *pipe, const char *name, para_status (*open_folder)(para_tokenizer **, const char *), para_tokenizer **t);
/* Whether tokenizers are wanted: text encoders are loaded, and their prompts are not random. */
bool para_prompt_needs_tokenizers(const para_pipeline *pipe, int text_encoder);
/* Whether the CLIP text encoder, component i, has places for `length` tokens. */
para_status para_prompt_check_clip(const para_pipeline *pipe, int i, int length);

/* In what follows *t is for the leading rank alone, which may be opening it while others are here. */
/* CLIP's pooled embedding of a prompt padded to `length` tokens (0: as many as the tokenizer says), of component i: [1, hidden_size] of the activations' type. `half` names the half in
 * traces: "", ".negative". A dry run, and random tokens, take as many as the encoder has places for. */
para_status para_prompt_clip(para_run *run, int i, para_tokenizer *const *t, const char *prompt, int length, const char *half, para_tensor *pooled);
/* T5's hidden states of a prompt, padded to the request's max_sequence_length: [length, d_model]. */
para_status para_prompt_t5(para_run *run, int i, para_tokenizer *const *t, const char *prompt, const char *half, para_tensor *hidden);
/* Those of its tokens alone, without padding, which diffusers masks: [tokens, d_model]; of a prompt NULL none. Collective over the ranks that denoise: the
 * leading one knows how many there are. */
para_status para_prompt_t5_valid(para_run *run, int i, para_tokenizer *const *t, const char *prompt, const char *half, para_tensor *hidden);

/* As good as random: ids all over a vocabulary, host [length]. */
void para_prompt_scatter_ids(int64_t vocab_size, int length, int32_t *ids);
/* Warns of a prompt that was cut. */
void para_prompt_warn_cut(const para_run *run, const char *half, const char *encoder, int dropped, int limit);

#endif
