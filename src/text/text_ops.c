/* What the text encoders share. SPDX-License-Identifier: Apache-2.0 */
#include "text/text_ops.h"

#include "core/alloc.h"
#include "core/error.h"

para_status para_embed_tokens(para_device *dev, para_tensor table, const int32_t *ids, int n, para_tensor y) {
    for (int i = 0; i < n; i++) {
        if (ids[i] < 0 || ids[i] >= table.dim[0])
            return para_fail(PARA_ERR_CONFIG,
                             "token id %d is outside the text encoder's vocab_size %lld; tokenizer and text encoder do "
                             "not belong together",
                             (int)ids[i], (long long)table.dim[0]);
    }
    size_t mark = para_arena_mark(&dev->arena);
    para_tensor on_device;
    PARA_TRY(PARA_NEW(dev, &on_device, PARA_I32, n));
    PARA_TRY(dev->ops->upload(dev, on_device, ids));
    PARA_TRY(dev->ops->embedding(dev, table, on_device, y));
    para_arena_release(&dev->arena, mark);
    return PARA_OK;
}

/* [n, heads · D] seen as [1, heads, n, D]. */
static para_tensor heads_view(para_tensor x, int64_t heads) {
    int64_t n = x.dim[0], head_dim = x.dim[1] / heads;
    para_tensor split = PARA_RESHAPE(x, 1, n, heads, head_dim);
    return PARA_PERMUTE(split, 0, 2, 1, 3);
}

para_status para_self_attention(para_device *dev, para_tensor q, para_tensor k, para_tensor v, int64_t heads,
                                float scale, bool causal, para_tensor mask, para_tensor out) {
    int64_t key_heads = k.dim[1] / (q.dim[1] / heads);
    return dev->ops->attention(dev, &(para_attention_args){
                                        .q = heads_view(q, heads),
                                        .k = heads_view(k, key_heads),
                                        .v = heads_view(v, key_heads),
                                        .out = heads_view(out, heads),
                                        .mask = mask,
                                        .scale = scale,
                                        .causal = causal,
                                    });
}

/* values [1, n], each the same, on the device. */
static para_status upload_even(para_device *dev, para_tensor values, float value) {
    int64_t n = values.dim[1];
    float *host = para_alloc((size_t)n, sizeof *host);
    if (!host) return PARA_ERR_MEMORY;
    for (int64_t i = 0; i < n; i++) host[i] = value;
    para_status status = dev->ops->upload(dev, values, host);
    para_free(host);
    return status;
}

/* A product with a row of 1 / n. */
para_status para_mean_of_tokens(para_device *dev, para_tensor text, para_tensor mean) {
    int64_t tokens = text.dim[0];
    size_t mark = para_arena_mark(&dev->arena);
    para_tensor share;
    para_linear columns = {0};
    if (tokens == 0) return upload_even(dev, mean, 0);
    PARA_TRY(PARA_NEW(dev, &share, PARA_F32, 1, tokens));
    PARA_TRY(PARA_NEW(dev, &columns.weight, PARA_F32, text.dim[1], tokens));
    PARA_TRY(upload_even(dev, share, 1.0f / (float)tokens));
    PARA_TRY(dev->ops->copy(dev, columns.weight, PARA_PERMUTE(text, 1, 0)));
    PARA_TRY(dev->ops->linear(dev, &(para_linear_args){.x = share, .w = &columns, .y = mean}));
    para_arena_release(&dev->arena, mark);
    return PARA_OK;
}

para_status para_gated_feed_forward(para_device *dev, para_activation activation, const para_linear *gate,
                                    const para_linear *up, const para_linear *down, para_tensor x, para_tensor y) {
    size_t mark = para_arena_mark(&dev->arena);
    para_tensor g, u; /* [n, F] */
    PARA_TRY(PARA_NEW(dev, &g, x.dtype, x.dim[0], gate->weight.dim[0]));
    PARA_TRY(PARA_NEW(dev, &u, x.dtype, x.dim[0], up->weight.dim[0]));
    PARA_TRY(dev->ops->linear(dev, &(para_linear_args){.x = x, .w = gate, .y = g}));
    PARA_TRY(dev->ops->linear(dev, &(para_linear_args){.x = x, .w = up, .y = u}));
    PARA_TRY(dev->ops->gated(dev, activation, g, u, g));
    PARA_TRY(dev->ops->linear(dev, &(para_linear_args){.x = g, .w = down, .y = y}));
    para_arena_release(&dev->arena, mark);
    return PARA_OK;
}
