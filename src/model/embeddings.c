/* Timestep embeddings and rotary tables. SPDX-License-Identifier: Apache-2.0 */
#include "model/embeddings.h"

#include <math.h>
#include <string.h>

/* exp(-ln(10000) · i / half) as PyTorch gives it in float32. Its exp on x86 (MKL's) does not round correctly: for the embeddings of
 * 256 values that FLUX, HunyuanVideo and Mochi have, it puts two of the 128 frequencies one step higher, which at a guidance of 3500
 * turns them by 1e-4 and moves a block's output by 2e-5. The same step here keeps the same picture. Measured: those two, 3/32 and 53/64
 * of the way, and no other, at every power of two up to 512 values. */
static float frequency_of(int64_t i, int64_t half, int64_t shift) {
    float nearest = (float)exp((double)((float)(-log(10000.0)) * (float)i / (float)(half - shift)));
    bool measured = shift == 0 && half <= 256 && (half & (half - 1)) == 0;
    bool higher = measured && (32 * i == 3 * half || 64 * i == 53 * half);
    return higher ? nextafterf(nearest, 1.0f) : nearest;
}

void para_timestep_embedding(float *out, const float *values, int n, para_sinusoids form) {
    int64_t half = form.dim / 2, cosines = form.sin_first ? half : 0, sines = half - cosines;
    for (int64_t i = 0; i < half; i++) {
        float frequency = frequency_of(i, half, form.freq_shift);
        for (int row = 0; row < n; row++) {
            float angle = values[row] * frequency;
            out[row * form.dim + cosines + i] = cosf(angle);
            out[row * form.dim + sines + i] = sinf(angle);
        }
    }
}

/* cos and sin of one axis at a position, [dim] each. */
static void rope_axis(float *cos_out, float *sin_out, int64_t position, int64_t dim, double theta) {
    for (int64_t i = 0; i < dim; i += 2) {
        double angle = (double)position * (1.0 / pow(theta, (double)i / (double)dim));
        cos_out[i] = cos_out[i + 1] = (float)cos(angle);
        sin_out[i] = sin_out[i + 1] = (float)sin(angle);
    }
}

void para_rope_grid(float *cos_out, float *sin_out, const int64_t grid[3], const int64_t dims[3], double theta) {
    int64_t total = dims[0] + dims[1] + dims[2], tokens = grid[0] * grid[1] * grid[2];
    for (int64_t token = 0; token < tokens; token++) {
        int64_t position[3] = {token / (grid[1] * grid[2]), token / grid[2] % grid[1], token % grid[2]};
        /* Where an axis first has its position: what is there is copied, for sines take long and a video has many tokens. */
        int64_t first[3] = {position[0] * grid[1] * grid[2], position[1] * grid[2], position[2]};
        for (int64_t axis = 0, column = 0; axis < 3; column += dims[axis++]) {
            int64_t to = token * total + column, from = first[axis] * total + column;
            size_t bytes = (size_t)dims[axis] * sizeof *cos_out;
            if (from == to) {
                rope_axis(cos_out + to, sin_out + to, position[axis], dims[axis], theta);
            } else {
                memcpy(cos_out + to, cos_out + from, bytes);
                memcpy(sin_out + to, sin_out + from, bytes);
            }
        }
    }
}
