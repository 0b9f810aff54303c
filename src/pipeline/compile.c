/* Declaring whether a pipeline's steps are compiled. SPDX-License-Identifier: Apache-2.0 */
#include "core/error.h"
#include "pipeline/pipeline_state.h"

para_status para_compile(para_pipeline *pipe, const para_compile_options *options) {
    para_compile_options o = PARA_COMPILE_OPTIONS_INIT;
    if (options) o = *options;
    if (!pipe) return para_fail(PARA_ERR_ARGUMENT, "para_compile: the pipeline is NULL");
    PARA_TRY(para_check_size(o.size, sizeof o, "para_compile: options", "PARA_COMPILE_OPTIONS_INIT"));
    if (!o.off && pipe->world->options.device != PARA_CUDA)
        return para_fail(PARA_ERR_ARGUMENT,
                         "para_compile (--compile) records a step on a GPU, and the pipeline's device "
                         "is the CPU; leave it out, or open the world on PARA_CUDA (--device cuda)");
    pipe->compiled = pipe->compiled_ranks = !o.off && !o.no_recording;
    pipe->tuned = !o.off && !o.no_tuning;
    return PARA_OK;
}

bool para_pipeline_records(const para_pipeline *pipe, const para_shard *shard) {
    return para_mesh_size(shard->mesh, PARA_AXIS_TOKENS) > 1 ? pipe->compiled_ranks : pipe->compiled;
}
