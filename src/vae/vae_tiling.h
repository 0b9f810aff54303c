/* Large pictures in overlapping tiles, as diffusers' AutoencoderKL cuts, blends and crops them.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef PARA_VAE_TILING_H
#define PARA_VAE_TILING_H

#include "backend/backend.h"

/* How one direction (decode or encode) tiles. "in" counts pixels of what goes in, "out" of what comes out. */
typedef struct para_vae_tile_rule {
    int64_t in_size;  /* edge of a tile that goes in */
    int64_t in_step;  /* distance between the origins of neighbouring tiles */
    int64_t multiply; /* an edge of n pixels comes out with n · multiply / divide, rounded down */
    int64_t divide;
    int64_t blend; /* out: edge over which neighbours are blended, at most */
    int64_t limit; /* out: edge of what is kept of a tile, at most */
} para_vae_tile_rule;

/* One tile. */
typedef struct para_vae_tile {
    int row, col;
    int64_t in_y, in_x, in_h, in_w;       /* what it reads */
    int64_t out_h, out_w;                 /* what it becomes */
    int64_t out_y, out_x, crop_h, crop_w; /* what of it is kept, from its origin, and where that lands */
} para_vae_tile;

/* The tiles of one picture in raster order. */
typedef struct para_vae_tiles {
    para_vae_tile_rule rule;
    int64_t in_h, in_w;   /* the picture that goes in */
    int64_t out_h, out_w; /* the picture that comes out */
    int rows, cols;
} para_vae_tiles;

/* Lists the tiles of a picture of h × w. PARA_ERR_SHAPE where the rule makes no progress or a tile comes out
 * empty. */
para_status para_vae_tiles_make(para_vae_tiles *out, const para_vae_tile_rule *rule, int64_t h, int64_t w);
/* Tile i of rows · cols; they may be computed in any order and on any rank. */
para_vae_tile para_vae_tiles_at(const para_vae_tiles *tiles, int i);

/* Joins computed tiles, in raster order. Diffusers blends a tile with neighbours that are blended already, so
 * the order counts; only the edges of earlier tiles are kept, in the arena, until the caller releases it. */
typedef struct para_vae_stitch {
    const para_vae_tiles *tiles;
    para_tensor image;  /* [out_h, out_w, C], any strides but the last */
    para_tensor bottom; /* [blend, full width of all tiles, C]: last rows of the tiles above */
    para_tensor right;  /* [tile height, blend, C]: last columns of the tile to the left */
} para_vae_stitch;

/* `tiles` must outlive the stitch. */
para_status para_vae_stitch_open(para_vae_stitch *out, para_device *dev, const para_vae_tiles *tiles,
                                 para_tensor image);
/* Blends tile i, y [out_h, out_w, C] (which it changes), with its neighbours and puts what is kept into the
 * image. */
para_status para_vae_stitch_put(para_vae_stitch *s, para_device *dev, int i, para_tensor y);

#endif
