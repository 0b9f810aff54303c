/* A scheduler in the denoising loop: its timesteps, and how it steps from one to the next. SPDX-License-Identifier: Apache-2.0 */
#ifndef PARA_SCHEDULER_SCHEDULE_H
#define PARA_SCHEDULER_SCHEDULE_H

#include "backend/backend.h"

typedef struct para_schedule para_schedule;

/* One step, of all pictures or videos of a request at once. */
typedef struct para_schedule_step {
    int step;               /* from 0 */
    para_tensor prediction; /* F32 [n, tokens, channels]: the transformer's, guided; may be overwritten */
    para_tensor latents;    /* F32 [n, tokens, channels]: becomes the next step's */
    /* The next normals of the request's generator, as diffusers draws them for all latents at once: into out, like latents. Every rank asks for the
     * same in the same order. */
    para_status (*noise)(void *user, para_tensor out);
    void *user;
} para_schedule_step;

/* What a scheduler does in the loop. Tensors hold the rank's own tokens; the work is elementwise, so that no rank needs another's. */
typedef struct para_schedule_table {
    /* Once, before the first step: room in the arena for what steps leave to each other, like `latents`. NULL: nothing is left. */
    para_status (*begin)(para_schedule *s, para_device *dev, para_tensor latents);
    para_status (*step)(para_schedule *s, para_device *dev, const para_schedule_step *at);
} para_schedule_table;

struct para_schedule {
    const para_schedule_table *table;
    int steps;
    float *timesteps; /* host [steps], as the transformer takes them */
    void *values;     /* host, the table's: sigmas or coefficients of each step; one block of para_alloc */
    para_tensor kept; /* F32 [n, tokens, channels] that begin made room for; or none */
};

/* Room for `steps` timesteps and `bytes` of values; close in any case. PARA_ERR_MEMORY. */
para_status para_schedule_open(para_schedule *out, const para_schedule_table *table, int steps, size_t bytes);
void para_schedule_close(para_schedule *s);

#endif
