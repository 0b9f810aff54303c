/* CLIPTextModel. SPDX-License-Identifier: Apache-2.0 */
#ifndef PARA_TEXT_CLIP_TEXT_H
#define PARA_TEXT_CLIP_TEXT_H

#include "backend/weights.h"
#include "io/config.h"
#include "comm/rank.h"

typedef struct para_clip_text para_clip_text;

/* Reads and checks the config of a CLIPTextModel. */
para_status para_clip_text_open(para_clip_text **out, const para_config *config);
void para_clip_text_close(para_clip_text **m);
/* Declares every weight; the checkpoint (or NULL) tells under which prefix it stores them. */
void para_clip_text_weights(para_clip_text *m, para_weights *list, const para_checkpoint *checkpoint);

/* hidden_size, and the most tokens it takes (max_position_embeddings). */
int64_t para_clip_text_hidden_size(const para_clip_text *m);
int64_t para_clip_text_max_tokens(const para_clip_text *m);
int64_t para_clip_text_vocab_size(const para_clip_text *m);

/* pooler_output of the ids: host ids [n], pooled [1, hidden_size] on the rank's device, F32 or BF16: the type computed in.
 * Ids outside the vocabulary: PARA_ERR_CONFIG. */
para_status para_clip_text_encode(para_clip_text *m, para_rank *rank, const int32_t *ids, int n, para_tensor pooled);

#endif
