/* Meshes over several hosts. SPDX-License-Identifier: Apache-2.0
 *
 * Ranks are numbered host by host, and a mesh's ulysses axis is the one whose ranks are next to each other. It exchanges before and after attention, while a
 * ring passes keys and values on under it, and groups of the batch axis send predictions alone: so the first belongs into a host, the others between hosts. */
#ifndef PARA_PARALLEL_MESH_HOSTS_H
#define PARA_PARALLEL_MESH_HOSTS_H

#include "parallel/mesh_choice.h"

/* Whether all ranks that share an axis are on one host, in each of its groups. `host`: of each rank; NULL: all are on one. */
bool para_mesh_axis_in_hosts(para_mesh mesh, para_axis axis, const int *host);

/* Why this mesh, where there are several hosts, in a sentence: "2 hosts of 8 ranks, hence …"; else "". `wish` is what was given of it. */
void para_mesh_explain(char *text, size_t bytes, para_mesh mesh, para_mesh wish, const para_mesh_needs *needs);

#endif
