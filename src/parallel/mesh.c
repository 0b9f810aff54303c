/* Meshes: arithmetic on rank numbers. SPDX-License-Identifier: Apache-2.0 */
#include "parallel/mesh.h"

#include <stdio.h>

#include "comm/rank.h"
#include "core/alloc.h"
#include "core/error.h"

/* "1 x 1 x 4, 1 x 2 x 2, …", as many as the text holds. */
static void legal_meshes(char *text, size_t bytes, int ranks) {
    size_t n = 0;
    for (int b = 1; b <= ranks; b++)
        for (int r = 1; r * b <= ranks; r++) {
            char one[40];
            if (ranks % (b * r)) continue;
            int length = snprintf(one, sizeof one, "%s%d x %d x %d", n ? ", " : "", b, r, ranks / (b * r));
            if (n + (size_t)length + 5 > bytes) {
                snprintf(text + n, bytes - n, ", …");
                return;
            }
            n += (size_t)snprintf(text + n, bytes - n, "%s", one);
        }
}

para_status para_mesh_make(para_mesh *out, int ranks, int batch, int ring, int ulysses) {
    int64_t fixed = (int64_t)batch * ring;
    if (ulysses == 0 && batch > 0 && ring > 0 && ranks % fixed == 0) ulysses = (int)(ranks / fixed);
    if (batch > 0 && ring > 0 && ulysses > 0 && fixed * ulysses == ranks) {
        *out = (para_mesh){batch, ring, ulysses};
        return PARA_OK;
    }
    char legal[512] = "";
    legal_meshes(legal, sizeof legal, ranks);
    return para_fail(
        PARA_ERR_ARGUMENT,
        "a mesh of batch %d x ring %d x ulysses %d does not fill %d %s (--batch, --ring, --ulysses); possible are %s",
        batch, ring, ulysses, ranks, ranks == 1 ? "rank" : "ranks", legal);
}

para_status para_mesh_open(para_mesh **out, const para_world *world, const para_mesh_options *options) {
    if (!out || !world) return para_fail(PARA_ERR_ARGUMENT, "para_mesh_open: out and world must not be NULL");
    *out = NULL;
    para_mesh_options o = PARA_MESH_OPTIONS_INIT;
    if (options) o = *options;
    if (o.size != sizeof o)
        return para_fail(PARA_ERR_ARGUMENT,
                         "para_mesh_open: options.size is %zu, not %zu; start from PARA_MESH_OPTIONS_INIT and build "
                         "against the installed header",
                         o.size, sizeof o);
    para_mesh mesh;
    PARA_TRY(para_mesh_make(&mesh, para_world_size(world), o.batch, o.ring, o.ulysses));
    para_mesh *m = para_alloc(1, sizeof *m);
    if (!m) return PARA_ERR_MEMORY;
    *m = mesh;
    *out = m;
    return PARA_OK;
}

void para_mesh_close(para_mesh **mesh) {
    if (!mesh || !*mesh) return;
    para_free(*mesh);
    *mesh = NULL;
}

int para_mesh_size(const para_mesh *m, para_axis axis) {
    switch (axis) {
    case PARA_AXIS_BATCH: return m->batch;
    case PARA_AXIS_RING: return m->ring;
    case PARA_AXIS_ULYSSES: return m->ulysses;
    case PARA_AXIS_TOKENS: break;
    }
    return m->ring * m->ulysses;
}

para_comm para_mesh_comm(para_rank *rank, const para_mesh *m, para_axis axis) {
    int tokens = m->ring * m->ulysses, u = rank->index % m->ulysses, r = rank->index / m->ulysses % m->ring,
        b = rank->index / tokens;
    switch (axis) {
    case PARA_AXIS_BATCH: return (para_comm){rank, rank->index % tokens, tokens, m->batch, b};
    case PARA_AXIS_RING: return (para_comm){rank, b * tokens + u, m->ulysses, m->ring, r};
    case PARA_AXIS_ULYSSES: return (para_comm){rank, rank->index - u, 1, m->ulysses, u};
    case PARA_AXIS_TOKENS: break;
    }
    return (para_comm){rank, b * tokens, 1, tokens, rank->index % tokens};
}
