/* A batch in parts: item by item, each in its tiles or whole. SPDX-License-Identifier: Apache-2.0 */
#include "vae/vae_batch.h"

#include <inttypes.h>

#include "core/error.h"
#include "vae/vae_share.h"

/* A batch on one rank. */
typedef struct job {
    const para_vae_batch *b;
    para_device *dev;
    para_tensor y; /* the batch's, or its type and sizes */
    bool in_parts; /* tiles or frames are put together; else what is computed lands in y */
    int parts;     /* of an item */
    para_vae_stitch stitch; /* of the item whose parts are joined */
} job;

/* Item i [f, h, w, C] of a batch. */
static para_tensor item_of(para_tensor t, int64_t i) {
    return PARA_RESHAPE(para_rows(t, i, 1), t.dim[1], t.dim[2], t.dim[3], t.dim[4]);
}

/* A part's [1, F, H, W, out]. */
static para_tensor part_room(const void *user, int i) {
    const job *j = user;
    if (!j->in_parts) return para_rows(j->y, i, 1);
    para_vae_tile t = para_vae_tiles_at(j->b->tiles, i % j->parts);
    return para_tensor_make(NULL, j->y.dtype, 5,
                            (int64_t[]){1, t.span[0].out_n, t.span[1].out_n, t.span[2].out_n, j->b->out});
}

static bool whole(const para_vae_tiles *tiles) {
    bool all = true;
    for (int k = 0; k < PARA_VAE_AXES; k++) all = all && tiles->axis[k].whole;
    return all;
}

/* What a part is computed from: [1, f, h, w, in], contiguous. */
static para_status part_input(const job *j, int i, para_tensor *in) {
    const para_vae_batch *b = j->b;
    *in = para_rows(b->x, i / j->parts, 1);
    if (whole(b->tiles)) return PARA_OK;
    para_vae_tile t = para_vae_tiles_at(b->tiles, i % j->parts);
    para_tensor from = item_of(*in, 0);
    PARA_TRY(PARA_NEW(j->dev, in, from.dtype, 1, t.span[0].in_n, t.span[1].in_n, t.span[2].in_n, b->in));
    for (int k = 0; k < PARA_VAE_AXES; k++) from = para_slice(from, k, t.span[k].in_at, t.span[k].in_n);
    return j->dev->ops->copy(j->dev, item_of(*in, 0), from);
}

static para_status part_compute(void *user, int i, para_tensor y) {
    const job *j = user;
    size_t mark = para_arena_mark(&j->dev->arena);
    para_tensor in;
    PARA_TRY(part_input(j, i, &in));
    PARA_TRY(j->b->run(j->b->user, j->dev, in, y));
    para_arena_release(&j->dev->arena, mark);
    return PARA_OK;
}

/* Frames [f, h, w, out] of a part, from number `first` on. */
static para_status join_frames(void *user, int64_t i, int64_t first, para_tensor frames) {
    job *j = user;
    j->stitch.item = i / j->parts;
    if (!j->b->sink) j->stitch.video = item_of(j->y, j->stitch.item);
    return para_vae_stitch_put(&j->stitch, j->dev, (int)(i % j->parts), first, frames);
}

static para_status part_join(void *user, int i, para_tensor y) {
    const job *j = user;
    return j->in_parts ? join_frames(user, i, 0, item_of(y, 0)) : PARA_OK;
}

/* A part whose frames are joined as they come. */
typedef struct piece {
    job *j;
    int part;
} piece;

static para_status join_piece(void *user, int64_t item, int64_t first, para_tensor frames) {
    const piece *p = user;
    (void)item; /* there is one */
    return join_frames(p->j, p->part, first, frames);
}

static para_status part_alone(void *user, int i) {
    job *j = user;
    const para_vae_batch *b = j->b;
    para_tensor in, y = part_room(j, i);
    if (!j->in_parts) return part_compute(j, i, y);
    if (b->run_in_pieces) {
        piece p = {j, i};
        PARA_TRY(part_input(j, i, &in));
        return b->run_in_pieces(b->user, j->dev, in, &(para_vae_sink){join_piece, &p});
    }
    PARA_TRY(para_new(j->dev, &y, y.dtype, y.rank, y.dim));
    PARA_TRY(part_compute(j, i, y));
    return part_join(j, i, y);
}

para_status para_vae_batch_check(const para_vae_batch *b) {
    const para_tensor *x = &b->x, *y = &b->y;
    bool fits = (x->dtype == PARA_F32 || x->dtype == PARA_BF16) && x->rank == 5 && x->dim[4] == b->in &&
                para_tensor_contiguous(x);
    if (!b->sink)
        fits = fits && y->dtype == x->dtype && y->rank == 5 && y->dim[0] == x->dim[0] && y->dim[4] == b->out &&
               para_tensor_contiguous(y);
    if (fits) return PARA_OK;
    return para_fail(PARA_ERR_SHAPE,
                     "the VAE's %s takes contiguous pictures or frames of %" PRId64
                     " channels and gives as many of %" PRId64 ", channels last, both F32 or both BF16",
                     b->name, b->in, b->out);
}

static para_status check_sizes(const para_vae_batch *b, const para_tensor *y) {
    for (int k = 0; k < PARA_VAE_AXES; k++)
        if (b->x.dim[1 + k] != b->tiles->axis[k].in || y->dim[1 + k] != b->tiles->axis[k].out)
            return para_fail(PARA_ERR_SHAPE,
                             "the VAE's %s makes %" PRId64 " %s of %" PRId64 ", not %" PRId64 " of %" PRId64, b->name,
                             b->tiles->axis[k].out, k ? "pixels along an edge" : "frames", b->tiles->axis[k].in,
                             y->dim[1 + k], b->x.dim[1 + k]);
    return PARA_OK;
}

para_status para_vae_batch_run(const para_vae_batch *b, para_device *dev, const para_comm *comm) {
    PARA_TRY(para_vae_batch_check(b));
    const para_vae_axis *axis = b->tiles->axis;
    job j = {.b = b, .dev = dev, .y = b->y, .parts = para_vae_tiles_count(b->tiles)};
    if (b->sink)
        j.y = para_tensor_make(NULL, b->x.dtype, 5,
                               (int64_t[]){b->x.dim[0], axis[0].out, axis[1].out, axis[2].out, b->out});
    PARA_TRY(check_sizes(b, &j.y));
    j.in_parts = b->sink || !whole(b->tiles);
    size_t mark = para_arena_mark(&dev->arena);
    if (j.in_parts && (!comm || comm->index == 0))
        PARA_TRY(para_vae_stitch_open(&j.stitch, dev, b->tiles, item_of(j.y, 0), b->sink));
    para_vae_parts parts = {(int)b->x.dim[0] * j.parts, &j, part_room, part_compute, part_join, part_alone};
    PARA_TRY(para_vae_parts_run(&parts, dev, comm));
    para_arena_release(&dev->arena, mark);
    return PARA_OK;
}
