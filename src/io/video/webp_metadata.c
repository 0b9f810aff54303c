/* An XMP chunk at the end of a WebP file, and the header that announces it. SPDX-License-Identifier: Apache-2.0 */
#include "io/video/webp_metadata.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

enum { RIFF_HEAD = 12, CHUNK_HEAD = 8, EXTENDED_BYTES = 10, FLAG_XMP = 0x04 };

static const char before[] =
    "<x:xmpmeta xmlns:x=\"adobe:ns:meta/\"><rdf:RDF xmlns:rdf=\"http://www.w3.org/1999/02/22-rdf-syntax-ns#\">"
    "<rdf:Description rdf:about=\"\" xmlns:dc=\"http://purl.org/dc/elements/1.1/\"><dc:description><rdf:Alt>"
    "<rdf:li xml:lang=\"x-default\">";
static const char after[] = "</rdf:li></rdf:Alt></dc:description></rdf:Description></rdf:RDF></x:xmpmeta>";

static void put_32(uint8_t *at, size_t value) {
    for (int i = 0; i < 4; i++) at[i] = (uint8_t)(value >> 8 * i);
}

static void put_24(uint8_t *at, int value) {
    for (int i = 0; i < 3; i++) at[i] = (uint8_t)(value >> 8 * i);
}

/* A character of XML text; XML has no way to write control characters. */
static const char *escaped(unsigned char c) {
    switch (c) {
    case '&': return "&amp;";
    case '<': return "&lt;";
    case '>': return "&gt;";
    default: return c < ' ' && c != '\t' && c != '\n' && c != '\r' ? " " : NULL;
    }
}

/* Appends the text, escaped; `to` NULL only counts. */
static size_t append(uint8_t *to, const char *text) {
    size_t n = 0;
    for (; *text; text++) {
        const char *other = escaped((unsigned char)*text);
        size_t more = other ? strlen(other) : 1;
        if (to) memcpy(to + n, other ? other : text, more);
        n += more;
    }
    return n;
}

static size_t append_pairs(uint8_t *to, const char *const *text) {
    size_t n = 0;
    for (; text && text[0] && text[1]; text += 2) {
        n += append(to ? to + n : NULL, text[0]);
        n += append(to ? to + n : NULL, ": ");
        n += append(to ? to + n : NULL, text[1]);
        n += append(to ? to + n : NULL, "\n");
    }
    return n;
}

int para_webp_describe(para_webp_metadata *out, const uint8_t *file, size_t n, int height, int width,
                       const char *const *text) {
    *out = (para_webp_metadata){0};
    if (n < RIFF_HEAD + CHUNK_HEAD || memcmp(file, "RIFF", 4) != 0 || memcmp(file + 8, "WEBP", 4) != 0) return -1;
    bool extended = memcmp(file + RIFF_HEAD, "VP8X", 4) == 0; /* a single picture may come without */
    if (extended && n < RIFF_HEAD + CHUNK_HEAD + EXTENDED_BYTES) return -1;
    size_t pairs = append_pairs(NULL, text), bytes = sizeof before - 1 + pairs + sizeof after - 1,
           padded = bytes + bytes % 2;
    if (!(out->tail = calloc(CHUNK_HEAD + padded, 1))) return -1;
    out->tail_bytes = CHUNK_HEAD + padded;
    memcpy(out->tail, "XMP ", 4);
    put_32(out->tail + 4, bytes);
    memcpy(out->tail + CHUNK_HEAD, before, sizeof before - 1);
    append_pairs(out->tail + CHUNK_HEAD + sizeof before - 1, text);
    memcpy(out->tail + CHUNK_HEAD + sizeof before - 1 + pairs, after, sizeof after - 1);

    out->head_bytes = RIFF_HEAD + CHUNK_HEAD + EXTENDED_BYTES;
    out->rest = extended ? out->head_bytes : RIFF_HEAD;
    memcpy(out->head, file, out->rest);
    uint8_t *chunk = out->head + RIFF_HEAD;
    if (!extended) {
        memcpy(chunk, "VP8X", 4);
        put_32(chunk + 4, EXTENDED_BYTES);
        put_24(chunk + CHUNK_HEAD + 4, width - 1);
        put_24(chunk + CHUNK_HEAD + 7, height - 1);
    }
    chunk[CHUNK_HEAD] |= FLAG_XMP;
    put_32(out->head + 4, out->head_bytes + n - out->rest + out->tail_bytes - 8);
    return 0;
}
