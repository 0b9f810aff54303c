/* Videos of a result, written frame by frame. SPDX-License-Identifier: Apache-2.0 */
#include <paraattn/output.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/alloc.h"
#include "core/error.h"
#include "core/path.h"
#include "io/video_file.h"
#include "pipeline/output_pixels.h"

/* One of the videos. */
typedef struct film {
    char *path;
    para_video *file;      /* from its first frame on */
    int64_t height, width; /* of that */
    int frames;
    bool finished;
} film;

struct para_video_writer {
    para_video_options options;
    uint8_t *rgb;
    int64_t room; /* bytes of rgb */
    int count;
    film *film; /* [count] */
};

bool para_path_is_video(const char *path) {
    bool is = path && para_video_check(path) == PARA_OK;
    if (!is) para_clear_error();
    return is;
}

/* The path of the i-th of several: x-2.mp4, x-2-%04d.png. */
static char *numbered(const char *path, int i, int count) {
    if (count == 1) return para_strdup(path);
    size_t stem = para_video_stem(path), room = strlen(path) + 24;
    char *out = para_alloc(room, 1);
    const char *rest = path + stem;
    bool dash = stem > 0 && path[stem - 1] == '-'; /* x-%04d.png */
    if (out && *rest == '%') snprintf(out, room, "%.*s%s%d-%s", (int)stem, path, dash ? "" : "-", i + 1, rest);
    else if (out) snprintf(out, room, "%.*s-%d%s", (int)stem, path, i + 1, rest);
    return out;
}

static para_status check(const char *path, int num_images, const para_video_options *o) {
    PARA_TRY(para_check_size(o->size, sizeof *o, "para_video_writer_open: options", "PARA_VIDEO_OPTIONS_INIT"));
    if (num_images < 1)
        return para_fail(PARA_ERR_ARGUMENT, "para_video_writer_open: %d videos; give 1 or more", num_images);
    PARA_TRY(para_video_check(path));
    const para_video_settings settings = {
        .height = 2, .width = 2, .fps = o->fps, .crf = o->crf}; /* the size comes with the first frame */
    PARA_TRY(para_video_check_settings(path, &settings));
    PARA_TRY(para_save_check_folder(path));
    return para_video_check_module(path);
}

para_status para_video_writer_open(para_video_writer **out, const char *path, int num_images,
                                   const para_video_options *options) {
    if (!out || !path) return para_fail(PARA_ERR_ARGUMENT, "para_video_writer_open: out and path must not be NULL");
    *out = NULL;
    para_video_options o = PARA_VIDEO_OPTIONS_INIT;
    if (options) o = *options;
    PARA_TRY(check(path, num_images, &o));
    para_video_writer *w = para_alloc(1, sizeof *w);
    if (!w) return PARA_ERR_MEMORY;
    *w =
        (para_video_writer){.options = o, .count = num_images, .film = para_alloc((size_t)num_images, sizeof *w->film)};
    bool good = w->film != NULL;
    for (int i = 0; good && i < num_images; i++) good = (w->film[i].path = numbered(path, i, num_images)) != NULL;
    if (!good) para_video_writer_abort(&w);
    *out = w;
    return good ? PARA_OK : PARA_ERR_MEMORY;
}

/* At its first frame, whose size all others must have. */
static para_status begin(para_video_writer *w, film *f, const para_tensor *pixels) {
    f->height = pixels->dim[1];
    f->width = pixels->dim[2];
    int64_t bytes = 3 * f->height * f->width;
    if (bytes > w->room) {
        para_free(w->rgb);
        w->room = 0;
        if (!(w->rgb = para_alloc((size_t)bytes, 1))) return PARA_ERR_MEMORY;
        w->room = bytes;
    }
    const para_video_settings settings = {.height = (int)f->height,
                                          .width = (int)f->width,
                                          .fps = w->options.fps,
                                          .crf = w->options.crf,
                                          .text = w->options.text};
    return para_video_open(&f->file, f->path, &settings);
}

para_status para_video_writer_put(para_video_writer *w, int image, const para_tensor *pixels) {
    if (!w || !pixels || image < 0 || image >= w->count)
        return para_fail(PARA_ERR_ARGUMENT, "para_video_writer_put: a writer, pixels and one of its videos are needed");
    film *f = &w->film[image];
    if (pixels->rank != 3 || pixels->dim[0] != 3 || pixels->dtype != PARA_F32 || !pixels->data ||
        !para_tensor_contiguous(pixels) ||
        (f->frames > 0 && (pixels->dim[1] != f->height || pixels->dim[2] != f->width)))
        return para_fail(PARA_ERR_SHAPE,
                         "para_video_writer_put: pixels must be F32 [3, height, width], contiguous, and of one "
                         "size in all frames");
    if (!f->file) PARA_TRY(begin(w, f, pixels));
    para_pixels_to_bytes(w->rgb, pixels->data, f->height * f->width);
    PARA_TRY(para_video_write(f->file, w->rgb));
    f->frames++;
    return PARA_OK;
}

/* Numbered pictures of a finished video, or its file. */
static void take_back(const film *f) {
    struct stat at;
    size_t stem = para_video_stem(f->path), room = strlen(f->path) + 16;
    char *path = para_alloc(room, 1), *number = NULL;
    for (int i = 0; path && i < (f->path[stem] == '%' ? f->frames : 1); i++) {
        int digits = (int)strtol(f->path + stem + 1, &number, 10);
        if (f->path[stem] == '%') snprintf(path, room, "%.*s%0*d%s", (int)stem, f->path, digits, i + 1, number + 1);
        else snprintf(path, room, "%s", f->path);
        if (lstat(path, &at) == 0 && S_ISREG(at.st_mode)) unlink(path);
    }
    para_free(path);
}

para_status para_video_writer_finish(para_video_writer **writer) {
    if (!writer || !*writer) return para_fail(PARA_ERR_ARGUMENT, "para_video_writer_finish: the writer is NULL");
    para_video_writer *w = *writer;
    para_status status = PARA_OK;
    for (int i = 0; i < w->count && status == PARA_OK; i++) {
        film *f = &w->film[i];
        if (!f->file) status = para_fail(PARA_ERR_ARGUMENT, "'%s': a video without a frame", f->path);
        else status = para_video_finish(&f->file);
        f->finished = status == PARA_OK;
    }
    for (int i = 0; i < w->count && status != PARA_OK; i++)
        if (w->film[i].finished) take_back(&w->film[i]);
    para_video_writer_abort(writer);
    return status;
}

void para_video_writer_abort(para_video_writer **writer) {
    if (!writer || !*writer) return;
    para_video_writer *w = *writer;
    for (int i = 0; w->film && i < w->count; i++) {
        para_video_abort(&w->film[i].file);
        para_free(w->film[i].path);
    }
    para_free(w->film);
    para_free(w->rgb);
    para_free(w);
    *writer = NULL;
}

static para_status put_all(para_video_writer *w, const para_tensor *images) {
    int64_t size[] = {3, images->dim[3], images->dim[4]}, pixels = size[0] * size[1] * size[2];
    for (int64_t i = 0; i < images->dim[0] * images->dim[1]; i++) {
        const para_tensor frame = para_tensor_make((float *)images->data + i * pixels, PARA_F32, 3, size);
        PARA_TRY(para_video_writer_put(w, (int)(i / images->dim[1]), &frame));
    }
    return PARA_OK;
}

para_status para_save_videos(const para_result *result, const char *path, const para_video_options *options) {
    if (!result || !result->images.data || result->images.rank != 5)
        return para_fail(PARA_ERR_ARGUMENT, "para_save_videos: the result has no videos");
    para_video_writer *w;
    PARA_TRY(para_video_writer_open(&w, path, (int)result->images.dim[0], options));
    para_status status = put_all(w, &result->images);
    if (status == PARA_OK) return para_video_writer_finish(&w);
    para_video_writer_abort(&w);
    return status;
}
