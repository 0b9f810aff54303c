/* One safetensors file, memory-mapped, every byte range checked. SPDX-License-Identifier: Apache-2.0
 * Format: https://github.com/huggingface/safetensors#format */
#ifndef PARA_IO_SAFETENSORS_H
#define PARA_IO_SAFETENSORS_H

#include <paraattn/tensor.h>

typedef struct para_safetensors para_safetensors;

/* Maps the file and checks its header: length, JSON, types, shapes, offsets in bounds, in order, without overlap or
 * gap, shape × type = range. PARA_ERR_NOT_FOUND, PARA_ERR_IO, PARA_ERR_FORMAT, PARA_ERR_MEMORY; the sentence names file and tensor. */
para_status para_safetensors_open(para_safetensors **out, const char *path);
/* The same from memory that stays the caller's; `name` stands in messages. */
para_status para_safetensors_parse(para_safetensors **out, const void *bytes, size_t n, const char *name);
void para_safetensors_close(para_safetensors **file);

/* Number of tensors; the i-th name (file's own memory) and read-only view. */
int64_t para_safetensors_count(const para_safetensors *file);
const char *para_safetensors_name(const para_safetensors *file, int64_t i);
para_tensor para_safetensors_tensor(const para_safetensors *file, int64_t i);
/* Index of the tensor of this name, or -1. */
int64_t para_safetensors_find(const para_safetensors *file, const char *name);
const char *para_safetensors_path(const para_safetensors *file);
/* Text of __metadata__[key], or NULL. */
const char *para_safetensors_metadata(const para_safetensors *file, const char *key);

/* Writes contiguous host tensors under their names, with metadata pairs (key, value, …; NULL-terminated; may be NULL), to a temporary
 * file beside `path`, then renames it: all or nothing. PARA_ERR_IO, PARA_ERR_MEMORY. */
para_status para_safetensors_write(const char *path, int n, const char *const *names, const para_tensor *tensors, const char *const *metadata);

#endif
