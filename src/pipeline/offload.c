/* Declaring that a pipeline's transformer is offloaded. SPDX-License-Identifier: Apache-2.0 */
#include "core/error.h"
#include "pipeline/pipeline_state.h"

para_status para_offload(para_pipeline *pipe, const para_offload_options *options) {
    para_offload_options o = PARA_OFFLOAD_OPTIONS_INIT;
    if (options) o = *options;
    if (!pipe) return para_fail(PARA_ERR_ARGUMENT, "para_offload: the pipeline is NULL");
    PARA_TRY(para_check_size(o.size, sizeof o, "para_offload: options", "PARA_OFFLOAD_OPTIONS_INIT"));
    if (!o.off && (o.slots < 2 || o.slots > PARA_COPY_SLOTS))
        return para_fail(PARA_ERR_ARGUMENT, "para_offload: slots is %d; give 2 to %d", o.slots, (int)PARA_COPY_SLOTS);
    if (!o.off && !pipe->world->worker[0].rank.device->ops->copies)
        return para_fail(PARA_ERR_ARGUMENT,
                         "para_offload (--offload) spares the memory of a GPU, and the pipeline's device is the "
                         "CPU; leave it out, or open the world on PARA_CUDA (--device cuda)");
    int slots = o.off ? 0 : o.slots;
    if (slots != pipe->offload_slots) /* where it lies is decided when it is loaded */
        for (int i = 0; i < pipe->holders; i++)
            para_instance_close(&pipe->holder[i].instance[pipe->family->transformer]);
    pipe->offload_slots = slots;
    return PARA_OK;
}
