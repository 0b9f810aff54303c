/* What the text encoders share. SPDX-License-Identifier: Apache-2.0 */
#ifndef PARA_TEXT_TEXT_OPS_H
#define PARA_TEXT_TEXT_OPS_H

#include "backend/backend.h"

/* y[i] = table[ids[i]]: table [vocab, D] any float type, host ids [n], y [n, D]. Ids outside the table: PARA_ERR_CONFIG. */
para_status para_embed_tokens(para_device *dev, para_tensor table, const int32_t *ids, int n, para_tensor y);

/* Self attention of one text: q, out [n, heads · D]; k, v [n, key heads · D], each for as many query heads; mask [1, heads, n, n] F32 added, or none. */
para_status para_self_attention(para_device *dev, para_tensor q, para_tensor k, para_tensor v, int64_t heads, float scale, bool causal,
                                para_tensor mask, para_tensor out);

/* mean [1, D] F32 of text's rows [n, D]; of no row: zeros. */
para_status para_mean_of_tokens(para_device *dev, para_tensor text, para_tensor mean);

/* y = down · (activation(gate · x) · (up · x)), each with its bias: x, y [n, D], gate and up [F, D], down [D, F]. y may be x. */
para_status para_gated_feed_forward(para_device *dev, para_activation activation, const para_linear *gate, const para_linear *up,
                                    const para_linear *down, para_tensor x, para_tensor y);

#endif
