/* How many tokens of each segment a rank holds. SPDX-License-Identifier: Apache-2.0 */
#ifndef PARA_PARALLEL_LAYOUT_H
#define PARA_PARALLEL_LAYOUT_H

#include <stdint.h>

/* Image (or video) tokens come first, so that padded text would always be a suffix. */
typedef enum para_segment { PARA_IMAGE, PARA_TEXT, PARA_SEGMENTS } para_segment;

typedef struct para_layout {
    int64_t tokens[PARA_SEGMENTS]; /* valid tokens of each segment */
} para_layout;

static inline int64_t para_layout_tokens(const para_layout *l) {
    return l->tokens[PARA_IMAGE] + l->tokens[PARA_TEXT];
}

/* First row of a segment where both lie one after the other. */
static inline int64_t para_layout_first(const para_layout *l, para_segment segment) {
    return segment == PARA_IMAGE ? 0 : l->tokens[PARA_IMAGE];
}

#endif
