/* Output files that appear whole or not at all. SPDX-License-Identifier: Apache-2.0 */
#ifndef PARA_IO_ATOMIC_FILE_H
#define PARA_IO_ATOMIC_FILE_H

#include <paraattn/status.h>
#include <stddef.h>
#include <stdint.h>

/* A file being written: a temporary one in the folder of `path`, with the permissions that the umask gives. Where `path` is
 * a device or a pipe (/dev/null), the bytes go straight there. */
typedef struct para_atomic_file {
    char *path;
    char *temporary; /* NULL: written straight to `path` */
    int fd;
} para_atomic_file;

/* Each sets the sentence with path and reason. After a failure of open or commit nothing is left to do; after one
 * of write or seek, call abort. PARA_ERR_IO, PARA_ERR_NOT_FOUND (the folder), PARA_ERR_MEMORY. */
para_status para_atomic_open(para_atomic_file *file, const char *path);
para_status para_atomic_write(para_atomic_file *file, const void *bytes, size_t n);
/* The next write goes to this offset. PARA_ERR_IO for a pipe or terminal, too. */
para_status para_atomic_seek(para_atomic_file *file, int64_t offset);
/* Flushes to the disk and renames. */
para_status para_atomic_commit(para_atomic_file *file);
/* Removes the temporary file; keeps the sentence. */
void para_atomic_abort(para_atomic_file *file);

#endif
