/* Timestep embeddings and rotary tables. SPDX-License-Identifier: Apache-2.0 */
#include "model/embeddings.h"

#include <math.h>

/* exp(-ln(10000) · i / half) as PyTorch gives it in float32. Its exp on x86 (MKL's) does not round correctly: for the embeddings of
 * 256 values that every model here has, it puts two of the 128 frequencies one step higher, which at a guidance of 3500 turns
 * them by 1e-4 and moves a block's output by 2e-5. The same step here keeps the same picture. */
static float frequency_of(int i, int half) {
    float nearest = (float)exp((double)((float)(-log(10000.0)) * (float)i / (float)half));
    return half == 128 && (i == 12 || i == 106) ? nextafterf(nearest, 1.0f) : nearest;
}

void para_timestep_embedding(float *out, const float *values, int n, int dim) {
    int half = dim / 2;
    for (int i = 0; i < half; i++) {
        float frequency = frequency_of(i, half);
        for (int row = 0; row < n; row++) {
            float angle = values[row] * frequency;
            out[(int64_t)row * dim + i] = cosf(angle);
            out[(int64_t)row * dim + half + i] = sinf(angle);
        }
    }
}

void para_rope_grid(float *cos_out, float *sin_out, const int64_t grid[3], const int64_t dims[3], double theta) {
    int64_t total = dims[0] + dims[1] + dims[2], tokens = grid[0] * grid[1] * grid[2];
    for (int64_t token = 0; token < tokens; token++) {
        int64_t position[3] = {token / (grid[1] * grid[2]), token / grid[2] % grid[1], token % grid[2]};
        int64_t column = token * total;
        for (int axis = 0; axis < 3; axis++) {
            for (int64_t i = 0; i < dims[axis]; i += 2, column += 2) {
                double angle = (double)position[axis] * (1.0 / pow(theta, (double)i / (double)dims[axis]));
                cos_out[column] = cos_out[column + 1] = (float)cos(angle);
                sin_out[column] = sin_out[column + 1] = (float)sin(angle);
            }
        }
    }
}
