/* What the module paraattn-video.so offers: FFmpeg's encoders behind plain types. The library loads it when it is wanted, so that it needs no FFmpeg to
 * start. SPDX-License-Identifier: Apache-2.0
 *
 * One thread at a time for each encoder. A result is one of para_video_result, 0 success, or below 0 FFmpeg's own error code, which `error_text`
 * spells out. */
#ifndef PARA_IO_VIDEO_MODULE_H
#define PARA_IO_VIDEO_MODULE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { PARA_VIDEO_ABI = 1, PARA_VIDEO_TEXT_MAX = 256 };

/* The name of the function that returns the table. */
#define PARA_VIDEO_TABLE_NAME "para_video_module_table"

typedef enum para_video_result {
    PARA_VIDEO_DONE = 0,
    PARA_VIDEO_NO_ENCODER = 1, /* this FFmpeg has no libx264, no libwebp_anim */
    PARA_VIDEO_NO_MEMORY = 2,
    PARA_VIDEO_SINK = 3, /* the sink failed, and knows why */
} para_video_result;

typedef enum para_video_kind { PARA_VIDEO_MP4, PARA_VIDEO_WEBP } para_video_kind;

typedef struct para_video_job {
    para_video_kind kind;
    int height, width;
    double fps;              /* frames a second */
    int crf;                 /* of H.264: 0 (exact) to 51 */
    const char *const *text; /* metadata: key, value, …, NULL; or NULL. Need not stay */
} para_video_job;

/* Where the encoded bytes go. */
typedef struct para_video_sink {
    bool (*write)(void *user, const void *bytes, size_t n);
    bool (*seek)(void *user, int64_t offset); /* from the beginning */
    void *user;
} para_video_sink;

typedef struct para_video_encoder para_video_encoder;

typedef struct para_video_module {
    int abi;     /* PARA_VIDEO_ABI */
    size_t size; /* sizeof(para_video_module) */

    int (*open)(const para_video_job *job, const para_video_sink *sink, para_video_encoder **out);
    int (*write)(para_video_encoder *e, const uint8_t *rgb); /* [height, width, 3] */
    int (*finish)(para_video_encoder *e);                    /* the last bytes; then only close */
    void (*close)(para_video_encoder **e);                   /* sets NULL, takes NULL */
    void (*error_text)(int result, char text[PARA_VIDEO_TEXT_MAX]);
} para_video_module;

typedef const para_video_module *(*para_video_table_function)(void);

#endif
