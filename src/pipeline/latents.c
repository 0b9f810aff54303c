/* Latents of a request. SPDX-License-Identifier: Apache-2.0 */
#include "pipeline/latents.h"

#include "core/alloc.h"
#include "core/error.h"
#include "model/patches.h"

int para_latents_shape(const para_family *family, const para_geometry *g, int64_t n, int64_t *dim) {
    int64_t c = g->latent_channels, f = g->latent_frames, h = g->latent_height, w = g->latent_width;
    dim[0] = n;
    dim[3] = h;
    dim[4] = w;
    switch (family->latents) {
    case PARA_LATENTS_CHANNELS_FIRST: dim[1] = c, dim[2] = f; return 5;
    case PARA_LATENTS_FRAMES_FIRST: dim[1] = f, dim[2] = c; return 5;
    case PARA_LATENTS_PACKED: break;
    }
    dim[1] = para_geometry_tokens(g);
    dim[2] = g->channels;
    return 3;
}

/* As [n, C, f, h, w], any strides; a picture's latents lie so, too, before they are packed. */
static para_tensor channels_first(const para_family *family, para_tensor latents) {
    return family->latents == PARA_LATENTS_FRAMES_FIRST ? PARA_PERMUTE(latents, 0, 2, 1, 3, 4) : latents;
}

/* Room for latents of n in the order in which noise is drawn. */
static para_status new_latents(const para_run *run, para_dtype dtype, int64_t n, para_tensor *out) {
    const para_geometry *g = &run->geometry;
    int64_t c = g->latent_channels, f = g->latent_frames;
    bool frames_first = run->pipe->family->latents == PARA_LATENTS_FRAMES_FIRST;
    return PARA_NEW(run->rank->device, out, dtype, n, frames_first ? f : c, frames_first ? c : f, g->latent_height,
                    g->latent_width);
}

static para_status draw(para_run *run, para_tensor out) {
    if (run->dry) return PARA_OK;
    int64_t n = para_tensor_count(&out);
    void *host = para_alloc((size_t)n, para_dtype_size(out.dtype));
    if (!host) return PARA_ERR_MEMORY;
    para_rng_normal(run->rng, host, out.dtype, n);
    para_status status = run->rank->device->ops->upload(run->rank->device, out, host);
    para_free(host);
    return status;
}

/* Latents in the order of the noise to tokens. */
static para_status pack(para_run *run, para_tensor latents, para_tensor tokens) {
    const para_geometry *g = &run->geometry;
    para_device *dev = run->rank->device;
    para_tensor view = channels_first(run->pipe->family, latents), plain = view;
    if (!para_tensor_contiguous(&view)) {
        PARA_TRY(para_new(dev, &plain, view.dtype, 5, view.dim));
        PARA_TRY(dev->ops->copy(dev, plain, view));
    }
    return para_patchify(dev, plain, g->patch_t, g->patch, tokens);
}

para_status para_latents_draw(para_run *run, para_dtype dtype, para_tensor tokens) {
    para_device *dev = run->rank->device;
    size_t mark = para_arena_mark(&dev->arena);
    para_tensor noise;
    PARA_TRY(new_latents(run, dtype, tokens.dim[0], &noise));
    PARA_TRY(draw(run, noise));
    PARA_TRY(pack(run, noise, tokens));
    para_arena_release(&dev->arena, mark);
    return PARA_OK;
}

/* Latents of the request's own. */
static para_status take(para_run *run, const para_tensor *given, para_tensor tokens) {
    static const char stage[] = "reading the given latents";
    if (run->pipe->family->latents == PARA_LATENTS_PACKED) return para_run_upload(run, tokens, given, stage);
    para_device *dev = run->rank->device;
    size_t mark = para_arena_mark(&dev->arena);
    para_tensor latents;
    PARA_TRY(new_latents(run, PARA_F32, tokens.dim[0], &latents));
    PARA_TRY(para_run_upload(run, latents, given, stage));
    PARA_TRY(pack(run, latents, tokens));
    para_arena_release(&dev->arena, mark);
    return PARA_OK;
}

para_status para_latents_begin(para_run *run, para_tensor tokens) {
    para_dtype dtype = run->pipe->family->noise_is_f32 ? PARA_F32 : run->pipe->options.dtype;
    if (run->request->latents) return take(run, run->request->latents, tokens);
    return para_latents_draw(run, dtype, tokens);
}

para_status para_latents_unpack(para_run *run, para_tensor tokens, para_tensor latents) {
    return para_unpatchify(run->rank->device, tokens, run->geometry.patch_t, run->geometry.patch, latents);
}

para_status para_latents_download(para_run *run, para_tensor tokens, float *host) {
    para_device *dev = run->rank->device;
    const para_geometry *g = &run->geometry;
    const para_family *family = run->pipe->family;
    if (family->latents == PARA_LATENTS_PACKED) return host ? dev->ops->download(dev, host, &tokens) : PARA_OK;
    size_t mark = para_arena_mark(&dev->arena);
    para_tensor latents;
    PARA_TRY(PARA_NEW(dev, &latents, PARA_F32, tokens.dim[0], g->latent_channels, g->latent_frames, g->latent_height,
                      g->latent_width));
    PARA_TRY(para_latents_unpack(run, tokens, latents));
    if (family->latents == PARA_LATENTS_FRAMES_FIRST) {
        para_tensor ordered, view = PARA_PERMUTE(latents, 0, 2, 1, 3, 4);
        PARA_TRY(para_new(dev, &ordered, PARA_F32, 5, view.dim));
        PARA_TRY(dev->ops->copy(dev, ordered, view));
        latents = ordered;
    }
    if (host) PARA_TRY(dev->ops->download(dev, host, &latents));
    para_arena_release(&dev->arena, mark);
    return PARA_OK;
}
