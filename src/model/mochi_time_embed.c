/* Timestep and pooled text of Mochi. SPDX-License-Identifier: Apache-2.0 */
#include "model/mochi_time_embed.h"

#include <math.h>

#include "core/error.h"
#include "text/text_ops.h"

void para_mochi_time_embed_weights(para_mochi_time_embed *e, para_weights *w, int64_t inner_dim, int64_t text_dim) {
    int64_t t = e->text_embed_dim;
    para_mlp_embedder_weights(w, &e->timestep_embedder, e->time_embed_dim, inner_dim, "time_embed.timestep_embedder");
    para_weights_linear(w, &e->to_kv, 2 * t, t, true, "time_embed.pooler.to_kv");
    para_weights_linear(w, &e->to_q, t, t, true, "time_embed.pooler.to_q");
    para_weights_linear(w, &e->to_out, inner_dim, t, true, "time_embed.pooler.to_out");
    para_weights_linear(w, &e->caption_proj, text_dim, t, true, "time_embed.caption_proj");
}

/* Rows [first, first + n) of a layer's output. */
static para_linear part_of(const para_linear *w, int64_t first, int64_t n) {
    return (para_linear){para_rows(w->weight, first, n), para_rows(w->bias, first, n)};
}

/* out [1, inner_dim] F32: the mean of the tokens attends to itself and to them. Source: MochiAttentionPool. */
static para_status pool(const para_mochi_time_embed *e, para_device *dev, para_tensor text, para_tensor out) {
    int64_t n = text.dim[0], t = e->text_embed_dim;
    float scale = (float)(1.0 / sqrt((double)(t / PARA_MOCHI_POOL_HEADS)));
    para_tensor x, q, k, v, pooled; /* x [1 + S, T] */
    const para_linear to_k = part_of(&e->to_kv, 0, t), to_v = part_of(&e->to_kv, t, t);
    PARA_TRY(PARA_NEW(dev, &x, PARA_F32, 1 + n, t));
    PARA_TRY(PARA_NEW(dev, &q, PARA_F32, 1, t));
    PARA_TRY(PARA_NEW(dev, &k, PARA_F32, 1 + n, t));
    PARA_TRY(PARA_NEW(dev, &v, PARA_F32, 1 + n, t));
    PARA_TRY(PARA_NEW(dev, &pooled, PARA_F32, 1, t));
    PARA_TRY(para_mean_of_tokens(dev, text, para_rows(x, 0, 1)));
    PARA_TRY(dev->ops->copy(dev, para_rows(x, 1, n), text));
    PARA_TRY(dev->ops->linear(dev, &(para_linear_args){.x = para_rows(x, 0, 1), .w = &e->to_q, .y = q}));
    PARA_TRY(dev->ops->linear(dev, &(para_linear_args){.x = x, .w = &to_k, .y = k}));
    PARA_TRY(dev->ops->linear(dev, &(para_linear_args){.x = x, .w = &to_v, .y = v}));
    PARA_TRY(para_self_attention(dev, q, k, v, PARA_MOCHI_POOL_HEADS, scale, false, (para_tensor){0}, pooled));
    return dev->ops->linear(dev, &(para_linear_args){.x = pooled, .w = &e->to_out, .y = out});
}

para_status para_mochi_time_embed_run(const para_mochi_time_embed *e, para_device *dev, const float *timesteps,
                                      int steps, para_tensor text, para_tensor temb) {
    size_t mark = para_arena_mark(&dev->arena);
    para_tensor pooled, x;
    PARA_TRY(PARA_NEW(dev, &pooled, PARA_F32, 1, temb.dim[1]));
    PARA_TRY(pool(e, dev, text, pooled));
    pooled.dim[0] = steps;
    pooled.stride[0] = 0; /* the same row at every step */
    PARA_TRY(dev->ops->copy(dev, temb, pooled));
    PARA_TRY(para_time_proj(dev, timesteps, steps, (para_sinusoids){.dim = e->time_embed_dim}, &x));
    PARA_TRY(para_mlp_embedder_run(dev, &e->timestep_embedder, PARA_ACT_SILU, x, temb, true));
    para_arena_release(&dev->arena, mark);
    return PARA_OK;
}
