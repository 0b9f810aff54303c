/* What the text encoders share. SPDX-License-Identifier: Apache-2.0 */
#ifndef PARA_TEXT_TEXT_OPS_H
#define PARA_TEXT_TEXT_OPS_H

#include "backend/backend.h"

/* y[i] = table[ids[i]]: table [vocab, D] any float type, host ids [n], y [n, D]. Ids outside the table: PARA_ERR_CONFIG. */
para_status para_embed_tokens(para_device *dev, para_tensor table, const int32_t *ids, int n, para_tensor y);

/* Self attention of one text: q, k, v, out [n, heads · D] each; mask [1, heads, n, n] F32 added, or none. */
para_status para_self_attention(para_device *dev, para_tensor q, para_tensor k, para_tensor v, int64_t heads, float scale, bool causal,
                                para_tensor mask, para_tensor out);

#endif
