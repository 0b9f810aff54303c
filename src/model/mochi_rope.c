/* Rotary tables of Mochi. SPDX-License-Identifier: Apache-2.0 */
#include "model/mochi_rope.h"

#include <math.h>
#include <string.h>

#include "core/alloc.h"
#include "core/error.h"

static const double TARGET_AREA = 192.0 * 192.0;
enum { CHUNK_VALUES = 1 << 20 }; /* of a table that are on the host at a time */

/* a · b + c rounded once, as the fused instruction that PyTorch uses gives it but for ties of ties. Angles reach hundreds, where another order of
 * rounding turns them by 1e-5. */
static float fused(float a, float b, float c) {
    return (float)((double)a * (double)b + (double)c);
}

/* The i-th of n + 1 edges from -reach to reach, as torch.linspace has it. */
static float edge(float reach, int64_t n, int64_t i) {
    float step = (reach - -reach) / (float)n;
    return i < (n + 1) / 2 ? fused(step, (float)i, -reach) : fused(-step, (float)(n - i), reach);
}

/* Middle of the i-th of n cells. */
static float centre(double scale, int64_t n, int64_t i) {
    float reach = (float)((double)n * scale / 2);
    return (edge(reach, n, i) + edge(reach, n, i + 1)) / 2;
}

static void position_of(const int64_t grid[3], int64_t token, float position[3]) {
    double scale = sqrt(TARGET_AREA / (double)(grid[1] * grid[2]));
    position[0] = (float)(token / (grid[1] * grid[2]));
    position[1] = centre(scale, grid[1], token / grid[2] % grid[1]);
    position[2] = centre(scale, grid[2], token % grid[2]);
}

/* `pairs` of a token, each value twice. frequencies [3, pairs]. */
static void turn(float *cos_out, float *sin_out, const float *frequencies, const float position[3], int64_t pairs) {
    for (int64_t i = 0; i < pairs; i++) {
        float angle = position[0] * frequencies[i];
        angle = fused(position[1], frequencies[pairs + i], angle);
        angle = fused(position[2], frequencies[2 * pairs + i], angle);
        cos_out[2 * i] = cos_out[2 * i + 1] = cosf(angle);
        sin_out[2 * i] = sin_out[2 * i + 1] = sinf(angle);
    }
}

/* Whole tokens at a time, so that the host's part of the tables is small. room: two chunks. */
static para_status fill(para_device *dev, const float *frequencies, const int64_t grid[3], int64_t first, float *room,
                        para_tensor cos_out, para_tensor sin_out) {
    int64_t n = cos_out.dim[0], width = cos_out.dim[1] * cos_out.dim[2];
    int64_t chunk = width < CHUNK_VALUES ? CHUNK_VALUES / width : 1;
    bool dry = strcmp(dev->ops->name, "dry") == 0; /* a plan is made on many of these, and sines take long */
    for (int64_t at = 0; at < n; at += chunk) {
        int64_t count = n - at < chunk ? n - at : chunk;
        float *cosine = room, *sine = room + count * width;
        PARA_TRY(para_device_check(dev));
        for (int64_t i = 0; i < count && !dry; i++) {
            float position[3];
            position_of(grid, first + at + i, position);
            turn(cosine + i * width, sine + i * width, frequencies, position, width / 2);
        }
        PARA_TRY(dev->ops->upload(dev, para_rows(cos_out, at, count), cosine));
        PARA_TRY(dev->ops->upload(dev, para_rows(sin_out, at, count), sine));
    }
    return PARA_OK;
}

para_status para_mochi_rope(para_device *dev, para_tensor frequencies, const int64_t grid[3], int64_t first, int64_t n,
                            para_tensor *cos_out, para_tensor *sin_out) {
    int64_t heads = frequencies.dim[1], dim = 2 * frequencies.dim[2], width = heads * dim;
    int64_t most = width < CHUNK_VALUES ? CHUNK_VALUES : width;
    PARA_TRY(PARA_NEW(dev, cos_out, PARA_F32, n, heads, dim));
    PARA_TRY(PARA_NEW(dev, sin_out, PARA_F32, n, heads, dim));
    float *host = para_alloc((size_t)(3 * (width / 2) + 2 * most), sizeof *host);
    if (!host) return PARA_ERR_MEMORY;
    para_status status = dev->ops->download(dev, host, &frequencies);
    if (status == PARA_OK) status = fill(dev, host, grid, first, host + 3 * (width / 2), *cos_out, *sin_out);
    para_free(host);
    return status;
}
