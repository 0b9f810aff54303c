/* The tokens that neighbours on the tokens axis hold together. SPDX-License-Identifier: Apache-2.0 */
#ifndef PARA_PARALLEL_TOKEN_SPAN_H
#define PARA_PARALLEL_TOKEN_SPAN_H

#include <paraattn/attention.h>

/* Of each segment a run; in memory one run after the other. */
typedef struct para_span {
    int64_t first[PARA_SEGMENTS], count[PARA_SEGMENTS]; /* in the order of the whole: all tokens of the first segment, then all of the second */
} para_span;

/* What `places` ranks from `place` on hold. */
para_span para_span_of(const para_layout *layout, int place, int places);

static inline int64_t para_span_tokens(const para_span *s) {
    return s->count[PARA_IMAGE] + s->count[PARA_TEXT];
}

/* Row where a segment of `part` begins in what `all` holds, which contains it. Of all of itself: where a segment begins. */
static inline int64_t para_span_row(const para_span *all, const para_span *part, int segment) {
    return (segment == PARA_TEXT ? all->count[PARA_IMAGE] : 0) + part->first[segment] - all->first[segment];
}

#endif
