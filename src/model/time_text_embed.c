/* Timestep, guidance and pooled text as one vector. SPDX-License-Identifier: Apache-2.0 */
#include "model/time_text_embed.h"

#include <stdio.h>

#include "core/alloc.h"
#include "core/error.h"

enum { TIME_PROJ_DIM = 256 };

void para_mlp_embedder_weights(para_weights *w, para_mlp_embedder *e, int64_t in, int64_t dim, const char *name) {
    para_weights_linear(w, &e->linear_1, dim, in, true, "%s.linear_1", name);
    para_weights_linear(w, &e->linear_2, dim, dim, true, "%s.linear_2", name);
}

static void embedder_weights(para_weights *w, para_mlp_embedder *e, int64_t in, int64_t dim, const char *name,
                             const char *part) {
    char full[128];
    snprintf(full, sizeof full, "%s.%s", name, part);
    para_mlp_embedder_weights(w, e, in, dim, full);
}

void para_time_text_embed_weights(para_time_text_embed *e, para_weights *w, int64_t dim, const char *name) {
    embedder_weights(w, &e->timestep_embedder, TIME_PROJ_DIM, dim, name, "timestep_embedder");
    if (e->guidance_embeds) embedder_weights(w, &e->guidance_embedder, TIME_PROJ_DIM, dim, name, "guidance_embedder");
    embedder_weights(w, &e->text_embedder, e->pooled_projection_dim, dim, name, "text_embedder");
}

para_status para_mlp_embedder_run(para_device *dev, const para_mlp_embedder *e, para_activation f, para_tensor x,
                                  para_tensor y, bool accumulate) {
    size_t mark = para_arena_mark(&dev->arena);
    para_tensor mid;
    PARA_TRY(PARA_NEW(dev, &mid, PARA_F32, x.dim[0], y.dim[1]));
    PARA_TRY(dev->ops->linear(dev, &(para_linear_args){.x = x, .w = &e->linear_1, .y = mid, .activation = f}));
    PARA_TRY(dev->ops->linear(dev, &(para_linear_args){.x = mid, .w = &e->linear_2, .y = y, .accumulate = accumulate}));
    para_arena_release(&dev->arena, mark);
    return PARA_OK;
}

para_status para_time_proj(para_device *dev, const float *values, int n, para_sinusoids form, para_tensor *out) {
    PARA_TRY(PARA_NEW(dev, out, PARA_F32, n, form.dim));
    float *host = para_alloc((size_t)n * (size_t)form.dim, sizeof *host);
    if (!host) return PARA_ERR_MEMORY;
    para_timestep_embedding(host, values, n, form);
    para_status status = dev->ops->upload(dev, *out, host);
    para_free(host);
    return status;
}

static para_status add_guidance(const para_time_text_embed *e, para_device *dev, float guidance_scale,
                                para_tensor temb) {
    int steps = (int)temb.dim[0];
    para_tensor x;
    float *values = para_alloc((size_t)steps, sizeof *values);
    if (!values) return PARA_ERR_MEMORY;
    for (int i = 0; i < steps; i++) values[i] = guidance_scale * 1000.0f;
    para_status status = para_time_proj(dev, values, steps, (para_sinusoids){.dim = TIME_PROJ_DIM}, &x);
    para_free(values);
    PARA_TRY(status);
    return para_mlp_embedder_run(dev, &e->guidance_embedder, PARA_ACT_SILU, x, temb, true);
}

para_status para_time_text_embed_run(const para_time_text_embed *e, para_device *dev, const float *timesteps, int steps,
                                     float guidance_scale, para_tensor pooled, para_tensor temb) {
    size_t mark = para_arena_mark(&dev->arena);
    para_tensor x;
    PARA_TRY(para_time_proj(dev, timesteps, steps, (para_sinusoids){.dim = TIME_PROJ_DIM}, &x));
    PARA_TRY(para_mlp_embedder_run(dev, &e->timestep_embedder, PARA_ACT_SILU, x, temb, false));
    if (e->guidance_embeds) PARA_TRY(add_guidance(e, dev, guidance_scale, temb));
    PARA_TRY(PARA_NEW(dev, &x, PARA_F32, steps, e->pooled_projection_dim));
    pooled.dim[0] = steps;
    pooled.stride[0] = 0; /* the same row at every step */
    PARA_TRY(dev->ops->copy(dev, x, pooled));
    PARA_TRY(para_mlp_embedder_run(dev, &e->text_embedder, PARA_ACT_SILU, x, temb, true));
    para_arena_release(&dev->arena, mark);
    return PARA_OK;
}
