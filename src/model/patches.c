/* Latents as tokens. SPDX-License-Identifier: Apache-2.0 */
#include "model/patches.h"

#include "core/error.h"

/* A view of what the k-th frame of every patch has of one picture: [C, F/t, H/p, p, W/p, p], the same elements in both. */
typedef struct patch_view {
    para_tensor latents, tokens;
} patch_view;

static para_tensor moved(para_tensor t, int64_t elements) {
    t.data = (char *)t.data + elements * (int64_t)para_dtype_size(t.dtype);
    return t;
}

static patch_view view_of(para_tensor latents, para_tensor tokens, int64_t patch_t, int64_t p, int64_t n, int64_t k) {
    const int64_t *size = latents.dim, plane = size[3] * size[4], width = tokens.dim[2];
    int64_t rows = size[3] / p, columns = size[4] / p, area = p * p;
    para_tensor in = {.dtype = latents.dtype,
                      .rank = 6,
                      .dim = {size[1], size[2] / patch_t, rows, p, columns, p},
                      .stride = {size[2] * plane, patch_t * plane, p * size[4], size[4], p, 1},
                      .data = latents.data};
    para_tensor out = {.dtype = tokens.dtype,
                       .rank = 6,
                       .dim = {size[1], size[2] / patch_t, rows, p, columns, p},
                       .stride = {patch_t * area, rows * columns * width, columns * width, p, width, 1},
                       .data = tokens.data};
    return (patch_view){moved(in, n * size[1] * size[2] * plane + k * plane),
                        moved(out, n * tokens.dim[1] * width + k * area)};
}

static para_status move_patches(para_device *dev, para_tensor latents, para_tensor tokens, int64_t patch_t,
                                int64_t patch, bool to_tokens) {
    for (int64_t n = 0; n < latents.dim[0]; n++) {
        for (int64_t k = 0; k < patch_t; k++) {
            patch_view v = view_of(latents, tokens, patch_t, patch, n, k);
            PARA_TRY(to_tokens ? dev->ops->copy(dev, v.tokens, v.latents) : dev->ops->copy(dev, v.latents, v.tokens));
        }
    }
    return PARA_OK;
}

para_status para_patchify(para_device *dev, para_tensor latents, int64_t patch_t, int64_t patch, para_tensor tokens) {
    return move_patches(dev, latents, tokens, patch_t, patch, true);
}

para_status para_unpatchify(para_device *dev, para_tensor tokens, int64_t patch_t, int64_t patch, para_tensor latents) {
    return move_patches(dev, latents, tokens, patch_t, patch, false);
}
