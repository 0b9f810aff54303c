/* What families share beside prompts and latents: configs, sizes, flow matching. SPDX-License-Identifier: Apache-2.0 */
#ifndef PARA_PIPELINE_FAMILY_H
#define PARA_PIPELINE_FAMILY_H

#include "pipeline/pipeline_state.h"
#include "scheduler/flow_match_euler.h"

/* The models of all components as their configs say, without weights: model [num_components], for `look` only. */
para_status para_family_inspect(const para_pipeline *pipe, para_status (*look)(const para_pipeline *pipe, void *const *model, void *user), void *user);

/* scheduler/scheduler_config.json of the class that it names, which must be `class_name` (or NULL: any), and into the pipeline's digest. The caller closes
 * the config. */
para_status para_family_scheduler(para_pipeline *pipe, const char *class_name, para_config *out);
/* FlowMatchEulerDiscreteScheduler. */
para_status para_family_flow_match(para_pipeline *pipe, para_flow_match_euler *out);
/* Its schedule from the request's sigmas, or from numpy.linspace(1, stop, points)[:steps]. */
para_status para_family_flow_schedule(const para_flow_match_euler *scheduler, const para_request *request, double stop, int points, double mu,
                                      para_schedule *out);

/* A height or width, `name`d, in pixels: rounded down to whole multiples of `unit`, with a warning. */
para_status para_family_round_edge(const para_pipeline *pipe, const char *name, int asked, int unit, int *out);
/* A number of frames, 1 more than a multiple of `unit`: rounded down to such, with a warning. PARA_ERR_ARGUMENT below 1. */
para_status para_family_round_frames(const para_pipeline *pipe, int asked, int unit, int *out);
/* Tokens of latents: PARA_ERR_ARGUMENT, naming the sizes that would do, where the transformer's patches don't divide them. */
para_status para_family_count_tokens(const para_pipeline *pipe, para_geometry *g);

#endif
