/* Which components lie on a device with memory of its own, and when. SPDX-License-Identifier: Apache-2.0
 *
 * Where all that a request needs fits, all of it stays. Else components come when their stage begins, and those leave that are needed again last, as far as
 * room is wanted. Whether a request fits in one way or the other is said before anything is loaded. */
#ifndef PARA_PIPELINE_RESIDENCY_H
#define PARA_PIPELINE_RESIDENCY_H

#include "pipeline/plan.h"

/* Bytes of a device's memory, from a dry run: with everything there at once; with what the stage that takes most needs. */
int64_t para_need_resident(const para_pipeline *pipe, const para_dry_result *need);
int64_t para_need_in_turn(const para_pipeline *pipe, const para_dry_result *need);

/* On the rank's own thread, before it loads: whether the request fits, and how. PARA_ERR_MEMORY, naming what would. On a CPU with a limit: whether the
 * predicted peak is below it. */
para_status para_residency_check(para_pipeline *pipe, para_rank *rank, const para_dry_result *need);

/* Opens what the request needs (NULL: everything) on the rank's device as far as it fits together, in the order of the stages; on a CPU all of it. run: whose
 * request hears how far it is; or NULL. */
para_status para_residency_load(para_pipeline *pipe, para_rank *rank, const para_request *request, const para_run *run);
/* As a stage begins: opens what it needs, and closes others where there is no room. Its time counts as loading. */
para_status para_run_enter(para_run *run, para_stage stage);

#endif
