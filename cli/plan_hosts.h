/* para plan: what passes between hosts. SPDX-License-Identifier: Apache-2.0 */
#ifndef PARA_CLI_PLAN_HOSTS_H
#define PARA_CLI_PLAN_HOSTS_H

#include "request_options.h"

/* --hosts: "2", so many hosts; "3,5", two with so many ranks each, which then say how many ranks there are. EXIT_USAGE after a sentence. */
int plan_check_hosts(const number_list *hosts, request_options *request);

/* On several hosts: why the mesh is as it is, and how much of what a step sends passes between them, for every mesh in the order given. */
void plan_show_hosts(const para_plan *plan, const para_mesh_plan *mesh, int meshes);

#endif
