/* From latents to pictures and videos. SPDX-License-Identifier: Apache-2.0 */
#include "core/alloc.h"
#include "core/error.h"
#include "pipeline/latents.h"
#include "pipeline/residency.h"

/* A tensor of the result, on the host. */
static para_status open_host(para_tensor *out, int rank, const int64_t *dim) {
    *out = para_tensor_make(NULL, PARA_F32, rank, dim);
    out->data = para_alloc((size_t)para_tensor_count(out), sizeof(float));
    return out->data ? PARA_OK : PARA_ERR_MEMORY;
}

/* The result's images, if there will be any. */
static para_status open_images(const para_run *run) {
    const para_geometry *g = &run->geometry;
    const para_request *r = run->request;
    int64_t n = r->num_images, picture[] = {n, 3, g->height, g->width},
            video[] = {n, g->num_frames, 3, g->height, g->width};
    if (r->latents_only || r->on_frame) return PARA_OK;
    return run->pipe->family->makes_videos ? open_host(&run->result->images, 5, video)
                                           : open_host(&run->result->images, 4, picture);
}

/* The leading rank's: the result's sizes, room for its images, and its latents. */
static para_status open_result(para_run *run, para_tensor tokens) {
    const para_geometry *g = &run->geometry;
    para_result *out = run->result;
    int64_t dim[5];
    if (!para_run_leads(run)) return PARA_OK;
    if (!out) return para_latents_download(run, tokens, NULL);
    out->height = g->height;
    out->width = g->width;
    out->num_frames = g->num_frames;
    PARA_TRY(open_images(run));
    int rank = para_latents_shape(run->pipe->family, g, tokens.dim[0], dim);
    PARA_TRY(open_host(&out->latents, rank, dim));
    return para_latents_download(run, tokens, out->latents.data);
}

/* Where decoded frames pass through on the leading rank, one by one. */
typedef struct frame_room {
    para_run *run;
    int64_t image; /* what is decoded are images from this one on */
    float *host;   /* [3, H, W], of a caller who takes frames as they come; or NULL */
} frame_room;

enum { BAND = 1 << 18, PAGE = 1024 }; /* values: what stays in a cache between two passes; of the smallest page */

/* Pages that nobody has touched yet cost as much as the copy into them: so while the device is still at it. */
static void touch(float *to, int64_t values) {
    for (int64_t i = 0; i < values; i += PAGE) to[i] = 0;
}

/* From the device's -1..1 to the host's 0..1. */
static para_status download_pixels(para_device *dev, float *to, para_tensor frame) {
    const para_tensor values = PARA_RESHAPE(frame, para_tensor_count(&frame));
    for (int64_t at = 0; at < values.dim[0]; at += BAND) {
        const para_tensor band = para_slice(values, 0, at, values.dim[0] - at < BAND ? values.dim[0] - at : BAND);
        PARA_TRY(dev->ops->download(dev, to + at, &band));
        for (int64_t i = at; i < at + band.dim[0]; i++) to[i] = to[i] * 0.5f + 0.5f;
    }
    return PARA_OK;
}

/* A frame [H, W, 3] in the activations' type, -1..1, to the result or the caller. frame: F32 [3, H, W]. */
static para_status hand_out(const frame_room *room, int64_t image, int64_t number, para_tensor pixels,
                            para_tensor frame) {
    para_run *run = room->run;
    const para_request *r = run->request;
    para_device *dev = run->rank->device;
    int64_t values = para_tensor_count(&frame), before = (image * run->geometry.num_frames + number) * values;
    float *to = !run->result ? NULL : r->on_frame ? room->host : (float *)run->result->images.data + before;
    PARA_TRY(dev->ops->copy(dev, frame, PARA_PERMUTE(pixels, 2, 0, 1)));
    if (to) touch(to, values);
    PARA_TRY(para_run_check_finite(run, frame, "decoding %s %lld",
                                   run->pipe->family->makes_videos ? "video" : "picture", (long long)image + 1));
    if (!to) return PARA_OK;
    PARA_TRY(download_pixels(dev, to, frame));
    if (!r->on_frame) return PARA_OK;
    const para_tensor given = para_tensor_make(to, PARA_F32, frame.rank, frame.dim);
    return r->on_frame(r->user, (int)image, (int)number, &given);
}

/* Frames [f, H, W, 3] that are done; a para_vae_sink's. */
static para_status hand_out_all(void *user, int64_t item, int64_t first, para_tensor pixels) {
    const frame_room *room = user;
    const para_run *run = room->run;
    para_device *dev = run->rank->device;
    int64_t image = room->image + item;
    int frames = run->geometry.num_frames;
    size_t mark = para_arena_mark(&dev->arena);
    para_tensor frame;
    PARA_TRY(PARA_NEW(dev, &frame, PARA_F32, 3, pixels.dim[1], pixels.dim[2]));
    for (int64_t i = 0; i < pixels.dim[0]; i++) {
        para_tensor one = para_rows(pixels, i, 1);
        for (int k = 0; k < 3; k++) one.dim[k] = one.dim[k + 1], one.stride[k] = one.stride[k + 1];
        one.rank = 3;
        PARA_TRY(para_rank_check(run->rank));
        PARA_TRY(hand_out(room, image, first + i, one, frame));
        para_run_progress(run, PARA_STAGE_DECODE, (int)(image * frames + first + i + 1),
                          run->request->num_images * frames);
    }
    para_arena_release(&dev->arena, mark);
    return PARA_OK;
}

/* Decodes the images from `first` on whose tokens these are: [n, tokens, channels]. */
static para_status decode_images(para_run *run, const para_comm *comm, int64_t first, para_tensor tokens) {
    para_device *dev = run->rank->device;
    const para_geometry *g = &run->geometry;
    size_t mark = para_arena_mark(&dev->arena);
    para_tensor latents;
    frame_room room = {.run = run, .image = first};
    PARA_TRY(PARA_NEW(dev, &latents, PARA_F32, tokens.dim[0], g->latent_channels, g->latent_frames, g->latent_height,
                      g->latent_width));
    PARA_TRY(para_latents_unpack(run, tokens, latents));
    if (run->result && run->request->on_frame &&
        !(room.host = para_alloc((size_t)(3 * g->height * g->width), sizeof *room.host)))
        return PARA_ERR_MEMORY;
    para_status status = run->pipe->family->decode(run, comm, latents, &(para_vae_sink){hand_out_all, &room});
    para_free(room.host);
    PARA_TRY(status);
    para_arena_release(&dev->arena, mark);
    return PARA_OK;
}

/* On all ranks, tile by tile: pictures together, videos one by one. */
static para_status decode_together(para_run *run, para_tensor tokens) {
    para_comm all = para_world_comm(run->rank);
    int n = run->request->num_images, at_once = run->pipe->family->makes_videos ? 1 : n;
    para_rank_serial(run->rank, false);
    if (para_mesh_ranks(&run->mesh) == 1) PARA_TRY(para_comm_broadcast(all, 0, tokens));
    for (int i = 0; i < n; i += at_once) PARA_TRY(decode_images(run, &all, i, para_rows(tokens, i, at_once)));
    return PARA_OK;
}

/* One by one on the leading rank, while the others wait. */
static para_status decode_alone(para_run *run, para_tensor tokens) {
    para_rank_serial(run->rank, true);
    for (int i = 0; i < run->request->num_images; i++)
        PARA_TRY(decode_images(run, NULL, i, para_rows(tokens, i, 1)));
    return PARA_OK;
}

para_status para_run_decode(para_run *run, para_tensor tokens) {
    if (!run->request->latents_only) PARA_TRY(para_run_enter(run, PARA_STAGE_DECODE));
    para_run_begin(run);
    PARA_TRY(open_result(run, tokens));
    if (run->request->latents_only) return para_run_end(run, PARA_STAGE_DECODE);
    para_run_progress(run, PARA_STAGE_DECODE, 0, run->request->num_images * run->geometry.num_frames);
    if (run->pipe->parallel_vae) PARA_TRY(decode_together(run, tokens));
    else if (para_run_leads(run)) PARA_TRY(decode_alone(run, tokens));
    para_rank_serial(run->rank, false);
    return para_run_end(run, PARA_STAGE_DECODE);
}
