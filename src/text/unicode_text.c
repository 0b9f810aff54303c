/* UTF-8, Unicode properties and NFC on utf8proc. SPDX-License-Identifier: Apache-2.0 */
#include "text/unicode_text.h"

#include <string.h>
#include <utf8proc.h>

#include "core/alloc.h"
#include "core/error.h"
#include "text/unicode_since.h"

bool para_utf8_valid(const char *text, size_t bytes, size_t *at) {
    size_t i = 0;
    while (i < bytes) {
        if ((unsigned char)text[i] < 0x80) {
            i++;
            continue;
        }
        utf8proc_int32_t c;
        size_t left = bytes - i < 4 ? bytes - i : 4;
        utf8proc_ssize_t n = utf8proc_iterate((const utf8proc_uint8_t *)text + i, (utf8proc_ssize_t)left, &c);
        if (n < 1) {
            *at = i;
            return false;
        }
        i += (size_t)n;
    }
    return true;
}

int32_t para_utf8_next(const char *text, size_t bytes, size_t *at) {
    const unsigned char *p = (const unsigned char *)text + *at;
    if (*p < 0x80) {
        ++*at;
        return *p;
    }
    utf8proc_int32_t c = 0xFFFD;
    size_t left = bytes - *at < 4 ? bytes - *at : 4;
    utf8proc_ssize_t n = utf8proc_iterate(p, (utf8proc_ssize_t)left, &c);
    *at += n > 0 ? (size_t)n : 1;
    return c;
}

int32_t para_utf8_previous(const char *text, size_t *at) {
    size_t end = *at, i = end - 1;
    while (i > 0 && ((unsigned char)text[i] & 0xC0) == 0x80) i--;
    *at = i;
    return para_utf8_next(text, end, &i);
}

para_status para_utf8_append(para_bytes *out, int32_t code_point) {
    PARA_TRY(para_bytes_reserve(out, 4));
    out->n += (size_t)utf8proc_encode_char(code_point, (utf8proc_uint8_t *)out->data + out->n);
    return PARA_OK;
}

bool para_is_white_space(int32_t c) {
    return c == ' ' || (c >= 0x09 && c <= 0x0D) || c == 0x85 || c == 0xA0 || c == 0x1680 ||
           (c >= 0x2000 && c <= 0x200A) || c == 0x2028 || c == 0x2029 || c == 0x202F || c == 0x205F || c == 0x3000;
}

bool para_is_word(int32_t c) {
    switch (utf8proc_category(c)) {
    case UTF8PROC_CATEGORY_LU:
    case UTF8PROC_CATEGORY_LL:
    case UTF8PROC_CATEGORY_LT:
    case UTF8PROC_CATEGORY_LM:
    case UTF8PROC_CATEGORY_LO:
    case UTF8PROC_CATEGORY_MN:
    case UTF8PROC_CATEGORY_MC:
    case UTF8PROC_CATEGORY_ME:
    case UTF8PROC_CATEGORY_ND:
    case UTF8PROC_CATEGORY_NL:
    case UTF8PROC_CATEGORY_PC: return true;
    default: break;
    }
    /* Join controls, and the symbols that are Alphabetic: circled, squared and negative letters. */
    return c == 0x200C || c == 0x200D || (c >= 0x24B6 && c <= 0x24E9) || (c >= 0x1F130 && c <= 0x1F149) ||
           (c >= 0x1F150 && c <= 0x1F169) || (c >= 0x1F170 && c <= 0x1F189);
}

int para_lower(int32_t c, int32_t lower[2]) {
    if (c < 0x80) {
        lower[0] = c >= 'A' && c <= 'Z' ? c + 32 : c;
        return 1;
    }
    if (c == 0x130) { /* the only code point whose full lower case is longer */
        lower[0] = 'i';
        lower[1] = 0x307;
        return 2;
    }
    lower[0] = utf8proc_tolower(c);
    if (lower[0] == c) lower[0] = para_lower_since_unicode_15(c);
    return 1;
}

static int combining_class(int32_t c) {
    return c < 0x300 || para_inert_in_unicode_9(c) ? 0 : utf8proc_get_property(c)->combining_class;
}

/* Sorts a run of marks by combining class, stably, in linear time: a text may be nothing but marks. */
static void order_marks(int32_t *marks, int32_t *spare, size_t n) {
    if (n < 2) return;
    size_t start[257] = {0};
    for (size_t i = 0; i < n; i++) start[combining_class(marks[i]) + 1]++;
    for (int k = 0; k < 256; k++) start[k + 1] += start[k];
    for (size_t i = 0; i < n; i++) spare[start[combining_class(marks[i])]++] = marks[i];
    memcpy(marks, spare, n * sizeof *marks);
}

static void order_all_marks(int32_t *points, int32_t *spare, size_t n) {
    for (size_t i = 0; i < n;) {
        if (combining_class(points[i]) == 0) {
            i++;
            continue;
        }
        size_t end = i + 1;
        while (end < n && combining_class(points[end]) != 0) end++;
        order_marks(points + i, spare, end - i);
        i = end;
    }
}

/* Canonical decomposition of all code points, at most `room` of them; returns how many, or -1. */
static utf8proc_ssize_t decompose(const char *text, size_t bytes, int32_t *points, size_t room) {
    size_t n = 0;
    for (size_t at = 0; at < bytes;) {
        int32_t c = para_utf8_next(text, bytes, &at);
        int boundary = 0;
        utf8proc_ssize_t more = 1;
        if (n == room) return -1;
        if (para_inert_in_unicode_9(c)) points[n] = c;
        else
            more = utf8proc_decompose_char(c, points + n, (utf8proc_ssize_t)(room - n),
                                           UTF8PROC_STABLE | UTF8PROC_DECOMPOSE, &boundary);
        if (more < 0 || (size_t)more > room - n) return -1;
        n += (size_t)more;
    }
    return (utf8proc_ssize_t)n;
}

/* Composes and appends what stands between inert code points. */
static para_status append_composed(para_bytes *out, int32_t *points, size_t n) {
    for (size_t start = 0, end; start < n; start = end) {
        end = start + 1;
        while (end < n && !para_inert_in_unicode_9(points[end])) end++;
        utf8proc_ssize_t composed = utf8proc_normalize_utf32(points + start, (utf8proc_ssize_t)(end - start),
                                                             UTF8PROC_STABLE | UTF8PROC_COMPOSE);
        if (composed < 0)
            return para_fail(PARA_ERR_LIBRARY, "utf8proc could not compose the text; use another version of utf8proc");
        for (utf8proc_ssize_t i = 0; i < composed; i++) PARA_TRY(para_utf8_append(out, points[start + (size_t)i]));
    }
    return PARA_OK;
}

para_status para_append_nfc(para_bytes *out, const char *text, size_t bytes) {
    size_t ascii = 0;
    while (ascii < bytes && (unsigned char)text[ascii] < 0x80) ascii++;
    if (ascii == bytes) return para_bytes_append(out, text, bytes);

    /* No code point decomposes canonically into more than two per byte of its UTF-8 (at most four in all). */
    size_t room = 2 * bytes + 4;
    int32_t *points = para_alloc(room, 2 * sizeof *points); /* [room] and as many spare */
    if (!points) return PARA_ERR_MEMORY;
    para_status status = PARA_OK;
    utf8proc_ssize_t n = decompose(text, bytes, points, room);
    if (n < 0) {
        status = para_fail(PARA_ERR_LIBRARY, "utf8proc could not decompose the text; use another version of utf8proc");
    } else {
        order_all_marks(points, points + room, (size_t)n);
        status = append_composed(out, points, (size_t)n);
    }
    para_free(points);
    return status;
}
