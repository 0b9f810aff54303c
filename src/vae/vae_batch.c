/* A batch in parts: item by item, each in its tiles or whole. SPDX-License-Identifier: Apache-2.0 */
#include "vae/vae_batch.h"

#include <inttypes.h>

#include "core/error.h"
#include "vae/vae_share.h"

/* A batch on one rank. */
typedef struct job {
    const para_vae_batch *b;
    para_device *dev;
    bool tiled;
    int parts;              /* of an item */
    para_vae_stitch stitch; /* of the item whose tiles are joined */
} job;

/* Item i [f, h, w, C] of a batch. */
static para_tensor item_of(para_tensor t, int64_t i) {
    return PARA_RESHAPE(para_rows(t, i, 1), t.dim[1], t.dim[2], t.dim[3], t.dim[4]);
}

/* A tile's [1, F, H, W, out]; what is not tiled lands in y at once. */
static para_tensor part_room(const void *user, int i) {
    const job *j = user;
    const para_vae_batch *b = j->b;
    if (!j->tiled) return para_rows(b->y, i, 1);
    para_vae_tile t = para_vae_tiles_at(b->tiles, i % j->parts);
    return para_tensor_make(NULL, b->y.dtype, 5,
                            (int64_t[]){1, t.span[0].out_n, t.span[1].out_n, t.span[2].out_n, b->out});
}

static para_status part_compute(void *user, int i, para_tensor y) {
    const job *j = user;
    const para_vae_batch *b = j->b;
    if (!j->tiled) return b->run(b->user, j->dev, para_rows(b->x, i, 1), y);
    size_t mark = para_arena_mark(&j->dev->arena);
    para_vae_tile t = para_vae_tiles_at(b->tiles, i % j->parts);
    para_tensor from = item_of(b->x, i / j->parts), in; /* [1, f, h, w, in] */
    PARA_TRY(PARA_NEW(j->dev, &in, from.dtype, 1, t.span[0].in_n, t.span[1].in_n, t.span[2].in_n, b->in));
    for (int k = 0; k < PARA_VAE_AXES; k++) from = para_slice(from, k, t.span[k].in_at, t.span[k].in_n);
    PARA_TRY(j->dev->ops->copy(j->dev, item_of(in, 0), from));
    PARA_TRY(b->run(b->user, j->dev, in, y));
    para_arena_release(&j->dev->arena, mark);
    return PARA_OK;
}

static para_status part_join(void *user, int i, para_tensor y) {
    job *j = user;
    if (!j->tiled) return PARA_OK;
    j->stitch.video = item_of(j->b->y, i / j->parts);
    return para_vae_stitch_put(&j->stitch, j->dev, i % j->parts, item_of(y, 0));
}

para_status para_vae_batch_check(const para_vae_batch *b) {
    bool typed = b->x.dtype == b->y.dtype && (b->x.dtype == PARA_F32 || b->x.dtype == PARA_BF16);
    bool ranked =
        b->x.rank == 5 && b->y.rank == 5 && b->x.dim[0] == b->y.dim[0] && b->x.dim[4] == b->in && b->y.dim[4] == b->out;
    if (typed && ranked && para_tensor_contiguous(&b->x) && para_tensor_contiguous(&b->y)) return PARA_OK;
    return para_fail(PARA_ERR_SHAPE,
                     "the VAE's %s takes contiguous pictures or frames of %" PRId64
                     " channels and gives as many of %" PRId64 ", channels last, both F32 or both BF16",
                     b->name, b->in, b->out);
}

para_status para_vae_batch_run(const para_vae_batch *b, para_device *dev, const para_comm *comm) {
    PARA_TRY(para_vae_batch_check(b));
    for (int k = 0; k < PARA_VAE_AXES; k++)
        if (b->x.dim[1 + k] != b->tiles->axis[k].in || b->y.dim[1 + k] != b->tiles->axis[k].out)
            return para_fail(PARA_ERR_SHAPE,
                             "the VAE's %s makes %" PRId64 " %s of %" PRId64 ", not %" PRId64 " of %" PRId64, b->name,
                             b->tiles->axis[k].out, k ? "pixels along an edge" : "frames", b->tiles->axis[k].in,
                             b->y.dim[1 + k], b->x.dim[1 + k]);
    size_t mark = para_arena_mark(&dev->arena);
    job j = {.b = b, .dev = dev, .parts = para_vae_tiles_count(b->tiles)};
    for (int k = 0; k < PARA_VAE_AXES; k++) j.tiled = j.tiled || !b->tiles->axis[k].whole;
    if (j.tiled && (!comm || comm->index == 0))
        PARA_TRY(para_vae_stitch_open(&j.stitch, dev, b->tiles, item_of(b->y, 0)));
    para_vae_parts parts = {(int)b->x.dim[0] * j.parts, &j, part_room, part_compute, part_join};
    PARA_TRY(para_vae_parts_run(&parts, dev, comm));
    para_arena_release(&dev->arena, mark);
    return PARA_OK;
}
