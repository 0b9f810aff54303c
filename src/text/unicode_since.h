/* Letters and numbers that newer Unicode has and the installed PCRE2 may not: ranges for a character class.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef PARA_TEXT_UNICODE_SINCE_H
#define PARA_TEXT_UNICODE_SINCE_H

#define PARA_LETTERS_SINCE_UNICODE_14 ""
#define PARA_NUMBERS_SINCE_UNICODE_14 ""
/* The property White_Space. */
#define PARA_WHITE_SPACE_CLASS                                                                                         \
    "\\x{9}-\\x{D} \\x{85}\\x{A0}\\x{1680}\\x{2000}-\\x{200A}\\x{2028}\\x{2029}\\x{202F}\\x{205F}\\x{3000}"

#endif
