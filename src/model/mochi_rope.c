/* Positions of Mochi's tokens. SPDX-License-Identifier: Apache-2.0 */
#include "model/mochi_rope.h"

#include <math.h>

#include "core/alloc.h"
#include "core/error.h"

static const double TARGET_AREA = 192.0 * 192.0;

/* a · b + c rounded once, as the fused instruction that PyTorch uses gives it but for ties of ties. Angles reach hundreds, where a position that is
 * rounded otherwise turns them by 1e-5. */
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

para_status para_mochi_positions(para_device *dev, const int64_t grid[3], int64_t first, int64_t n, para_tensor *out) {
    PARA_TRY(PARA_NEW(dev, out, PARA_F32, n, 3));
    float *host = para_alloc((size_t)(3 * n), sizeof *host);
    if (!host) return PARA_ERR_MEMORY;
    for (int64_t i = 0; i < n; i++) position_of(grid, first + i, host + 3 * i);
    para_status status = dev->ops->upload(dev, *out, host);
    para_free(host);
    return status;
}
