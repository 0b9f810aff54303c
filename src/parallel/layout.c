/* Sharing out tokens. SPDX-License-Identifier: Apache-2.0 */
#include "parallel/layout.h"

#include "core/alloc.h"
#include "core/error.h"
#include "parallel/mesh.h"

/* As even as can be, the first ranks one more: the first token of rank `index`. */
static int64_t even_first(int64_t total, int ranks, int index) {
    int64_t rest = total % ranks;
    return total / ranks * index + (index < rest ? index : rest);
}

static para_status fill(para_layout *l, para_segment s, int64_t total, const int64_t *share) {
    for (int i = 0; i <= l->ranks; i++) {
        if (!share) {
            l->first[s][i] = even_first(total, l->ranks, i);
        } else if (i < l->ranks) {
            if (share[i] < 0 || share[i] > total - l->first[s][i])
                return para_fail(PARA_ERR_ARGUMENT,
                                 "para_layout_open: share[%d][%d] is %lld; the shares must add up to %lld tokens",
                                 (int)s, i, (long long)share[i], (long long)total);
            l->first[s][i + 1] = l->first[s][i] + share[i];
        }
    }
    if (l->first[s][l->ranks] == total) return PARA_OK;
    return para_fail(PARA_ERR_ARGUMENT, "para_layout_open: the shares of segment %d add up to %lld tokens, not %lld",
                     (int)s, (long long)l->first[s][l->ranks], (long long)total);
}

para_status para_layout_open(para_layout **out, const para_mesh *mesh, const para_layout_options *options) {
    if (!out || !mesh || !options || options->size != sizeof *options)
        return para_fail(
            PARA_ERR_ARGUMENT,
            "para_layout_open: out, mesh and options are needed, the options starting from PARA_LAYOUT_OPTIONS_INIT");
    *out = NULL;
    int ranks = para_mesh_size(mesh, PARA_AXIS_TOKENS);
    para_layout *l = para_alloc(1, sizeof *l + PARA_SEGMENTS * ((size_t)ranks + 1) * sizeof *l->first[0]);
    if (!l) return PARA_ERR_MEMORY;
    l->ranks = ranks;
    for (int s = 0; s < PARA_SEGMENTS; s++) {
        l->first[s] = (int64_t *)(l + 1) + s * (ranks + 1);
        para_status status = options->tokens[s] >= 0
                                 ? fill(l, (para_segment)s, options->tokens[s], options->share[s])
                                 : para_fail(PARA_ERR_ARGUMENT, "para_layout_open: tokens[%d] is %lld; give 0 or more",
                                             s, (long long)options->tokens[s]);
        if (status != PARA_OK) {
            para_free(l);
            return status;
        }
    }
    *out = l;
    return PARA_OK;
}

void para_layout_close(para_layout **layout) {
    if (!layout || !*layout) return;
    para_free(*layout);
    *layout = NULL;
}

int64_t para_layout_total(const para_layout *l, para_segment segment) {
    return l->first[segment][l->ranks];
}

int64_t para_layout_first(const para_layout *l, para_segment segment, int index) {
    return l->first[segment][index];
}

int64_t para_layout_count(const para_layout *l, para_segment segment, int index) {
    return l->first[segment][index + 1] - l->first[segment][index];
}

int64_t para_layout_tokens(const para_layout *l, int index, int count) {
    int64_t n = 0;
    for (int s = 0; s < PARA_SEGMENTS; s++) n += l->first[s][index + count] - l->first[s][index];
    return n;
}

para_shard para_shard_of(const para_mesh *mesh, const para_layout *layout, int index) {
    para_shard s = {.mesh = mesh, .layout = layout};
    for (int i = 0; i < PARA_SEGMENTS; i++) {
        s.tokens[i] = para_layout_count(layout, (para_segment)i, index);
        s.first[i] = para_layout_first(layout, (para_segment)i, index);
        s.total[i] = para_layout_total(layout, (para_segment)i);
    }
    return s;
}
