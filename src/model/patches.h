/* Latents as tokens: each a patch of a picture or video. SPDX-License-Identifier: Apache-2.0 */
#ifndef PARA_MODEL_PATCHES_H
#define PARA_MODEL_PATCHES_H

#include "backend/backend.h"

/* latents [n, C, F, H, W] ↔ tokens [n, F/t · H/p · W/p, C · t · p · p], a token's values in the order C, t, row, column; t and p divide the sizes. So a
 * convolution whose stride is its kernel [D, C, t, p, p] is a linear layer on tokens (para_weights_patches). Float types are converted.
 * Sources: FluxPipeline._pack_latents, HunyuanVideoPatchEmbed and the end of HunyuanVideoTransformer3DModel.forward. */
para_status para_patchify(para_device *dev, para_tensor latents, int64_t patch_t, int64_t patch, para_tensor tokens);
para_status para_unpatchify(para_device *dev, para_tensor tokens, int64_t patch_t, int64_t patch, para_tensor latents);

#endif
