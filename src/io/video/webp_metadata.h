/* Text in a WebP file, which FFmpeg does not write. SPDX-License-Identifier: Apache-2.0 */
#ifndef PARA_IO_WEBP_METADATA_H
#define PARA_IO_WEBP_METADATA_H

#include <stddef.h>
#include <stdint.h>

/* What goes where in a file of n bytes that gets a chunk of XMP: head, the file's bytes from `rest` on, tail. */
typedef struct para_webp_metadata {
    uint8_t head[30]; /* [head_bytes]: in place of the file's first `rest` bytes */
    size_t head_bytes, rest;
    uint8_t *tail; /* [tail_bytes], malloc */
    size_t tail_bytes;
} para_webp_metadata;

/* The text as dc:description, "key: value" by lines. 0, or -1: no memory, or not a WebP file of this size. Source: WebP Container Specification. */
int para_webp_describe(para_webp_metadata *out, const uint8_t *file, size_t n, int height, int width, const char *const *text);

#endif
