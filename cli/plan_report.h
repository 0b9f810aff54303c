/* The report of a plan. SPDX-License-Identifier: Apache-2.0 */
#ifndef PARA_CLI_PLAN_REPORT_H
#define PARA_CLI_PLAN_REPORT_H

#include <paraattn/paraattn.h>

/* Writes the request's sizes and all meshes, the fastest first, as JSON. machine: the file of the rates in use, or NULL. PARA_ERR_MEMORY, and what
 * para_save_bytes returns. */
para_status plan_report_write(const char *path, const char *model, const para_plan *p, const para_mesh_plan *mesh, int meshes, const char *machine);

#endif
