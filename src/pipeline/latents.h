/* Latents of a request: drawn or given, as tokens in the loop, and as diffusers hands them out. SPDX-License-Identifier: Apache-2.0 */
#ifndef PARA_PIPELINE_LATENTS_H
#define PARA_PIPELINE_LATENTS_H

#include "pipeline/pipeline_state.h"

/* Sizes of the latents of n pictures or videos in the family's form: dim [5]; the rank. */
int para_latents_shape(const para_family *family, const para_geometry *g, int64_t n, int64_t *dim);

/* The next n · C · f · h · w normals of the request's generator, in the order of the family's form, drawn as `dtype`: to tokens [n, tokens, channels] F32. The
 * same on every rank. */
para_status para_latents_draw(para_run *run, para_dtype dtype, para_tensor tokens);
/* The request's latents, or its first noise: to tokens [n, tokens, channels] F32. */
para_status para_latents_begin(para_run *run, para_tensor tokens);
/* tokens [n, tokens, channels] F32 to latents [n, C, f, h, w] F32. */
para_status para_latents_unpack(para_run *run, para_tensor tokens, para_tensor latents);
/* tokens [n, tokens, channels] F32 to host F32 in the family's form; NULL on a dry run, which takes the same room. */
para_status para_latents_download(para_run *run, para_tensor tokens, float *host);

#endif
