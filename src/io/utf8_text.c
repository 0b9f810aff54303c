/* Text of unknown origin on its way into a file. SPDX-License-Identifier: Apache-2.0 */
#include "io/utf8_text.h"

#include <string.h>
#include <utf8proc.h>

#include "core/alloc.h"

char *para_utf8_clean(const char *text) {
    size_t left = strlen(text);
    char *out = para_alloc(left + 1, 3); /* U+FFFD has three bytes */
    if (!out) return NULL;
    char *to = out;
    while (left > 0) {
        utf8proc_int32_t code;
        utf8proc_ssize_t n = utf8proc_iterate((const utf8proc_uint8_t *)text, (utf8proc_ssize_t)left, &code);
        if (n > 0) {
            memcpy(to, text, (size_t)n);
            to += n;
        } else {
            memcpy(to, "\xef\xbf\xbd", 3);
            to += 3;
            n = 1;
        }
        text += n;
        left -= (size_t)n;
    }
    return out;
}

bool para_text_is_ascii(const char *text) {
    for (; *text; text++)
        if ((unsigned char)*text > 127) return false;
    return true;
}
