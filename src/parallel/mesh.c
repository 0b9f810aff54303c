/* Meshes: arithmetic on rank numbers. SPDX-License-Identifier: Apache-2.0 */
#include "parallel/mesh.h"

#include <stdio.h>

#include "comm/rank.h"
#include "core/alloc.h"
#include "core/error.h"

/* "1 x 1 x 4, 1 x 2 x 2, …", as many as the text holds. */
static void legal_meshes(char *text, size_t bytes, int ranks, int64_t most_batch) {
    size_t n = 0;
    for (int b = 1; b <= ranks && b <= most_batch; b++)
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

/* "batch 2 x ulysses 3": the axes that are given. */
static void name_axes(char *text, size_t bytes, para_mesh m) {
    const char *const name[] = {"batch", "ring", "ulysses"};
    int size[] = {m.batch, m.ring, m.ulysses};
    size_t n = 0;
    for (int i = 0; i < 3; i++)
        if (size[i] != 0) n += (size_t)snprintf(text + n, bytes - n, "%s%s %d", n ? " x " : "", name[i], size[i]);
}

para_status para_mesh_misfit(para_mesh mesh, int ranks, int64_t most_batch) {
    char axes[80] = "", legal[512] = "";
    name_axes(axes, sizeof axes, mesh);
    legal_meshes(legal, sizeof legal, ranks, most_batch);
    if (most_batch < ranks)
        return para_fail(PARA_ERR_ARGUMENT,
                         "a mesh of %s (--batch, --ring, --ulysses) on %d ranks needs more than the %lld %s of this "
                         "request, pictures times halves of CFG; possible are %s (batch x ring x ulysses)",
                         axes, ranks, (long long)most_batch, most_batch == 1 ? "item" : "items", legal);
    return para_fail(PARA_ERR_ARGUMENT,
                     "a mesh of %s (--batch, --ring, --ulysses) does not fill %d %s; possible are %s (batch x ring x "
                     "ulysses)",
                     axes, ranks, ranks == 1 ? "rank" : "ranks", legal);
}

para_status para_mesh_make(para_mesh *out, int ranks, int batch, int ring, int ulysses) {
    int64_t fixed = (int64_t)batch * ring;
    if (ulysses == 0 && batch > 0 && ring > 0 && ranks % fixed == 0) ulysses = (int)(ranks / fixed);
    if (batch <= 0 || ring <= 0 || ulysses <= 0 || fixed * ulysses != ranks)
        return para_mesh_misfit((para_mesh){batch, ring, ulysses}, ranks, ranks);
    *out = (para_mesh){batch, ring, ulysses};
    return PARA_OK;
}

para_status para_mesh_open(para_mesh **out, const para_world *world, const para_mesh_options *options) {
    if (!out || !world) return para_fail(PARA_ERR_ARGUMENT, "para_mesh_open: out and world must not be NULL");
    *out = NULL;
    para_mesh_options o = PARA_MESH_OPTIONS_INIT;
    if (options) o = *options;
    PARA_TRY(para_check_size(o.size, sizeof o, "para_mesh_open: options", "PARA_MESH_OPTIONS_INIT"));
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
