/* Where the Unicode versions of the installed libraries differ from those inside the tokenizers library, whose ids ours must
 * equal: utf8proc 2.8 has Unicode 15.0 and PCRE2 10.42 has 14.0; tokenizers 0.23 takes lower case from 17, grapheme clusters
 * from 17, letters and numbers from 16, but normalisation from 9. Found by comparing all code points. Newer utf8proc or PCRE2
 * give the same results, except for letters newer than Unicode 16. SPDX-License-Identifier: Apache-2.0 */
#ifndef PARA_TEXT_UNICODE_SINCE_H
#define PARA_TEXT_UNICODE_SINCE_H

#include <stdbool.h>
#include <stdint.h>

/* For the inside of a character class of PCRE2: letters and numbers of Unicode 16 that 14 does not have. */
#define PARA_LETTERS_SINCE_UNICODE_14                                                                                  \
    "\\x{1C89}-\\x{1C8A}\\x{A7CB}-\\x{A7CD}\\x{A7DA}-\\x{A7DC}\\x{105C0}-\\x{105F3}"                                   \
    "\\x{10D4A}-\\x{10D65}\\x{10D6F}-\\x{10D85}\\x{10EC2}-\\x{10EC4}"                                                  \
    "\\x{1123F}-\\x{11240}\\x{11380}-\\x{11389}\\x{1138B}\\x{1138E}"                                                   \
    "\\x{11390}-\\x{113B5}\\x{113B7}\\x{113D1}\\x{113D3}\\x{11BC0}-\\x{11BE0}"                                         \
    "\\x{11F02}\\x{11F04}-\\x{11F10}\\x{11F12}-\\x{11F33}\\x{1342F}"                                                   \
    "\\x{13441}-\\x{13446}\\x{13460}-\\x{143FA}\\x{16100}-\\x{1611D}"                                                  \
    "\\x{16D40}-\\x{16D6C}\\x{18CFF}\\x{1B132}\\x{1B155}\\x{1DF25}-\\x{1DF2A}"                                         \
    "\\x{1E030}-\\x{1E06D}\\x{1E4D0}-\\x{1E4EB}\\x{1E5D0}-\\x{1E5ED}\\x{1E5F0}"                                        \
    "\\x{2B739}\\x{2EBF0}-\\x{2EE5D}\\x{31350}-\\x{323AF}"
#define PARA_NUMBERS_SINCE_UNICODE_14                                                                                  \
    "\\x{10D40}-\\x{10D49}\\x{116D0}-\\x{116E3}\\x{11BF0}-\\x{11BF9}"                                                  \
    "\\x{11F50}-\\x{11F59}\\x{16130}-\\x{16139}\\x{16D70}-\\x{16D79}"                                                  \
    "\\x{1CCF0}-\\x{1CCF9}\\x{1D2C0}-\\x{1D2D3}\\x{1E4F0}-\\x{1E4F9}"                                                  \
    "\\x{1E5F1}-\\x{1E5FA}"
/* The property White_Space. */
#define PARA_WHITE_SPACE_CLASS                                                                                         \
    "\\x{9}-\\x{D} \\x{85}\\x{A0}\\x{1680}\\x{2000}-\\x{200A}\\x{2028}\\x{2029}\\x{202F}\\x{205F}\\x{3000}"

/* Whether Unicode 9 leaves it as it is and where it is: marks and composites that came later. */
bool para_inert_in_unicode_9(int32_t code_point);
/* Whether Unicode 17 joins it to the grapheme cluster before it, but Unicode 15 does not know it. */
bool para_extends_since_unicode_15(int32_t code_point);
/* Lower case by Unicode 17 where 15 has none, else the code point itself. */
int32_t para_lower_since_unicode_15(int32_t code_point);

#endif
