/* FourierFeatures and proj_in of diffusers' MochiEncoder3D. SPDX-License-Identifier: Apache-2.0 */
#include "vae/mochi_features.h"

#include <math.h>

#include "core/alloc.h"
#include "core/error.h"

enum { FREQUENCIES = 2, FIRST_POWER = 6, FEATURES = 1 + 2 * FREQUENCIES };

/* to [FEATURES · C] of pixel from [C]: all channels, then the sines of each, then the cosines. The product is rounded to float32 first, as in diffusers. */
static void features_of(float *to, const float *from, int64_t c) {
    for (int64_t i = 0; i < c; i++) {
        to[i] = from[i];
        for (int k = 0; k < FREQUENCIES; k++) {
            float angle = (float)(1 << (FIRST_POWER + k)) * 6.283185307179586f * from[i];
            to[c + i * FREQUENCIES + k] = sinf(angle);
            to[c * (1 + FREQUENCIES) + i * FREQUENCIES + k] = cosf(angle);
        }
    }
}

/* Room for one frame. */
typedef struct frame_room {
    para_tensor pixels, features,
        rows; /* [h · w, C] F32, [h · w, FEATURES · C] F32 and in the type that is computed in */
    float *from, *to;
} frame_room;

static para_status project(para_device *dev, const para_linear *w, para_tensor x, para_tensor y, const frame_room *r) {
    int64_t pixels = r->pixels.dim[0], c = r->pixels.dim[1];
    for (int64_t t = 0; t < x.dim[0]; t++) {
        PARA_TRY(para_device_check(dev));
        PARA_TRY(dev->ops->copy(dev, r->pixels, PARA_RESHAPE(para_rows(x, t, 1), pixels, c)));
        PARA_TRY(dev->ops->download(dev, r->from, &r->pixels));
        for (int64_t i = 0; i < pixels; i++) features_of(r->to + i * FEATURES * c, r->from + i * c, c);
        PARA_TRY(dev->ops->upload(dev, r->features, r->to));
        PARA_TRY(dev->ops->copy(dev, r->rows, r->features));
        PARA_TRY(dev->ops->linear(
            dev, &(para_linear_args){.x = r->rows, .w = w, .y = PARA_RESHAPE(para_rows(y, t, 1), pixels, y.dim[3])}));
    }
    return PARA_OK;
}

para_status para_mochi_project_features(para_device *dev, const para_linear *w, para_tensor x, para_tensor y) {
    int64_t pixels = x.dim[1] * x.dim[2], c = x.dim[3];
    size_t mark = para_arena_mark(&dev->arena);
    frame_room r = {.from = para_alloc((size_t)(pixels * c), sizeof(float)),
                    .to = para_alloc((size_t)(pixels * c * FEATURES), sizeof(float))};
    para_status status = r.from && r.to ? PARA_OK : PARA_ERR_MEMORY;
    if (status == PARA_OK) status = PARA_NEW(dev, &r.pixels, PARA_F32, pixels, c);
    if (status == PARA_OK) status = PARA_NEW(dev, &r.features, PARA_F32, pixels, c * FEATURES);
    if (status == PARA_OK) status = PARA_NEW(dev, &r.rows, x.dtype, pixels, c * FEATURES);
    if (status == PARA_OK) status = project(dev, w, x, y, &r);
    para_free(r.from);
    para_free(r.to);
    para_arena_release(&dev->arena, mark);
    return status;
}
