/* Files in and out. SPDX-License-Identifier: Apache-2.0 */
#include <paraattn/output.h>

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/alloc.h"
#include "core/error.h"
#include "core/path.h"
#include "io/atomic_file.h"
#include "io/png_file.h"
#include "io/safetensors.h"
#include "io/video_file.h"
#include "pipeline/output_pixels.h"

para_status para_save_check_folder(const char *path) {
    if (!path || !*path) return para_fail(PARA_ERR_ARGUMENT, "the output has no name; name a file");
    const char *slash = strrchr(path, '/');
    char *folder = slash ? para_strdup(path) : para_strdup(".");
    if (!folder) return PARA_ERR_MEMORY;
    if (slash) folder[slash == path ? 1 : slash - path] = '\0';
    struct stat at;
    para_status status = PARA_OK;
    if (stat(path, &at) == 0 && S_ISDIR(at.st_mode))
        status = para_fail(PARA_ERR_IO, "'%s' is a folder; name a file", path);
    else if (stat(folder, &at) != 0 || !S_ISDIR(at.st_mode))
        status = para_fail(PARA_ERR_NOT_FOUND, "'%s': the folder '%s' is not there; create it first", path, folder);
    else if (access(folder, W_OK | X_OK) != 0)
        status = para_fail(PARA_ERR_IO, "'%s': the folder '%s' cannot be written: %s", path, folder, strerror(errno));
    para_free(folder);
    return status;
}

para_status para_save_check(const char *path) {
    if (!path || (!para_path_ends(path, ".png") && !para_path_ends(path, ".safetensors") && !para_path_is_video(path)))
        return para_fail(PARA_ERR_ARGUMENT, "'%s': the output's name must end in .png or .safetensors, of a video in "
                                            ".mp4, .webp or .safetensors, or number its pictures as in frames-%%04d.png",
                         path ? path : "");
    return para_save_check_folder(path);
}

para_status para_save_check_for(const para_pipeline *pipe, const char *path) {
    bool videos = para_pipeline_makes_videos(pipe);
    PARA_TRY(para_save_check(path));
    if (para_path_ends(path, ".safetensors")) return PARA_OK;
    if (videos && !para_path_is_video(path))
        return para_fail(PARA_ERR_ARGUMENT,
                         "'%s': this model makes videos; name a .mp4, .webp or .safetensors, or number the frames as in "
                         "frames-%%04d.png",
                         path);
    if (!videos && !para_path_ends(path, ".png"))
        return para_fail(PARA_ERR_ARGUMENT, "'%s': this model draws pictures; name a .png or .safetensors", path);
    return videos ? para_video_check_module(path) : PARA_OK;
}

void para_pixels_to_bytes(uint8_t *rgb, const float *planes, int64_t pixels) {
    for (int64_t i = 0; i < pixels; i++) {
        for (int c = 0; c < 3; c++) {
            float v = planes[c * pixels + i];
            v = v < 0 ? 0 : v > 1 ? 1 : v;
            rgb[3 * i + c] = (uint8_t)lrintf(v * 255.0f);
        }
    }
}

static para_status save_png(const para_result *r, int64_t i, const char *path, const char *const *text) {
    int64_t h = r->images.dim[2], w = r->images.dim[3];
    uint8_t *rgb = para_alloc((size_t)(h * w), 3);
    if (!rgb) return PARA_ERR_MEMORY;
    para_pixels_to_bytes(rgb, (const float *)r->images.data + i * 3 * h * w, h * w);
    para_status status = para_png_write(path, rgb, (int)h, (int)w, text);
    para_free(rgb);
    return status;
}

/* x-<number>.png in place of x.png */
static void number_path(char *out, size_t room, const char *path, int64_t number) {
    snprintf(out, room, "%.*s-%lld.png", (int)(strlen(path) - 4), path, (long long)number);
}

static void remove_file(const char *path) {
    struct stat at;
    if (lstat(path, &at) == 0 && S_ISREG(at.st_mode)) unlink(path); /* a device stays */
}

/* x.png, or x-1.png, x-2.png, … where there are several: all of them or none. */
static para_status save_pngs(const para_result *r, const char *path, const char *const *text) {
    int64_t n = r->images.dim[0], done = 0;
    if (n == 1) return save_png(r, 0, path, text);
    size_t room = strlen(path) + 24;
    char *numbered = para_alloc(room, 1);
    if (!numbered) return PARA_ERR_MEMORY;
    para_status status = PARA_OK;
    while (done < n && status == PARA_OK) {
        number_path(numbered, room, path, done + 1);
        status = save_png(r, done, numbered, text);
        if (status == PARA_OK) done++;
    }
    for (int64_t i = 0; i < done && status != PARA_OK; i++) {
        number_path(numbered, room, path, i + 1);
        remove_file(numbered);
    }
    para_free(numbered);
    return status;
}

para_status para_save_images(const para_result *result, const char *path, const char *const *text) {
    if (!result || !result->images.data)
        return para_fail(PARA_ERR_ARGUMENT, "para_save_images: the result has no images");
    bool videos = result->images.rank == 5;
    PARA_TRY(para_save_check(path));
    if (para_path_ends(path, ".safetensors"))
        return para_safetensors_write(path, 1, (const char *const[]){videos ? "frames" : "images"}, &result->images, text);
    if (!videos && para_path_ends(path, ".png")) return save_pngs(result, path, text);
    return para_fail(PARA_ERR_ARGUMENT, "para_save_images: '%s' is no file for %s", path, videos ? "a tensor" : "a picture");
}

para_status para_save_tensor(const para_tensor *tensor, const char *name, const char *path) {
    if (!tensor || !name || !path || !tensor->data || !para_tensor_contiguous(tensor))
        return para_fail(PARA_ERR_ARGUMENT, "para_save_tensor: a contiguous tensor, a name and a path are needed");
    return para_safetensors_write(path, 1, &name, tensor, NULL);
}

para_status para_save_tensors(int n, const para_tensor *tensors, const char *const *names, const char *path) {
    bool good = n > 0 && tensors && names && path;
    for (int i = 0; good && i < n; i++) good = names[i] && tensors[i].data && para_tensor_contiguous(&tensors[i]);
    if (!good) return para_fail(PARA_ERR_ARGUMENT, "para_save_tensors: contiguous tensors, their names and a path are needed");
    return para_safetensors_write(path, n, names, tensors, NULL);
}

para_status para_load_tensor(para_tensor *out, const char *name, const char *path) {
    if (!out || !name || !path)
        return para_fail(PARA_ERR_ARGUMENT, "para_load_tensor: out, name and path must not be NULL");
    *out = (para_tensor){0};
    para_safetensors *file;
    PARA_TRY(para_safetensors_open(&file, path));
    int64_t i = para_safetensors_find(file, name);
    para_tensor t = {0};
    para_status status = PARA_OK;
    if (i < 0) {
        status = para_fail(PARA_ERR_NOT_FOUND, "'%s' holds no tensor '%s'", path, name);
    } else if (t = para_safetensors_tensor(file, i),
               t.dtype != PARA_F32 && t.dtype != PARA_F16 && t.dtype != PARA_BF16) {
        status = para_fail(PARA_ERR_SHAPE, "'%s': tensor '%s' is not F32, F16 or BF16", path, name);
    } else {
        size_t bytes = (size_t)para_tensor_count(&t) * para_dtype_size(t.dtype);
        *out = t;
        out->data = para_alloc(bytes, 1);
        if (out->data) memcpy(out->data, t.data, bytes);
        else status = PARA_ERR_MEMORY;
    }
    para_safetensors_close(&file);
    return status;
}

void para_tensor_free(para_tensor *tensor) {
    if (!tensor) return;
    para_free(tensor->data);
    *tensor = (para_tensor){0};
}

para_status para_save_bytes(const char *path, const void *bytes, size_t n) {
    if (!path || (!bytes && n)) return para_fail(PARA_ERR_ARGUMENT, "para_save_bytes: a path and bytes are needed");
    para_atomic_file file;
    PARA_TRY(para_atomic_open(&file, path));
    para_status status = para_atomic_write(&file, bytes, n);
    if (status != PARA_OK) {
        para_atomic_abort(&file);
        return status;
    }
    return para_atomic_commit(&file);
}
