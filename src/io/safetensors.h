/* One safetensors file, memory-mapped, every byte range checked. SPDX-License-Identifier: Apache-2.0
 * Format: https://github.com/huggingface/safetensors#format */
#ifndef PARA_IO_SAFETENSORS_H
#define PARA_IO_SAFETENSORS_H

#include <paraattn/tensor.h>

typedef struct para_safetensors para_safetensors;

/* Maps the file and checks its header: length, JSON, types, shapes, offsets in bounds, without overlap or gap, shape × type =
 * range. Tensors of types that PARA_DTYPE_MAP lacks (F64, I16 …) are listed with PARA_DTYPE_NONE. A file that another process
 * cuts short after this kills readers with SIGBUS, as with any mapping. PARA_ERR_NOT_FOUND, PARA_ERR_IO, PARA_ERR_FORMAT, PARA_ERR_MEMORY; the sentence names file and tensor. */
para_status para_safetensors_open(para_safetensors **out, const char *path);
/* The same from memory that stays the caller's; `name` stands in messages. */
para_status para_safetensors_parse(para_safetensors **out, const void *bytes, size_t n, const char *name);
void para_safetensors_close(para_safetensors **file);

/* Number of tensors; the i-th, sorted by name: its name (the file's own memory), read-only view (any alignment), type as the file
 * spells it, and bytes. */
int64_t para_safetensors_count(const para_safetensors *file);
const char *para_safetensors_name(const para_safetensors *file, int64_t i);
para_tensor para_safetensors_tensor(const para_safetensors *file, int64_t i);
const char *para_safetensors_type(const para_safetensors *file, int64_t i);
int64_t para_safetensors_bytes(const para_safetensors *file, int64_t i);
/* The open file that holds the i-th tensor, and where in it: for whoever reads rather than maps; stays the safetensors file's own. -1: there is none. */
int para_safetensors_file(const para_safetensors *file, int64_t i, int64_t *offset);
/* Index of the tensor of this name, or -1. */
int64_t para_safetensors_find(const para_safetensors *file, const char *name);
const char *para_safetensors_path(const para_safetensors *file);
/* Text of __metadata__[key], or NULL. */
const char *para_safetensors_metadata(const para_safetensors *file, const char *key);

/* Writes contiguous host tensors under their names, with metadata pairs (key, value, …; NULL-terminated; may be NULL), to a temporary
 * file beside `path`, then renames it: all or nothing. PARA_ERR_ARGUMENT, PARA_ERR_NOT_FOUND (the folder), PARA_ERR_IO, PARA_ERR_MEMORY. */
para_status para_safetensors_write(const char *path, int n, const char *const *names, const para_tensor *tensors, const char *const *metadata);

#endif
