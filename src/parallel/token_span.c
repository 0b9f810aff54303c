/* The tokens that neighbours on the tokens axis hold together. SPDX-License-Identifier: Apache-2.0 */
#include "parallel/token_span.h"

para_span para_span_of(const para_layout *layout, int place, int places) {
    para_span s = {{0}, {0}};
    for (int i = 0; i < PARA_SEGMENTS; i++) {
        s.first[i] = para_layout_first(layout, (para_segment)i, place) +
                     (i == PARA_TEXT ? para_layout_total(layout, PARA_IMAGE) : 0);
        for (int p = place; p < place + places; p++) s.count[i] += para_layout_count(layout, (para_segment)i, p);
    }
    return s;
}
