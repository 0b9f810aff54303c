/* LlamaModel as a text encoder. SPDX-License-Identifier: Apache-2.0 */
#ifndef PARA_TEXT_LLAMA_MODEL_H
#define PARA_TEXT_LLAMA_MODEL_H

#include "backend/weights.h"
#include "comm/rank.h"
#include "io/config.h"

typedef struct para_llama_model para_llama_model;

/* Reads and checks the config of a LlamaModel of which hidden_states[-(num_hidden_layers_to_skip + 1)] is wanted: the last layers are neither
 * loaded nor computed. 0 wants them all, and the norm behind them. PARA_ERR_CONFIG, PARA_ERR_MEMORY. */
para_status para_llama_model_open(para_llama_model **out, const para_config *config, int num_hidden_layers_to_skip);
void para_llama_model_close(para_llama_model **m);
/* Declares the weights that are needed; the checkpoint (or NULL) tells under which prefix it stores them. */
void para_llama_model_weights(para_llama_model *m, para_weights *list, const para_checkpoint *checkpoint);

/* hidden_size: width of the output. */
int64_t para_llama_model_hidden_size(const para_llama_model *m);
/* Ids are below this. */
int64_t para_llama_model_vocab_size(const para_llama_model *m);

/* That hidden state of the ids, at the tokens from `first` on: host ids [n], out [n - first, hidden_size] on the rank's device, F32 or BF16: the
 * type computed in. A token attends to those before it, so that padding behind a text would change nothing. Ids outside the vocabulary:
 * PARA_ERR_CONFIG. */
para_status para_llama_model_encode(para_llama_model *m, para_rank *rank, const int32_t *ids, int n, int first,
                                    para_tensor out);

#endif
