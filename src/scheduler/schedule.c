/* A scheduler in the denoising loop. SPDX-License-Identifier: Apache-2.0 */
#include "scheduler/schedule.h"

#include "core/alloc.h"

para_status para_schedule_open(para_schedule *out, const para_schedule_table *table, int steps, size_t bytes) {
    *out = (para_schedule){.table = table, .steps = steps};
    out->timesteps = para_alloc((size_t)steps, sizeof *out->timesteps);
    out->values = para_alloc(bytes, 1);
    return out->timesteps && out->values ? PARA_OK : PARA_ERR_MEMORY;
}

void para_schedule_close(para_schedule *s) {
    para_free(s->timesteps);
    para_free(s->values);
    *s = (para_schedule){0};
}
