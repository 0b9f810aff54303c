/* UTF-8 and the Unicode properties that the tokenizers ask for. SPDX-License-Identifier: Apache-2.0 */
#ifndef PARA_TEXT_UNICODE_TEXT_H
#define PARA_TEXT_UNICODE_TEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "text/text_buffer.h"

/* Whether all bytes are well-formed UTF-8 (no surrogates, nothing overlong); U+0000 is allowed. *at is the first bad byte. */
bool para_utf8_valid(const char *text, size_t bytes, size_t *at);
/* Decodes the code point at *at (*at < bytes, text valid) and moves *at behind it. */
int32_t para_utf8_next(const char *text, size_t bytes, size_t *at);
/* Moves *at (> 0) before the code point that ends there, and returns it. */
int32_t para_utf8_previous(const char *text, size_t *at);
/* Appends a code point. PARA_ERR_MEMORY. */
para_status para_utf8_append(para_bytes *out, int32_t code_point);

/* The property White_Space. */
bool para_is_white_space(int32_t code_point);
/* Rust's regex \w: Alphabetic, marks, decimal digits, connectors, join controls. */
bool para_is_word(int32_t code_point);
/* Rust's char::to_lowercase: one or two code points into lower[2]; returns how many. */
int para_lower(int32_t code_point, int32_t lower[2]);

/* Normalisation form C of valid UTF-8, appended to `out`. PARA_ERR_MEMORY, PARA_ERR_LIBRARY. */
para_status para_append_nfc(para_bytes *out, const char *text, size_t bytes);

#endif
