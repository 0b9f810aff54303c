/* HunyuanVideoTransformer3DModel. SPDX-License-Identifier: Apache-2.0 */
#ifndef PARA_MODEL_HUNYUAN_VIDEO_H
#define PARA_MODEL_HUNYUAN_VIDEO_H

#include "step/transformer.h"

/* Reads and checks the config of a HunyuanVideoTransformer3DModel that makes videos from text. The caller closes it with table->close. A token of the
 * latents is a patch of them (model/patches.h). Text is given without padding: what diffusers keeps from attention by a mask is not there. */
para_status para_hunyuan_video_open(para_transformer **out, const para_config *config);

/* Frames, and rows and columns, of a patch. */
void para_hunyuan_video_patch(const para_transformer *t, int64_t *patch_size_t, int64_t *patch_size);

#endif
