/* Which mesh a request gets where it is not given in full. SPDX-License-Identifier: Apache-2.0 */
#ifndef PARA_PARALLEL_MESH_CHOICE_H
#define PARA_PARALLEL_MESH_CHOICE_H

#include "parallel/mesh.h"

/* What a choice depends on. */
typedef struct para_mesh_needs {
    int ranks;      /* of the world */
    int64_t items;  /* transformer evaluations a step: pictures, twice that with CFG */
    int64_t heads;  /* of the attention */
    int64_t tokens; /* of an item, image and text */
    const int *host; /* [ranks]: on which host each rank is, from 0 on and never falling; NULL: all on one */
    para_status (*seconds)(void *user, para_mesh mesh, double *out); /* of a step on a mesh, predicted; NULL: meshes are compared by para_mesh_share */
    void *user;     /* of seconds */
} para_mesh_needs;

/* Whether a mesh with these axes (0: any) can fill the ranks. PARA_ERR_ARGUMENT naming the meshes that do. */
para_status para_mesh_check(para_mesh wish, int ranks);

/* The mesh for a request: axes that are 0 in `wish` are chosen. With several hosts a ulysses group is on one, unless the wish leaves no such mesh. PARA_ERR_ARGUMENT where there are more groups of ranks than items. */
para_status para_mesh_choose(para_mesh *out, para_mesh wish, const para_mesh_needs *needs);

/* Time of a step on a mesh in units of one rank's, as the rank with most to do would take it: items, tokens and heads that do not divide leave
 * others idle; exchange is not counted. */
double para_mesh_share(para_mesh mesh, const para_mesh_needs *needs);

#endif
