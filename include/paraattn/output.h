/* Files in and out: pictures, videos, tensors, reports. Part of libparaattn; SPDX-License-Identifier: Apache-2.0
 * Every file appears whole or not at all. All functions may be called from any thread. */
#ifndef PARAATTN_OUTPUT_H
#define PARAATTN_OUTPUT_H

#include "pipeline.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Checks that some pipeline's result can be saved under `path`: it ends in .png or .safetensors, or names a video; its folder is there and can be
 * written. PARA_ERR_ARGUMENT, PARA_ERR_NOT_FOUND, PARA_ERR_IO. Nothing is created. */
PARA_API para_status para_save_check(const char *path);
/* The same for the results of this pipeline: pictures go to x.png, videos to x.mp4, x.webp or numbered pictures (x-%04d.png), both to x.safetensors. Besides,
 * PARA_ERR_LIBRARY where a video needs what is not installed. */
PARA_API para_status para_save_check_for(const para_pipeline *pipe, const char *path);
/* Whether it is a name of a video that is written frame by frame: x.mp4, x.webp, x-%04d.png. */
PARA_API bool para_path_is_video(const char *path);
/* The same for a file of any ending: its folder alone is checked. */
PARA_API para_status para_save_check_folder(const char *path);

/* Saves the pictures of a result, or as tensor its videos. "x.png": 8-bit RGB, clamped and rounded as diffusers does, with the text pairs (key, UTF-8 value, …,
 * NULL; or NULL for none) as text chunks; more than one picture go to x-1.png, x-2.png, …, all or none. "x.safetensors": tensor `images`
 * F32 [n, 3, height, width], of videos `frames` F32 [n, num_frames, 3, height, width], 0..1 before clamping, with the pairs as metadata. PARA_ERR_IO, PARA_ERR_ARGUMENT, PARA_ERR_MEMORY. */
PARA_API para_status para_save_images(const para_result *result, const char *path, const char *const *text);

/* ---- Videos */

typedef struct para_video_options {
    size_t size;             /* sizeof(para_video_options), set by PARA_VIDEO_OPTIONS_INIT */
    double fps;              /* frames a second, above 0, up to 1000; numbered pictures have none (24) */
    int crf;                 /* of MP4, 0 (exact) to 51: smaller is better and larger (18) */
    const char *const *text; /* metadata: key, UTF-8 value, …, NULL (NULL: none) */
} para_video_options;

#define PARA_VIDEO_OPTIONS_INIT { sizeof(para_video_options), 24, 18, NULL }

/* Videos on their way to files, frame by frame: x.mp4 (H.264, 4:2:0, BT.709), x.webp (animated) or numbered pictures, x-%04d.png, from 1 on. 8-bit RGB,
 * clamped and rounded as diffusers does. More than one video go to x-1.mp4, x-2.mp4, … (x-1-0001.png, …), all or none. One thread at a time. */
typedef struct para_video_writer para_video_writer;

/* Of num_images videos; nothing is written yet. What `options` (NULL: the defaults) points to must stay until the end. PARA_ERR_ARGUMENT,
 * PARA_ERR_NOT_FOUND, PARA_ERR_IO, PARA_ERR_LIBRARY (what it needs is not installed), PARA_ERR_MEMORY. */
PARA_API para_status para_video_writer_open(para_video_writer **out, const char *path, int num_images, const para_video_options *options);
/* The next frame of video `image`: pixels F32 [3, height, width] on the host, 0..1, contiguous; as para_request's on_frame hands them out. Errors as of
 * open; PARA_ERR_SHAPE. */
PARA_API para_status para_video_writer_put(para_video_writer *writer, int image, const para_tensor *pixels);
/* Ends all files and gives them their names. Sets *writer to NULL, also on failure, which leaves nothing behind. PARA_ERR_ARGUMENT where a video has no
 * frame. */
PARA_API para_status para_video_writer_finish(para_video_writer **writer);
/* Gives them up: nothing is left behind. Sets *writer to NULL, takes NULL; keeps the sentence. */
PARA_API void para_video_writer_abort(para_video_writer **writer);

/* All of these for the videos of a result, which have their pixels. */
PARA_API para_status para_save_videos(const para_result *result, const char *path, const para_video_options *options);

/* ---- Others */

/* Saves a contiguous host tensor under `name` in a safetensors file. PARA_ERR_IO, PARA_ERR_ARGUMENT, PARA_ERR_MEMORY. */
PARA_API para_status para_save_tensor(const para_tensor *tensor, const char *name, const char *path);

/* Saves n of them in one file: tensors [n], names [n]. Errors as before. */
PARA_API para_status para_save_tensors(int n, const para_tensor *tensors, const char *const *names, const char *path);

/* Reads the tensor `name` of a safetensors file into memory of the caller's (para_tensor_free).
 * PARA_ERR_NOT_FOUND, PARA_ERR_IO, PARA_ERR_FORMAT, PARA_ERR_SHAPE (a type that is no float), PARA_ERR_MEMORY. */
PARA_API para_status para_load_tensor(para_tensor *out, const char *name, const char *path);
/* Frees what para_load_tensor gave; takes a zeroed tensor, too. */
PARA_API void para_tensor_free(para_tensor *tensor);

/* Writes n bytes to a file. PARA_ERR_IO, PARA_ERR_NOT_FOUND, PARA_ERR_MEMORY. */
PARA_API para_status para_save_bytes(const char *path, const void *bytes, size_t n);

#ifdef __cplusplus
}
#endif
#endif
