/* Ops of the table that compute, for those who wrap them. SPDX-License-Identifier: Apache-2.0 */
#ifndef PARA_BACKEND_OP_LIST_H
#define PARA_BACKEND_OP_LIST_H

#include "backend/backend.h"

/* Every op that computes on the device: name, parameters, arguments. */
#define PARA_COMPUTING_OPS(X)                                                                                          \
    X(copy, (para_device * dev, para_tensor dst, para_tensor src), (dev, dst, src))                                    \
    X(linear, (para_device * dev, const para_linear_args *a), (dev, a))                                                \
    X(conv2d, (para_device * dev, const para_conv2d_args *a), (dev, a))                                                \
    X(conv3d, (para_device * dev, const para_conv3d_args *a), (dev, a))                                                \
    X(embedding, (para_device * dev, para_tensor table, para_tensor ids, para_tensor y), (dev, table, ids, y))         \
    X(norm, (para_device * dev, const para_norm_args *a), (dev, a))                                                    \
    X(residual, (para_device * dev, const para_residual_args *a), (dev, a))                                            \
    X(group_norm, (para_device * dev, const para_group_norm_args *a), (dev, a))                                        \
    X(heads, (para_device * dev, int n, const para_head_args *a), (dev, n, a))                                         \
    X(attention, (para_device * dev, const para_attention_args *a), (dev, a))                                          \
    X(attention_parts, (para_device * dev, int parts, const para_attention_args *a), (dev, parts, a))                  \
    X(attention_merge, (para_device * dev, const para_merge_args *a), (dev, a))                                        \
    X(activate, (para_device * dev, para_activation f, para_tensor x, para_tensor y), (dev, f, x, y))                  \
    X(gated, (para_device * dev, para_activation f, para_tensor a, para_tensor b, para_tensor y), (dev, f, a, b, y))   \
    X(combine, (para_device * dev, para_tensor y, int n, const para_tensor *x, const float *c), (dev, y, n, x, c))     \
    X(change, (para_device * dev, para_tensor before, para_tensor now, para_tensor sums), (dev, before, now, sums))    \
    X(upsample2x, (para_device * dev, para_tensor x, para_tensor y), (dev, x, y))                                      \
    X(blend, (para_device * dev, para_tensor edge, para_tensor dst, int axis), (dev, edge, dst, axis))

/* And those whose result the host waits for. */
#define PARA_READING_OPS(X)                                                                                            \
    X(all_finite, (para_device * dev, para_tensor x, bool *out), (dev, x, out))                                        \
    X(mask_columns, (para_device * dev, para_tensor mask, uint8_t * out), (dev, mask, out))

#endif
