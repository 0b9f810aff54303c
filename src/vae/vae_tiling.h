/* Large pictures and videos in overlapping tiles, as diffusers' VAEs cut, blend and crop them. SPDX-License-Identifier: Apache-2.0 */
#ifndef PARA_VAE_TILING_H
#define PARA_VAE_TILING_H

#include "backend/backend.h"

/* How one direction (decode or encode) tiles along one axis. "in" counts pixels or frames of what goes in, "out" of what comes out. */
typedef struct para_vae_tile_rule {
    int64_t in_size;  /* of a tile that goes in */
    int64_t in_step;  /* distance between the origins of neighbouring tiles */
    int64_t multiply; /* n come out as n · multiply / divide, rounded down */
    int64_t divide;
    int64_t blend; /* out: over so many neighbours are blended, at most */
    int64_t limit; /* out: so many are kept of a tile, at most */
    bool round_up; /* n · multiply / divide is rounded up */
    bool
        causal; /* time: a tile reads one frame more, n become (n - 1) · multiply / divide + 1, of the first tile one more is kept, and of the
                       * others the first frame is dropped */
    bool crop;  /* no more is kept in all than comes of the whole, rounded down */
} para_vae_tile_rule;

/* The rule of a space axis in diffusers' video VAEs: tiles of `size` pixels begin every `step`, `ratio` of which make one of the latents. */
para_vae_tile_rule para_vae_stride_rule(bool decoder, int64_t size, int64_t step, int64_t ratio);

/* One axis of what goes in and comes out: `count` tiles, or one that is all of it. */
typedef struct para_vae_axis {
    para_vae_tile_rule rule;
    bool whole;
    int64_t in, out;
    int count;
} para_vae_axis;

/* A tile along one axis: what it reads, what that becomes, of which the first `drop` are nothing; what of the rest is kept, and where that lands. */
typedef struct para_vae_span {
    int64_t in_at, in_n, out_n, drop, keep, out_at;
} para_vae_span;

/* The tiles of one picture or video in raster order, time outermost. */
enum { PARA_VAE_TIME, PARA_VAE_HEIGHT, PARA_VAE_WIDTH, PARA_VAE_AXES };
typedef struct para_vae_tiles {
    para_vae_axis axis[PARA_VAE_AXES];
} para_vae_tiles;

/* One tile. */
typedef struct para_vae_tile {
    int at[PARA_VAE_AXES]; /* which along each axis */
    para_vae_span span[PARA_VAE_AXES];
} para_vae_tile;

/* An axis in tiles; of what would come out empty nothing is computed. PARA_ERR_SHAPE where the rule makes no progress or a tile comes out empty. */
para_status para_vae_axis_make(para_vae_axis *out, const para_vae_tile_rule *rule, int64_t in);
/* An axis in one piece. */
para_vae_axis para_vae_axis_whole(int64_t in, int64_t out);
/* PARA_ERR_SHAPE unless a video has frames and pixels. */
para_status para_vae_check_video(const int64_t in[PARA_VAE_AXES]);
/* All axes: in tiles by their rules where `tiled` says so, else in one piece, from `in` to `whole`. `who` needs `least` pixels along an edge: for the message.
 * PARA_ERR_SHAPE. */
para_status para_vae_tiles_make(para_vae_tiles *out, const para_vae_tile_rule rule[PARA_VAE_AXES], const int64_t in[PARA_VAE_AXES],
                                const int64_t whole[PARA_VAE_AXES], const bool tiled[PARA_VAE_AXES], const char *who, int64_t least);
int para_vae_tiles_count(const para_vae_tiles *tiles);
/* Tile i; they may be computed in any order and on any rank. */
para_vae_tile para_vae_tiles_at(const para_vae_tiles *tiles, int i);

/* Who takes the frames of pictures or videos one after the other, as soon as nothing changes them any more. */
typedef struct para_vae_sink {
    /* The next frames [f, H, W, C] of item `item`, of which the first has the number `first`; any strides but the last. They are lost at return. */
    para_status (*put)(void *user, int64_t item, int64_t first, para_tensor frames);
    void *user;
} para_vae_sink;

/* Joins computed tiles, in raster order. Diffusers blends a tile with neighbours that are blended already, so the order counts; only the edges of earlier
 * tiles are kept, in the arena, until the caller releases it. */
typedef struct para_vae_stitch {
    const para_vae_tiles *tiles;
    const para_vae_sink *sink; /* or NULL: the video is the caller's, and filled */
    int64_t item;              /* which the tiles are of, for the sink */
    para_tensor video; /* [F, H, W, C], any strides but the last; with a sink it has data only where frames wait for tiles in space, and none in time */
    para_tensor bottom; /* [frames of a tile, blend, full width of all tiles, C]: last rows of the tiles above */
    para_tensor right;  /* [frames of a tile, tile height, blend, C]: last columns of the tile to the left */
    para_tensor
        frames; /* [frames of a tile, H, W, C]: where there are tiles in time, what is put together of those in space */
    para_tensor late; /* [blend, H, W, C]: last frames of those before */
} para_vae_stitch;

/* `tiles` and `sink` (NULL: into the video) must outlive the stitch. With a sink the video needs no data. */
para_status para_vae_stitch_open(para_vae_stitch *out, para_device *dev, const para_vae_tiles *tiles, para_tensor video,
                                 const para_vae_sink *sink);
/* Blends tile i, y [frames, height, width, C] (which it changes), with its neighbours, and puts what is kept into the video, or what is done into the sink.
 * Where there are no tiles in time, y may be some of its frames, from number `first` on, in order. */
para_status para_vae_stitch_put(para_vae_stitch *s, para_device *dev, int i, int64_t first, para_tensor y);

#endif
