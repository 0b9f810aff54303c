/* T5EncoderModel. SPDX-License-Identifier: Apache-2.0 */
#ifndef PARA_TEXT_T5_ENCODER_H
#define PARA_TEXT_T5_ENCODER_H

#include "backend/weights.h"
#include "io/config.h"
#include "comm/rank.h"

typedef struct para_t5_encoder para_t5_encoder;

/* Reads and checks the config of a T5EncoderModel (T5 and T5 v1.1). */
para_status para_t5_encoder_open(para_t5_encoder **out, const para_config *config);
void para_t5_encoder_close(para_t5_encoder **m);
/* Declares every weight; the checkpoint (or NULL) tells under which name it stores the token embedding. */
void para_t5_encoder_weights(para_t5_encoder *m, para_weights *list, const para_checkpoint *checkpoint);

/* d_model: width of the output. */
int64_t para_t5_encoder_hidden_size(const para_t5_encoder *m);
int64_t para_t5_encoder_vocab_size(const para_t5_encoder *m);

/* last_hidden_state of the ids, all attended: host ids [n], out [n, d_model] on the rank's device, F32 or BF16: the type computed in. */
para_status para_t5_encoder_encode(para_t5_encoder *m, para_rank *rank, const int32_t *ids, int n, para_tensor out);

#endif
