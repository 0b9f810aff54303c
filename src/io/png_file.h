/* PNG files with text chunks. SPDX-License-Identifier: Apache-2.0 */
#ifndef PARA_IO_PNG_FILE_H
#define PARA_IO_PNG_FILE_H

#include <paraattn/status.h>
#include <stdint.h>

/* Writes 8-bit RGB pixels (height, width, 3) with text pairs (key, UTF-8 value, …; NULL-terminated; may be NULL) as iTXt/tEXt chunks, to a
 * temporary file beside `path`, then renames it: all or nothing, also on a full disk. Text that is not UTF-8 is mended (U+FFFD).
 * PARA_ERR_ARGUMENT (size, key), PARA_ERR_NOT_FOUND (the folder), PARA_ERR_IO, PARA_ERR_LIBRARY, PARA_ERR_MEMORY. */
para_status para_png_write(const char *path, const uint8_t *rgb, int height, int width, const char *const *text);

#endif
