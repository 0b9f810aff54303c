/* Prompts: tokenizers and text encoders. SPDX-License-Identifier: Apache-2.0 */
#include "pipeline/prompt.h"

#include <string.h>

#include "core/alloc.h"
#include "core/error.h"
#include "core/path.h"
#include "text/clip_text.h"
#include "text/t5_encoder.h"

para_status para_prompt_tokenizer(const para_pipeline *pipe, const char *name,
                                  para_status (*open_folder)(para_tokenizer **, const char *), para_tokenizer **t) {
    if (*t) return PARA_OK;
    char *folder = para_path_join(pipe->folder, name, "");
    if (!folder) return PARA_ERR_MEMORY;
    para_status status = open_folder(t, folder);
    para_free(folder);
    return status;
}

bool para_prompt_needs_tokenizers(const para_pipeline *pipe, int text_encoder) {
    return pipe->holder->instance[text_encoder].weights && !pipe->options.random_weights;
}

para_status para_prompt_check_clip(const para_pipeline *pipe, int i, int length) {
    const para_clip_text *m = pipe->holder->instance[i].model;
    if (!m || length <= para_clip_text_max_tokens(m)) return PARA_OK;
    return para_fail(PARA_ERR_CONFIG,
                     "%s: max_position_embeddings %lld is less than the %d tokens that the tokenizer pads a prompt to",
                     pipe->component[i].config.path, (long long)para_clip_text_max_tokens(m), length);
}

void para_prompt_scatter_ids(int64_t vocab_size, int length, int32_t *ids) {
    for (int i = 0; i < length; i++) ids[i] = (int32_t)(((int64_t)i + 1) * 7919 % vocab_size);
}

void para_prompt_warn_cut(const para_run *run, const char *half, const char *encoder, int dropped, int limit) {
    if (dropped > 0)
        para_world_log(run->pipe->world, PARA_LOG_WARNING,
                       "the %sprompt is too long for the %s text encoder: its last %d tokens were cut (limit %d)",
                       *half ? "negative " : "", encoder, dropped, limit);
}

/* Ids of a prompt for one text encoder, host [length]; a dry run takes `length` tokens whatever the prompt. */
static para_status tokenize(const para_run *run, const para_tokenizer *t, const char *prompt, int length,
                            const char *half, const char *encoder, int32_t *ids) {
    if (run->dry) return PARA_OK;
    int used, dropped;
    PARA_TRY(para_tokenize(t, prompt, strlen(prompt), length, ids, &used, &dropped));
    para_prompt_warn_cut(run, half, encoder, dropped, length);
    return PARA_OK;
}

para_status para_prompt_clip(para_run *run, int i, para_tokenizer *const *t, const char *prompt, int length,
                             const char *half, para_tensor *pooled) {
    para_clip_text *m = run->instance[i].model;
    bool random = run->pipe->options.random_weights;
    if (run->dry || random) length = (int)para_clip_text_max_tokens(m);
    PARA_TRY(PARA_NEW(run->rank->device, pooled, run->pipe->options.dtype, 1, para_clip_text_hidden_size(m)));
    if (!para_run_leads(run)) return PARA_OK;
    if (length == 0) length = para_tokenizer_max_length(*t);
    int32_t *ids = para_alloc((size_t)length, sizeof *ids);
    if (!ids) return PARA_ERR_MEMORY;
    para_status status = PARA_OK;
    if (random) para_prompt_scatter_ids(para_clip_text_vocab_size(m), length, ids);
    else status = tokenize(run, *t, prompt, length, half, "CLIP", ids);
    if (status == PARA_OK) status = para_clip_text_encode(m, run->rank, ids, length, *pooled);
    para_free(ids);
    PARA_TRY(status);
    PARA_TRY(para_run_check_finite(run, *pooled, "the CLIP text encoder"));
    return para_trace_stage(run->rank->device, pooled, "text.clip%s", half);
}

para_status para_prompt_t5(para_run *run, int i, para_tokenizer *const *t, const char *prompt, const char *half,
                           para_tensor *hidden) {
    para_t5_encoder *m = run->instance[i].model;
    int length = run->request->max_sequence_length;
    PARA_TRY(PARA_NEW(run->rank->device, hidden, run->pipe->options.dtype, length, para_t5_encoder_hidden_size(m)));
    if (!para_run_leads(run)) return PARA_OK;
    int32_t *ids = para_alloc((size_t)length, sizeof *ids);
    if (!ids) return PARA_ERR_MEMORY;
    para_status status = PARA_OK;
    if (run->pipe->options.random_weights) para_prompt_scatter_ids(para_t5_encoder_vocab_size(m), length, ids);
    else status = tokenize(run, *t, prompt, length, half, "T5", ids);
    if (status == PARA_OK) status = para_t5_encoder_encode(m, run->rank, ids, length, *hidden);
    para_free(ids);
    PARA_TRY(status);
    PARA_TRY(para_run_check_finite(run, *hidden, "the T5 text encoder"));
    return para_trace_stage(run->rank->device, hidden, "text.t5%s", half);
}

/* Ids of the leading rank, host [*length] of the caller's para_free; a dry run, and random tokens, are as long as may be. */
static para_status valid_ids(const para_run *run, const para_t5_encoder *m, const para_tokenizer *t, const char *prompt,
                             const char *half, int32_t **ids, int *length) {
    int used, dropped, most = run->request->max_sequence_length;
    *length = most;
    if (!(*ids = para_alloc((size_t)most, sizeof **ids))) return PARA_ERR_MEMORY;
    if (run->pipe->options.random_weights) para_prompt_scatter_ids(para_t5_encoder_vocab_size(m), most, *ids);
    if (run->dry || run->pipe->options.random_weights) return PARA_OK;
    PARA_TRY(para_tokenize(t, prompt, strlen(prompt), most, *ids, &used, &dropped));
    para_prompt_warn_cut(run, half, "T5", dropped, most);
    *length = used;
    return PARA_OK;
}

static para_status encode_valid(para_run *run, para_t5_encoder *m, const int32_t *ids, const char *half,
                                para_tensor hidden) {
    PARA_TRY(para_t5_encoder_encode(m, run->rank, ids, (int)hidden.dim[0], hidden));
    PARA_TRY(para_run_check_finite(run, hidden, "the T5 text encoder"));
    return para_trace_stage(run->rank->device, &hidden, "text.t5%s", half);
}

para_status para_prompt_t5_valid(para_run *run, int i, para_tokenizer *const *t, const char *prompt, const char *half,
                                 para_tensor *hidden) {
    para_t5_encoder *m = run->instance[i].model;
    int32_t *ids = NULL;
    int length = prompt ? run->request->max_sequence_length : 0;
    para_status status = PARA_OK;
    if (prompt && para_run_leads(run)) status = valid_ids(run, m, *t, prompt, half, &ids, &length);
    if (status == PARA_OK) status = para_run_share_length(run, &length);
    if (status == PARA_OK)
        status = PARA_NEW(run->rank->device, hidden, run->pipe->options.dtype, length, para_t5_encoder_hidden_size(m));
    if (status == PARA_OK && para_run_leads(run) && length > 0) status = encode_valid(run, m, ids, half, *hidden);
    para_free(ids);
    return status;
}
