/* One direction of a VAE over a batch of pictures or videos: each whole or in its tiles, shared out over ranks. SPDX-License-Identifier: Apache-2.0 */
#ifndef PARA_VAE_VAE_BATCH_H
#define PARA_VAE_VAE_BATCH_H

#include <paraattn/comm.h>

#include "vae/vae_tiling.h"

typedef struct para_vae_batch {
    const char *name;            /* "decoder", "encoder": for messages */
    int64_t in, out;             /* channels */
    para_tensor x, y;            /* [n, f, h, w, in], [n, F, H, W, out]; with a sink y is none */
    const para_vae_sink *sink;   /* on the first rank takes the frames [f, H, W, out] of all items, one item after the other; NULL: they go to y */
    const para_vae_tiles *tiles; /* of each of them */
    /* y [1, F, H, W, out] = what becomes of a tile or a whole x [1, f, h, w, in], both contiguous. */
    para_status (*run)(const void *user, para_device *dev, para_tensor x, para_tensor y);
    /* The same, some frames [f, H, W, out] after the other, of item 0; contiguous, and may be changed. NULL: all come at once. */
    para_status (*run_in_pieces)(const void *user, para_device *dev, para_tensor x, const para_vae_sink *pieces);
    const void *user;
} para_vae_batch;

/* Whether a batch's x and y are what they should be, but for their sizes in time and space: PARA_ERR_SHAPE. */
para_status para_vae_batch_check(const para_vae_batch *b);
/* Computes y on the ranks of `comm` (NULL: this one alone); only the first gets it, bit for bit as it would alone with as many threads. Collective; the
 * arena is as before at return. PARA_ERR_SHAPE and what run, the sink, the ops and other ranks return. */
para_status para_vae_batch_run(const para_vae_batch *b, para_device *dev, const para_comm *comm);

#endif
