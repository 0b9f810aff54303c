/* Tiles of a picture or video: cut, blend, crop. SPDX-License-Identifier: Apache-2.0 */
#include "vae/vae_tiling.h"

#include <inttypes.h>

#include "core/error.h"

static int64_t least(int64_t a, int64_t b) {
    return a < b ? a : b;
}

para_vae_tile_rule para_vae_stride_rule(bool decoder, int64_t size, int64_t step, int64_t ratio) {
    int64_t small = size / ratio, small_step = step / ratio;
    return (para_vae_tile_rule){.in_size = decoder ? small : size,
                                .in_step = decoder ? small_step : step,
                                .multiply = decoder ? ratio : 1,
                                .divide = decoder ? 1 : ratio,
                                .blend = decoder ? size - step : small - small_step,
                                .limit = decoder ? step : small_step,
                                .crop = true};
}

/* What n in become. */
static int64_t out_of(const para_vae_tile_rule *rule, int64_t n) {
    int64_t times = (n - rule->causal) * rule->multiply;
    return (times + (rule->round_up ? rule->divide - 1 : 0)) / rule->divide + rule->causal;
}

/* Tile k when nothing is cropped, but for where it lands. */
static para_vae_span span_of(const para_vae_axis *a, int k) {
    const para_vae_tile_rule *rule = &a->rule;
    if (a->whole) return (para_vae_span){.in_n = a->in, .out_n = a->out, .keep = a->out};
    para_vae_span s = {.in_at = k * rule->in_step, .drop = rule->causal && k > 0};
    s.in_n = least(rule->in_size + rule->causal, a->in - s.in_at);
    s.out_n = out_of(rule, s.in_n);
    s.keep = least(s.out_n - s.drop, rule->limit + (rule->causal && k == 0));
    return s;
}

/* Kept of the first k tiles. */
static int64_t kept_before(const para_vae_axis *a, int k) {
    int64_t sum = 0;
    for (int i = 0; i < k; i++) sum += span_of(a, i).keep;
    return sum;
}

static para_vae_span cropped_span(const para_vae_axis *a, int k) {
    para_vae_span s = span_of(a, k);
    s.out_at = kept_before(a, k);
    if (s.keep > a->out - s.out_at) s.keep = a->out > s.out_at ? a->out - s.out_at : 0;
    return s;
}

/* Out pixels of the first k tiles, side by side without overlap. */
static int64_t width_before(const para_vae_axis *a, int k) {
    int64_t sum = 0;
    for (int i = 0; i < k; i++) sum += span_of(a, i).out_n;
    return sum;
}

para_status para_vae_axis_make(para_vae_axis *out, const para_vae_tile_rule *rule, int64_t in) {
    if (rule->in_step < 1 || rule->limit < 1 || rule->in_size < 1)
        return para_fail(PARA_ERR_SHAPE,
                         "the VAE's tiles of %" PRId64 " pixels or frames are too small to overlap; turn tiling off",
                         rule->in_size);
    para_vae_axis a = {.rule = *rule, .in = in};
    int64_t n = (in + rule->in_step - 1) / rule->in_step;
    if (n > 1 << 15)
        return para_fail(
            PARA_ERR_SHAPE,
            "%" PRId64 " pixels or frames make %" PRId64 " VAE tiles in a row; use fewer or turn tiling off", in, n);
    a.count = (int)n;
    if (span_of(&a, a.count - 1).out_n < 1)
        return para_fail(PARA_ERR_SHAPE,
                         "the last VAE tile of an edge of %" PRId64
                         " pixels is too small to be computed; use a multiple of %" PRId64 " or turn tiling off",
                         in, rule->divide);
    a.out = kept_before(&a, a.count);
    if (rule->crop) a.out = least(a.out, (in - rule->causal) * rule->multiply / rule->divide + rule->causal);
    while (a.count > 1 && cropped_span(&a, a.count - 1).keep == 0) a.count--;
    *out = a;
    return PARA_OK;
}

para_vae_axis para_vae_axis_whole(int64_t in, int64_t out) {
    return (para_vae_axis){.whole = true, .in = in, .out = out, .count = 1};
}

para_status para_vae_check_video(const int64_t in[PARA_VAE_AXES]) {
    if (in[0] >= 1 && in[1] >= 1 && in[2] >= 1) return PARA_OK;
    return para_fail(PARA_ERR_SHAPE, "a video of %" PRId64 " frames of %" PRId64 " × %" PRId64 " is empty", in[0],
                     in[1], in[2]);
}

para_status para_vae_tiles_make(para_vae_tiles *out, const para_vae_tile_rule rule[PARA_VAE_AXES],
                                const int64_t in[PARA_VAE_AXES], const int64_t whole[PARA_VAE_AXES],
                                const bool tiled[PARA_VAE_AXES], const char *who, int64_t least) {
    for (int k = 0; k < PARA_VAE_AXES; k++) {
        if (tiled[k]) PARA_TRY(para_vae_axis_make(&out->axis[k], &rule[k], in[k]));
        else out->axis[k] = para_vae_axis_whole(in[k], whole[k]);
        if (out->axis[k].out < 1)
            return para_fail(PARA_ERR_SHAPE,
                             "%" PRId64 " pixels along an edge are too few for %s, which needs %" PRId64, in[k], who,
                             least);
    }
    return PARA_OK;
}

int para_vae_tiles_count(const para_vae_tiles *tiles) {
    return tiles->axis[0].count * tiles->axis[1].count * tiles->axis[2].count;
}

para_vae_tile para_vae_tiles_at(const para_vae_tiles *tiles, int i) {
    para_vae_tile t;
    for (int k = PARA_VAE_AXES - 1; k >= 0; i /= tiles->axis[k--].count) {
        t.at[k] = i % tiles->axis[k].count;
        t.span[k] = cropped_span(&tiles->axis[k], t.at[k]);
    }
    return t;
}

static bool tiled(const para_vae_axis *a) {
    return a->count > 1;
}

static bool in_space(const para_vae_tiles *t) {
    return tiled(&t->axis[PARA_VAE_HEIGHT]) || tiled(&t->axis[PARA_VAE_WIDTH]);
}

para_status para_vae_stitch_open(para_vae_stitch *out, para_device *dev, const para_vae_tiles *tiles, para_tensor video,
                                 const para_vae_sink *sink) {
    const para_vae_axis *time = &tiles->axis[PARA_VAE_TIME], *height = &tiles->axis[PARA_VAE_HEIGHT],
                        *width = &tiles->axis[PARA_VAE_WIDTH];
    int64_t c = video.dim[3], frames = span_of(time, 0).out_n; /* of the first tile, which has the most */
    *out = (para_vae_stitch){.tiles = tiles, .sink = sink, .video = video};
    if (height->rule.blend && tiled(height))
        PARA_TRY(
            PARA_NEW(dev, &out->bottom, video.dtype, frames, height->rule.blend, width_before(width, width->count), c));
    if (width->rule.blend && tiled(width))
        PARA_TRY(PARA_NEW(dev, &out->right, video.dtype, frames, span_of(height, 0).out_n, width->rule.blend, c));
    if (!tiled(time))
        return sink && in_space(tiles) ? para_new(dev, &out->video, video.dtype, video.rank, video.dim) : PARA_OK;
    if (in_space(tiles)) PARA_TRY(PARA_NEW(dev, &out->frames, video.dtype, frames, height->out, width->out, c));
    if (time->rule.blend)
        PARA_TRY(PARA_NEW(dev, &out->late, video.dtype, time->rule.blend, height->out, width->out, c));
    return PARA_OK;
}

/* Blends the first pixels of y along `axis` with the last of a neighbour that was `before` long; `saved` holds its last ones. */
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

/* What the tile before the k-th came out as, without what was dropped. */
static int64_t length_before(const para_vae_axis *a, int k) {
    para_vae_span s = span_of(a, k - 1);
    return s.out_n - s.drop;
}

/* y [frames, height, width, C], the first of which has the number `first`, into `to` [frames, H, W, C]. */
static para_status put_in_space(para_vae_stitch *s, para_device *dev, const para_vae_tile *t, int64_t first,
                                para_tensor y, para_tensor to) {
    const para_vae_axis *height = &s->tiles->axis[PARA_VAE_HEIGHT], *width = &s->tiles->axis[PARA_VAE_WIDTH];
    const para_vae_span *v = &t->span[PARA_VAE_HEIGHT], *h = &t->span[PARA_VAE_WIDTH];
    int row = t->at[PARA_VAE_HEIGHT], col = t->at[PARA_VAE_WIDTH];
    para_tensor bottom = {0}, right = {0};
    if (s->bottom.data)
        bottom = para_slice(para_rows(s->bottom, first, y.dim[0]), 2, width_before(width, col), h->out_n);
    if (s->right.data) right = para_slice(para_rows(s->right, first, y.dim[0]), 1, 0, v->out_n);
    if (row > 0) PARA_TRY(blend_edge(dev, bottom, y, 1, length_before(height, row), height->rule.blend));
    if (col > 0) PARA_TRY(blend_edge(dev, right, y, 2, length_before(width, col), width->rule.blend));

    to = para_slice(para_slice(to, 1, v->out_at, v->keep), 2, h->out_at, h->keep);
    PARA_TRY(dev->ops->copy(dev, to, para_slice(para_slice(y, 1, 0, v->keep), 2, 0, h->keep)));
    if (row + 1 < height->count) PARA_TRY(save_edge(dev, bottom, y, 1, height->rule.blend));
    if (col + 1 < width->count) PARA_TRY(save_edge(dev, right, y, 2, width->rule.blend));
    return PARA_OK;
}

static para_status give(const para_vae_stitch *s, int64_t first, para_tensor frames) {
    return s->sink->put(s->sink->user, s->item, first, frames);
}

/* The frames [frames, H, W, C] of a tile in time into the video or the sink. */
static para_status put_in_time(para_vae_stitch *s, para_device *dev, const para_vae_tile *t, para_tensor y) {
    const para_vae_axis *time = &s->tiles->axis[PARA_VAE_TIME];
    const para_vae_span *f = &t->span[PARA_VAE_TIME];
    int at = t->at[PARA_VAE_TIME];
    if (at > 0) PARA_TRY(blend_edge(dev, s->late, y, 0, length_before(time, at), time->rule.blend));
    if (at + 1 < time->count) PARA_TRY(save_edge(dev, s->late, y, 0, time->rule.blend));
    para_tensor kept = para_rows(y, 0, f->keep);
    if (s->sink) return give(s, f->out_at, kept);
    return dev->ops->copy(dev, para_rows(s->video, f->out_at, f->keep), kept);
}

/* Some frames of a tile of all frames. */
static para_status put_frames(para_vae_stitch *s, para_device *dev, const para_vae_tile *t, bool last, int64_t first,
                              para_tensor y) {
    if (s->sink && !in_space(s->tiles)) {
        for (int k = PARA_VAE_HEIGHT; k < PARA_VAE_AXES; k++) y = para_slice(y, k, 0, t->span[k].keep);
        return give(s, first, y);
    }
    para_tensor to = para_rows(s->video, first, y.dim[0]);
    PARA_TRY(put_in_space(s, dev, t, first, y, to));
    return s->sink && last ? give(s, first, to) : PARA_OK;
}

para_status para_vae_stitch_put(para_vae_stitch *s, para_device *dev, int i, int64_t first, para_tensor y) {
    const para_vae_axis *axis = s->tiles->axis;
    para_vae_tile t = para_vae_tiles_at(s->tiles, i);
    const para_vae_span *f = &t.span[PARA_VAE_TIME];
    bool last = t.at[PARA_VAE_HEIGHT] + 1 == axis[PARA_VAE_HEIGHT].count &&
                t.at[PARA_VAE_WIDTH] + 1 == axis[PARA_VAE_WIDTH].count;
    if (!tiled(&axis[PARA_VAE_TIME])) return put_frames(s, dev, &t, last, first, y);
    y = para_rows(y, f->drop, f->out_n - f->drop);
    if (!in_space(s->tiles)) return put_in_time(s, dev, &t, y);
    para_tensor frames = para_rows(s->frames, 0, y.dim[0]);
    PARA_TRY(put_in_space(s, dev, &t, 0, y, frames));
    return last ? put_in_time(s, dev, &t, frames) : PARA_OK;
}
