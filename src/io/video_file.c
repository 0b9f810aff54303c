/* Writing videos: by the video module, or as pictures. SPDX-License-Identifier: Apache-2.0 */
#include "io/video_file.h"

#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/alloc.h"
#include "core/error.h"
#include "core/module.h"
#include "core/path.h"
#include "io/atomic_file.h"
#include "io/png_file.h"
#include "io/utf8_text.h"
#include "io/video/video_module.h"

#define VIDEO_NEEDS "FFmpeg's libraries (Debian: libavformat-dev libswscale-dev)"

enum { SIZE_MAX_PIXELS = 16384, DIGITS_MAX = 9, NUMBER_ROOM = 16 };

struct para_video {
    char *path;
    para_video_settings settings;
    int64_t frames;
    /* Pictures: "x-", 4, ".png" of x-%04d.png. */
    size_t before; /* bytes of the path before the number; 0 digits: no pictures */
    int digits;
    const char *after;
    /* The module. */
    const para_video_module *module;
    para_video_encoder *encoder;
    para_atomic_file file;
    char **text;      /* mended: key, value, …, NULL */
    para_status sunk; /* what the sink failed with */
};

/* Finds %d or %0Nd before .png; there must be one % and no other. */
static bool find_number(para_video *v) {
    const char *percent = strchr(v->path, '%'), *at = percent ? percent + 1 : NULL;
    if (!at || strchr(at, '%')) return false;
    v->digits = 1;
    if (*at == '0' && at[1] >= '1' && at[1] <= '0' + DIGITS_MAX) {
        v->digits = at[1] - '0';
        at += 2;
    }
    v->before = (size_t)(percent - v->path);
    v->after = at + 1;
    return *at == 'd' && !strchr(v->after, '/') && para_path_ends(v->path, ".png");
}

para_status para_video_check(const char *path) {
    para_video v = {.path = (char *)(uintptr_t)path};
    if (path && (para_path_ends(path, ".mp4") || para_path_ends(path, ".webp") || find_number(&v))) return PARA_OK;
    return para_fail(
        PARA_ERR_ARGUMENT,
        "'%s': the name of a video must end in .mp4 or .webp, or number its pictures as in frames-%%04d.png",
        path ? path : "");
}

size_t para_video_stem(const char *path) {
    const char *at = para_path_ends(path, ".png") ? strchr(path, '%') : strrchr(path, '.');
    return at ? (size_t)(at - path) : strlen(path);
}

para_status para_video_check_settings(const char *path, const para_video_settings *s) {
    if (s->height < 1 || s->width < 1 || s->height > SIZE_MAX_PIXELS || s->width > SIZE_MAX_PIXELS)
        return para_fail(PARA_ERR_ARGUMENT, "'%s': a video of %d x %d pixels; 1 to %d are supported", path, s->width,
                         s->height, SIZE_MAX_PIXELS);
    if (para_path_ends(path, ".png")) return PARA_OK;
    if (!(s->fps > 0 && s->fps <= 1000))
        return para_fail(PARA_ERR_ARGUMENT, "'%s': %g frames a second (--fps); give a number above 0, up to 1000", path,
                         s->fps);
    if (para_path_ends(path, ".webp")) return PARA_OK;
    if (s->crf < 0 || s->crf > 51)
        return para_fail(PARA_ERR_ARGUMENT, "'%s': crf (--crf) is %d; give 0 to 51", path, s->crf);
    if (s->height % 2 || s->width % 2)
        return para_fail(
            PARA_ERR_ARGUMENT,
            "'%s': %d x %d pixels; H.264 with 4:2:0 takes even sizes, so name a .webp or choose another size", path,
            s->width, s->height);
    return PARA_OK;
}

/* ---- The module */

static para_status load(const para_video_module **out) {
    void *function = NULL;
    PARA_TRY(para_module_load("paraattn-video.so", PARA_VIDEO_TABLE_NAME, VIDEO_NEEDS, &function));
    para_video_table_function table;
    memcpy(&table, &function, sizeof table);
    const para_video_module *module = table();
    if (module->abi != PARA_VIDEO_ABI || module->size != sizeof *module)
        return para_fail(
            PARA_ERR_LIBRARY,
            "the module paraattn-video.so is of another version of this library; install both from one build");
    *out = module;
    return PARA_OK;
}

para_status para_video_check_module(const char *path) {
    const para_video_module *module;
    return para_path_ends(path, ".png") ? PARA_OK : load(&module);
}

static bool sink_write(void *user, const void *bytes, size_t n) {
    para_video *v = user;
    return (v->sunk = para_atomic_write(&v->file, bytes, n)) == PARA_OK;
}

static bool sink_seek(void *user, int64_t offset) {
    para_video *v = user;
    return (v->sunk = para_atomic_seek(&v->file, offset)) == PARA_OK;
}

static para_status checked(const para_video *v, int result) {
    switch (result) {
    case PARA_VIDEO_DONE: return PARA_OK;
    case PARA_VIDEO_SINK: return v->sunk;
    case PARA_VIDEO_NO_MEMORY:
        return para_fail(PARA_ERR_MEMORY, "out of memory in FFmpeg while '%s' is written", v->path);
    case PARA_VIDEO_NO_ENCODER:
        return para_fail(
            PARA_ERR_LIBRARY,
            "'%s': this FFmpeg was built without %s; install another one, or write pictures (frames-%%04d.png)",
            v->path, para_path_ends(v->path, ".mp4") ? "libx264" : "libwebp");
    default: break;
    }
    char text[PARA_VIDEO_TEXT_MAX];
    v->module->error_text(result, text);
    return para_fail(PARA_ERR_LIBRARY, "'%s' cannot be written: FFmpeg: %s", v->path, text);
}

/* Values in UTF-8, which the files want. */
static para_status mend_text(para_video *v) {
    size_t n = 0;
    while (v->settings.text && v->settings.text[n]) n += 2;
    if (!(v->text = para_alloc(n + 1, sizeof *v->text))) return PARA_ERR_MEMORY;
    for (size_t i = 0; i < n; i++)
        if (!(v->text[i] = para_utf8_clean(v->settings.text[i]))) return PARA_ERR_MEMORY;
    return PARA_OK;
}

static para_status open_encoder(para_video *v) {
    PARA_TRY(load(&v->module));
    PARA_TRY(mend_text(v));
    PARA_TRY(para_atomic_open(&v->file, v->path));
    const para_video_sink sink = {sink_write, sink_seek, v};
    const para_video_job job = {
        .kind = para_path_ends(v->path, ".mp4") ? PARA_VIDEO_MP4 : PARA_VIDEO_WEBP,
        .height = v->settings.height,
        .width = v->settings.width,
        .fps = v->settings.fps,
        .crf = v->settings.crf,
        .text = (const char *const *)v->text,
    };
    return checked(v, v->module->open(&job, &sink, &v->encoder));
}

/* ---- Pictures */

/* The path of frame `number`; NULL: no memory. */
static char *numbered(const para_video *v, int64_t number) {
    size_t room = strlen(v->path) + NUMBER_ROOM + DIGITS_MAX;
    char *path = para_alloc(room, 1);
    if (path) snprintf(path, room, "%.*s%0*lld%s", (int)v->before, v->path, v->digits, (long long)number, v->after);
    return path;
}

static para_status write_picture(para_video *v, const uint8_t *rgb) {
    char *path = numbered(v, v->frames + 1);
    if (!path) return PARA_ERR_MEMORY;
    para_status status = para_png_write(path, rgb, v->settings.height, v->settings.width, v->settings.text);
    para_free(path);
    return status;
}

/* Those that were written; without memory for their names they stay. */
static void remove_pictures(const para_video *v) {
    for (int64_t i = 1; i <= v->frames; i++) {
        struct stat at;
        char *path = numbered(v, i);
        if (path && lstat(path, &at) == 0 && S_ISREG(at.st_mode)) unlink(path);
        para_free(path);
    }
}

/* ---- Both */

static void release(para_video **video) {
    para_video *v = *video;
    if (v->module) v->module->close(&v->encoder);
    para_atomic_abort(&v->file);
    for (char **t = v->text; t && *t; t++) para_free(*t);
    para_free(v->text);
    para_free(v->path);
    para_free(v);
    *video = NULL;
}

para_status para_video_open(para_video **out, const char *path, const para_video_settings *settings) {
    *out = NULL;
    PARA_TRY(para_video_check(path));
    PARA_TRY(para_video_check_settings(path, settings));
    para_video *v = para_alloc(1, sizeof *v);
    if (!v) return PARA_ERR_MEMORY;
    *v = (para_video){.path = para_strdup(path), .settings = *settings, .file = {.fd = -1}};
    para_status status = v->path ? PARA_OK : PARA_ERR_MEMORY;
    if (status == PARA_OK && !(para_path_ends(path, ".png") && find_number(v))) status = open_encoder(v);
    if (status != PARA_OK) release(&v);
    *out = v;
    return status;
}

para_status para_video_write(para_video *v, const uint8_t *rgb) {
    PARA_TRY(v->module ? checked(v, v->module->write(v->encoder, rgb)) : write_picture(v, rgb));
    v->frames++;
    return PARA_OK;
}

void para_video_abort(para_video **video) {
    if (!*video) return;
    if (!(*video)->module) remove_pictures(*video);
    release(video);
}

para_status para_video_finish(para_video **video) {
    para_video *v = *video;
    para_status status = PARA_OK;
    if (!v->frames) status = para_fail(PARA_ERR_ARGUMENT, "'%s': a video without a frame", v->path);
    if (status == PARA_OK && v->module) status = checked(v, v->module->finish(v->encoder));
    if (status == PARA_OK && v->module) status = para_atomic_commit(&v->file);
    if (status == PARA_OK) release(video);
    else para_video_abort(video);
    return status;
}
