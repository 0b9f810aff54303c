/* Precompiled character map. SPDX-License-Identifier: Apache-2.0 */
#include "text/charsmap.h"

#include <stdbool.h>
#include <string.h>
#include <utf8proc.h>

#include "core/alloc.h"
#include "core/error.h"
#include "text/unicode_since.h"
#include "text/unicode_text.h"

static uint32_t read_u32(const char *at) {
    const unsigned char *p = (const unsigned char *)at;
    return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

para_status para_charsmap_open(para_charsmap *map, const char *blob, size_t bytes, const char *path) {
    *map = (para_charsmap){0};
    if (bytes < 8) return para_fail(PARA_ERR_FORMAT, "%s: precompiled_charsmap has only %zu bytes", path, bytes);
    uint32_t size = read_u32(blob);
    if (size < 4 || size > bytes - 4)
        return para_fail(PARA_ERR_FORMAT,
                         "%s: precompiled_charsmap says that its trie has %u bytes, of %zu that are there", path, size,
                         bytes - 4);
    size_t count = size / 4, bad;
    const char *texts = blob + 4 + count * 4;
    size_t text_bytes = bytes - 4 - count * 4;
    if (!para_utf8_valid(texts, text_bytes, &bad))
        return para_fail(PARA_ERR_FORMAT, "%s: a replacement in precompiled_charsmap is not UTF-8 (byte %zu)", path,
                         bad);
    map->units = para_alloc(count, sizeof *map->units);
    map->texts = para_alloc(text_bytes, 1);
    if (!map->units || !map->texts) {
        para_charsmap_close(map);
        return PARA_ERR_MEMORY;
    }
    for (size_t i = 0; i < count; i++) map->units[i] = read_u32(blob + 4 + i * 4);
    memcpy(map->texts, texts, text_bytes);
    map->count = count;
    map->bytes = text_bytes;
    return PARA_OK;
}

static int base64_digit(unsigned char c) {
    if (c >= 'A' && c <= 'Z') return c - 'A';
    if (c >= 'a' && c <= 'z') return c - 'a' + 26;
    if (c >= '0' && c <= '9') return c - '0' + 52;
    return c == '+' ? 62 : c == '/' ? 63 : -1;
}

para_status para_charsmap_open_base64(para_charsmap *map, const char *text, size_t bytes, const char *path) {
    *map = (para_charsmap){0};
    size_t digits = bytes;
    while (digits > 0 && bytes - digits < 2 && text[digits - 1] == '=') digits--;
    bool good = bytes % 4 == 0;
    char *blob = para_alloc(bytes / 4 * 3, 1);
    if (!blob) return PARA_ERR_MEMORY;
    uint32_t held = 0;
    size_t n = 0;
    for (size_t i = 0; good && i < digits; i++) {
        int digit = base64_digit((unsigned char)text[i]);
        good = digit >= 0;
        held = held << 6 | (uint32_t)(digit & 63);
        if (i % 4 != 0) blob[n++] = (char)(held >> (6 - 2 * (i % 4)) & 0xFF);
    }
    para_status status = good ? para_charsmap_open(map, blob, n, path)
                              : para_fail(PARA_ERR_FORMAT, "%s: precompiled_charsmap is not base64", path);
    para_free(blob);
    return status;
}

void para_charsmap_close(para_charsmap *map) {
    para_free(map->units);
    para_free(map->texts);
    *map = (para_charsmap){0};
}

static para_status outside(void) {
    return para_fail(PARA_ERR_FORMAT, "precompiled_charsmap points outside itself; the tokenizer's file is damaged");
}

/* Darts-clone's unit: offset to the children in bits 10-30, times 256 where bit 9 is set. */
static size_t child_offset(uint32_t unit) {
    return (size_t)(unit >> 10) << ((unit & 1u << 9) >> 6);
}

/* The replacement of the shortest prefix that has one; *found false where none has. */
static para_status look_up(const para_charsmap *map, const char *key, size_t bytes, bool *found, const char **text,
                           size_t *n) {
    *found = false;
    size_t at = child_offset(map->units[0]);
    for (size_t i = 0; i < bytes && key[i]; i++) {
        unsigned char c = (unsigned char)key[i];
        at ^= c;
        if (at >= map->count) return outside();
        uint32_t unit = map->units[at];
        if ((unit & (1u << 31 | 0xFF)) != c) return PARA_OK;
        at ^= child_offset(unit);
        if (!(unit & 1u << 8)) continue;
        if (at >= map->count) return outside();
        size_t start = map->units[at] & 0x7FFFFFFF;
        if (start > map->bytes || (start < map->bytes && ((unsigned char)map->texts[start] & 0xC0) == 0x80))
            return outside();
        const char *end = start < map->bytes ? memchr(map->texts + start, 0, map->bytes - start) : NULL;
        *found = true;
        *text = map->texts + start;
        *n = end ? (size_t)(end - *text) : map->bytes - start;
        return PARA_OK;
    }
    return PARA_OK;
}

/* Replaces as a whole; *found false where there is no entry. */
static para_status replace(const para_charsmap *map, const char *text, size_t bytes, para_bytes *out, bool *found) {
    const char *replacement = NULL;
    size_t n = 0;
    PARA_TRY(look_up(map, text, bytes, found, &replacement, &n));
    return *found ? para_bytes_append(out, replacement, n) : PARA_OK;
}

static para_status apply_cluster(const para_charsmap *map, const char *text, size_t bytes, para_bytes *out) {
    bool found = false;
    if (bytes < 6) PARA_TRY(replace(map, text, bytes, out, &found));
    if (found) return PARA_OK;
    for (size_t at = 0, next = 0; at < bytes; at = next) {
        para_utf8_next(text, bytes, &next);
        PARA_TRY(replace(map, text + at, next - at, out, &found));
        if (!found) PARA_TRY(para_bytes_append(out, text + at, next - at));
    }
    return PARA_OK;
}

para_status para_charsmap_apply(const para_charsmap *map, const char *text, size_t bytes, para_bytes *out) {
    if (!map->units) return para_bytes_append(out, text, bytes);
    if (bytes == 0) return PARA_OK;
    PARA_TRY(para_bytes_reserve(out, bytes));
    utf8proc_int32_t state = 0;
    size_t start = 0, at = 0;
    int32_t previous = para_utf8_next(text, bytes, &at);
    while (at < bytes) {
        size_t next = at;
        int32_t c = para_utf8_next(text, bytes, &next);
        if (para_extends_since_unicode_15(c)) c = 0x301; /* any mark that extends, for utf8proc */
        if (utf8proc_grapheme_break_stateful(previous, c, &state)) {
            PARA_TRY(apply_cluster(map, text + start, at - start, out));
            start = at;
        }
        previous = c;
        at = next;
    }
    return apply_cluster(map, text + start, bytes - start, out);
}
