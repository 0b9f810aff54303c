/* Videos, written frame by frame: the file appears whole at the end, or not at all. SPDX-License-Identifier: Apache-2.0
 *
 * x.mp4 is H.264 by FFmpeg's libx264 (4:2:0, BT.709), x.webp an animation by its libwebp_anim, x-%04d.png numbered pictures from 1 on. FFmpeg comes in
 * the module paraattn-video.so; pictures do without. */
#ifndef PARA_IO_VIDEO_FILE_H
#define PARA_IO_VIDEO_FILE_H

#include <paraattn/status.h>
#include <stddef.h>
#include <stdint.h>

typedef struct para_video para_video;

typedef struct para_video_settings {
    int height, width;       /* pixels, even for MP4 */
    double fps;              /* frames a second, up to 1000; pictures have none */
    int crf;                 /* of MP4: 0 (exact) to 51, small is good and large */
    const char *const *text; /* metadata: key, UTF-8 value, …, NULL; or NULL. Must stay until the end. Mended where it is not UTF-8 */
} para_video_settings;

/* Whether a path names a video: PARA_ERR_ARGUMENT with the names that do. */
para_status para_video_check(const char *path);
/* Whether a video could be written so. PARA_ERR_ARGUMENT. */
para_status para_video_check_settings(const char *path, const para_video_settings *settings);
/* Whether there is what writes it. PARA_ERR_LIBRARY, saying what to install. */
para_status para_video_check_module(const char *path);
/* Bytes of a path before what tells one video from another: the ending, or the number of a picture. */
size_t para_video_stem(const char *path);

/* Begins. PARA_ERR_ARGUMENT (path, a setting), PARA_ERR_NOT_FOUND (the folder), PARA_ERR_LIBRARY (the module, or an encoder, is not there),
 * PARA_ERR_IO, PARA_ERR_MEMORY. */
para_status para_video_open(para_video **out, const char *path, const para_video_settings *settings);
/* The next frame: [height, width, 3] bytes RGB. Same errors; after one only abort is left. */
para_status para_video_write(para_video *v, const uint8_t *rgb);
/* Ends the file and gives it its name; sets *v to NULL, also on failure, which leaves nothing behind. PARA_ERR_ARGUMENT where there was no frame. */
para_status para_video_finish(para_video **v);
/* Gives it up: nothing is left behind. Sets *v to NULL, takes NULL; keeps the sentence. */
void para_video_abort(para_video **v);

#endif
