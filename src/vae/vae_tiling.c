/* Tiles of a picture: cut, blend, crop. SPDX-License-Identifier: Apache-2.0 */
#include "vae/vae_tiling.h"

#include <inttypes.h>

#include "core/error.h"

static int64_t least(int64_t a, int64_t b) {
    return a < b ? a : b;
}

/* Along one axis of `total` pixels: where tile k begins, how much it reads, becomes and keeps. */
typedef struct axis_tile {
    int64_t in_at, in_n, out_n, keep;
} axis_tile;

static axis_tile tile_along(const para_vae_tile_rule *rule, int64_t total, int k) {
    axis_tile t = {.in_at = k * rule->in_step};
    t.in_n = least(rule->in_size, total - t.in_at);
    t.out_n = t.in_n * rule->multiply / rule->divide;
    t.keep = least(t.out_n, rule->limit);
    return t;
}

/* Pixels kept of the first k tiles. */
static int64_t kept_before(const para_vae_tile_rule *rule, int64_t total, int k) {
    int64_t sum = 0;
    for (int i = 0; i < k; i++) sum += tile_along(rule, total, i).keep;
    return sum;
}

/* Out pixels of the first k tiles, side by side without overlap. */
static int64_t width_before(const para_vae_tile_rule *rule, int64_t total, int k) {
    int64_t sum = 0;
    for (int i = 0; i < k; i++) sum += tile_along(rule, total, i).out_n;
    return sum;
}

static para_status count_along(const para_vae_tile_rule *rule, int64_t total, int *count) {
    int64_t n = (total + rule->in_step - 1) / rule->in_step;
    if (n > 1 << 15)
        return para_fail(PARA_ERR_SHAPE,
                         "%" PRId64 " pixels make %" PRId64
                         " VAE tiles in a row; use a smaller picture or turn tiling off",
                         total, n);
    *count = (int)n;
    if (tile_along(rule, total, *count - 1).out_n < 1)
        return para_fail(PARA_ERR_SHAPE,
                         "the last VAE tile of an edge of %" PRId64
                         " pixels is too small to be computed; use a multiple of %" PRId64 " or turn tiling off",
                         total, rule->divide);
    return PARA_OK;
}

para_status para_vae_tiles_make(para_vae_tiles *out, const para_vae_tile_rule *rule, int64_t h, int64_t w) {
    if (rule->in_step < 1 || rule->limit < 1)
        return para_fail(PARA_ERR_SHAPE,
                         "the VAE's sample_size makes tiles of %" PRId64
                         " pixels, too small to overlap; turn tiling off",
                         rule->in_size);
    para_vae_tiles t = {.rule = *rule, .in_h = h, .in_w = w};
    PARA_TRY(count_along(rule, h, &t.rows));
    PARA_TRY(count_along(rule, w, &t.cols));
    t.out_h = kept_before(rule, h, t.rows);
    t.out_w = kept_before(rule, w, t.cols);
    *out = t;
    return PARA_OK;
}

para_vae_tile para_vae_tiles_at(const para_vae_tiles *tiles, int i) {
    const para_vae_tile_rule *rule = &tiles->rule;
    para_vae_tile t = {.row = i / tiles->cols, .col = i % tiles->cols};
    axis_tile y = tile_along(rule, tiles->in_h, t.row), x = tile_along(rule, tiles->in_w, t.col);
    t.in_y = y.in_at, t.in_h = y.in_n, t.out_h = y.out_n, t.crop_h = y.keep;
    t.in_x = x.in_at, t.in_w = x.in_n, t.out_w = x.out_n, t.crop_w = x.keep;
    t.out_y = kept_before(rule, tiles->in_h, t.row);
    t.out_x = kept_before(rule, tiles->in_w, t.col);
    return t;
}

para_status para_vae_stitch_open(para_vae_stitch *out, para_device *dev, const para_vae_tiles *tiles,
                                 para_tensor image) {
    const para_vae_tile_rule *rule = &tiles->rule;
    int64_t c = image.dim[2], tallest = tile_along(rule, tiles->in_h, 0).out_n;
    *out = (para_vae_stitch){.tiles = tiles, .image = image};
    if (rule->blend == 0) return PARA_OK;
    PARA_TRY(PARA_NEW(dev, &out->bottom, image.dtype, rule->blend, width_before(rule, tiles->in_w, tiles->cols), c));
    PARA_TRY(PARA_NEW(dev, &out->right, image.dtype, tallest, rule->blend, c));
    return PARA_OK;
}

/* Blends the first pixels of y along `axis` with the last of a neighbour that was `before` long; `saved`
 * holds its last ones. */
static para_status blend_edge(para_device *dev, para_tensor saved, para_tensor y, int axis, int64_t before,
                              int64_t blend) {
    int64_t n = least(least(before, y.dim[axis]), blend);
    if (n == 0) return PARA_OK;
    para_tensor edge = para_slice(saved, axis, least(before, blend) - n, n);
    return dev->ops->blend(dev, edge, para_slice(y, axis, 0, n), axis);
}

/* Keeps the last pixels of y along `axis` in `saved`. */
static para_status save_edge(para_device *dev, para_tensor saved, para_tensor y, int axis, int64_t blend) {
    int64_t n = least(y.dim[axis], blend);
    if (n == 0) return PARA_OK;
    return dev->ops->copy(dev, para_slice(saved, axis, 0, n), para_slice(y, axis, y.dim[axis] - n, n));
}

para_status para_vae_stitch_put(para_vae_stitch *s, para_device *dev, int i, para_tensor y) {
    const para_vae_tiles *tiles = s->tiles;
    const para_vae_tile_rule *rule = &tiles->rule;
    para_vae_tile t = para_vae_tiles_at(tiles, i);
    para_tensor bottom = {0}, right = {0};
    if (rule->blend) {
        bottom = para_slice(s->bottom, 1, width_before(rule, tiles->in_w, t.col), t.out_w);
        right = para_slice(s->right, 0, 0, t.out_h);
    }
    if (t.row > 0) PARA_TRY(blend_edge(dev, bottom, y, 0, tile_along(rule, tiles->in_h, t.row - 1).out_n, rule->blend));
    if (t.col > 0) PARA_TRY(blend_edge(dev, right, y, 1, tile_along(rule, tiles->in_w, t.col - 1).out_n, rule->blend));

    para_tensor to = para_slice(para_slice(s->image, 0, t.out_y, t.crop_h), 1, t.out_x, t.crop_w);
    PARA_TRY(dev->ops->copy(dev, to, para_slice(para_slice(y, 0, 0, t.crop_h), 1, 0, t.crop_w)));
    if (t.row + 1 < tiles->rows) PARA_TRY(save_edge(dev, bottom, y, 0, rule->blend));
    if (t.col + 1 < tiles->cols) PARA_TRY(save_edge(dev, right, y, 1, rule->blend));
    return PARA_OK;
}
