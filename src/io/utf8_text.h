/* Text of unknown origin on its way into a file. SPDX-License-Identifier: Apache-2.0 */
#ifndef PARA_IO_UTF8_TEXT_H
#define PARA_IO_UTF8_TEXT_H

#include <stdbool.h>

/* A copy in which each byte that is not part of UTF-8 became U+FFFD, or NULL with the sentence set. Free with para_free. */
char *para_utf8_clean(const char *text);
/* Whether every byte is ASCII. */
bool para_text_is_ascii(const char *text);

#endif
