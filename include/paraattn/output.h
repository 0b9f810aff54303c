/* Files in and out: pictures, tensors, reports. Part of libparaattn; SPDX-License-Identifier: Apache-2.0
 * Every file appears whole or not at all. All functions may be called from any thread. */
#ifndef PARAATTN_OUTPUT_H
#define PARAATTN_OUTPUT_H

#include "pipeline.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Checks that a result can be saved under `path`: its ending is .png or .safetensors, its folder is there and can be written.
 * PARA_ERR_ARGUMENT, PARA_ERR_NOT_FOUND, PARA_ERR_IO. Nothing is created. */
PARA_API para_status para_save_check(const char *path);
/* The same for a file of any ending: its folder alone is checked. */
PARA_API para_status para_save_check_folder(const char *path);

/* Saves the pictures of a result. "x.png": 8-bit RGB, clamped and rounded as diffusers does, with the text pairs (key, UTF-8 value, …,
 * NULL; or NULL for none) as text chunks; more than one picture go to x-1.png, x-2.png, …, all or none. "x.safetensors": tensor `images`
 * F32 [n, 3, height, width], 0..1 before clamping, with the pairs as metadata. PARA_ERR_IO, PARA_ERR_ARGUMENT, PARA_ERR_MEMORY. */
PARA_API para_status para_save_images(const para_result *result, const char *path, const char *const *text);

/* Saves a contiguous host tensor under `name` in a safetensors file. PARA_ERR_IO, PARA_ERR_ARGUMENT, PARA_ERR_MEMORY. */
PARA_API para_status para_save_tensor(const para_tensor *tensor, const char *name, const char *path);

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
