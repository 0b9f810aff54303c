/* Opening and reading whole files, with sentences. SPDX-License-Identifier: Apache-2.0 */
#ifndef PARA_IO_FILE_READ_H
#define PARA_IO_FILE_READ_H

#include <paraattn/status.h>
#include <stddef.h>

/* Opens a regular file for reading; the caller closes *fd. PARA_ERR_NOT_FOUND, PARA_ERR_IO (also for folders and devices). */
para_status para_file_open(const char *path, int *fd, size_t *size);

/* Reads a whole file of at most `max` bytes. *out has a zero byte after its n bytes; free with para_free.
 * PARA_ERR_NOT_FOUND, PARA_ERR_IO, PARA_ERR_FORMAT (larger than `max`), PARA_ERR_MEMORY. */
para_status para_file_read(const char *path, size_t max, char **out, size_t *n);

#endif
