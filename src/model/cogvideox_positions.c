/* Positions of CogVideoX tokens. SPDX-License-Identifier: Apache-2.0 */
#include "model/cogvideox_positions.h"

#include <math.h>
#include <string.h>

#include "core/alloc.h"
#include "core/error.h"

enum { FRAME, ROW, COLUMN, AXES };
static const double THETA = 10000.0;

/* What a token gets for its place on an axis of the grid. */
typedef struct axis_table {
    int axis;
    int64_t dim;
    const float *values; /* [places, dim] */
} axis_table;

/* Rows of tokens: the values of each table in turn. */
static void gather(const para_token_range *tokens, const axis_table table[AXES], float *out) {
    const int64_t *grid = tokens->grid;
    for (int64_t i = tokens->first; i < tokens->first + tokens->count; i++) {
        const int64_t place[AXES] = {i / (grid[ROW] * grid[COLUMN]), i / grid[COLUMN] % grid[ROW], i % grid[COLUMN]};
        for (int k = 0; k < AXES; out += table[k++].dim)
            memcpy(out, table[k].values + place[table[k].axis] * table[k].dim, (size_t)table[k].dim * sizeof *out);
    }
}

/* ---- rotary: all of it in float32, as torch has it */

/* torch.linspace(from, to, n) at i. */
static float linspace(float from, float to, int64_t n, int64_t i) {
    float step = n > 1 ? (to - from) / (float)(n - 1) : 0;
    return i < n / 2 || n == 1 ? from + step * (float)i : to - step * (float)(n - i - 1);
}

/* Part of the trained grid that a grid of another shape is stretched to. Source: get_resize_crop_region_for_grid. */
typedef struct region {
    double from[AXES], to[AXES];
} region;

static region region_of(const para_cogvideox_config *c, const int64_t grid[AXES]) {
    double th = (double)(c->sample_height / c->patch_size), tw = (double)(c->sample_width / c->patch_size);
    double h = (double)grid[ROW], w = (double)grid[COLUMN], height = th, width = tw;
    if (h / w > th / tw) width = rint(th / h * w);
    else height = rint(tw / w * h);
    double top = rint((th - height) / 2), left = rint((tw - width) / 2);
    return (region){.from = {0, top, left}, .to = {(double)grid[FRAME], top + height, left + width}};
}

/* What a place on an axis counts as. */
static float position_of(const para_cogvideox_config *c, const region *r, const int64_t grid[AXES], int axis,
                         int64_t i) {
    if (c->patch_size_t) return (float)i;
    double n = (double)grid[axis];
    return linspace((float)r->from[axis], (float)(r->to[axis] * (n - 1) / n), grid[axis], i);
}

para_status para_cogvideox_rotary(const para_cogvideox_config *c, const para_token_range *tokens, float *cos_out,
                                  float *sin_out) {
    const int64_t *grid = tokens->grid, d = c->attention_head_dim, dims[AXES] = {d / 4, d / 8 * 3, d / 8 * 3};
    int64_t values = grid[FRAME] * dims[FRAME] + grid[ROW] * dims[ROW] + grid[COLUMN] * dims[COLUMN];
    region r = region_of(c, grid);
    axis_table table[2][AXES];
    float *cosines = para_alloc((size_t)(2 * values), sizeof *cosines), *sines = cosines + values;
    if (!cosines) return PARA_ERR_MEMORY;
    for (int axis = 0, at = 0; axis < AXES; at += (int)(grid[axis] * dims[axis]), axis++) {
        table[0][axis] = (axis_table){axis, dims[axis], cosines + at};
        table[1][axis] = (axis_table){axis, dims[axis], sines + at};
        for (int64_t i = 0; i < grid[axis]; i++)
            for (int64_t k = 0; k < dims[axis]; k++) {
                float frequency = 1.0f / powf((float)THETA, (float)(k / 2 * 2) / (float)dims[axis]);
                float angle = position_of(c, &r, grid, axis, i) * frequency;
                cosines[at + i * dims[axis] + k] = cosf(angle);
                sines[at + i * dims[axis] + k] = sinf(angle);
            }
    }
    gather(tokens, table[0], cos_out);
    gather(tokens, table[1], sin_out);
    para_free(cosines);
    return PARA_OK;
}

/* ---- sincos: positions in float32, the rest in float64 */

para_status para_cogvideox_sincos(const para_cogvideox_config *c, const para_token_range *tokens, float *out) {
    /* Columns come before rows. */
    static const int order[AXES] = {FRAME, COLUMN, ROW};
    const int64_t *grid = tokens->grid, d = c->inner_dim;
    int64_t values = grid[FRAME] * (d / 4) + (grid[ROW] + grid[COLUMN]) * (d / 8 * 3);
    axis_table table[AXES];
    float *host = para_alloc((size_t)values, sizeof *host), *at = host;
    if (!host) return PARA_ERR_MEMORY;
    for (int k = 0; k < AXES; k++) {
        int64_t places = grid[order[k]], dim = k == 0 ? d / 4 : d / 8 * 3, half = dim / 2;
        double scale = k == 0 ? c->temporal_interpolation_scale : c->spatial_interpolation_scale;
        table[k] = (axis_table){order[k], dim, at};
        for (int64_t i = 0; i < places; i++, at += dim)
            for (int64_t j = 0; j < half; j++) {
                double position = (float)i / (float)scale, angle = position / pow(THETA, (double)j / ((double)dim / 2));
                at[j] = (float)sin(angle);
                at[half + j] = (float)cos(angle);
            }
    }
    gather(tokens, table, out);
    para_free(host);
    return PARA_OK;
}
