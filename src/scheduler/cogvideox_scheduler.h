/* CogVideoXDDIMScheduler and CogVideoXDPMScheduler of diffusers. SPDX-License-Identifier: Apache-2.0 */
#ifndef PARA_SCHEDULER_COGVIDEOX_SCHEDULER_H
#define PARA_SCHEDULER_COGVIDEOX_SCHEDULER_H

#include "io/config.h"
#include "scheduler/schedule.h"

typedef enum para_prediction_type { PARA_PREDICTS_NOISE, PARA_PREDICTS_SAMPLE, PARA_PREDICTS_VELOCITY } para_prediction_type;
typedef enum para_timestep_spacing { PARA_SPACING_LEADING, PARA_SPACING_LINSPACE, PARA_SPACING_TRAILING } para_timestep_spacing;

/* Every config value that changes what diffusers computes, with its default. (Both steps ignore clip_sample and what belongs to it.) */
typedef struct para_cogvideox_scheduler {
    bool dpm;                              /* the class: DPM-Solver++ of the second order, which draws noise; else DDIM without noise */
    int64_t num_train_timesteps;           /* 1000 */
    para_prediction_type prediction_type;  /* epsilon */
    para_timestep_spacing timestep_spacing; /* leading */
    int64_t steps_offset;                  /* 0; of leading */
    double *alphas_cumprod;                /* [num_train_timesteps], from the betas' values, snr_shift_scale (3.0) and rescale_betas_zero_snr (false) */
    double final_alpha_cumprod;            /* set_alpha_to_one (true): 1; else that of timestep 0 */
} para_cogvideox_scheduler;

/* Whether a scheduler's class is one of the two; *dpm: which. */
bool para_cogvideox_scheduler_named(const char *class_name, bool *dpm);
/* Reads and checks scheduler_config.json of either class. Close it in any case. PARA_ERR_CONFIG, PARA_ERR_MEMORY. */
para_status para_cogvideox_scheduler_read(para_cogvideox_scheduler *out, const para_config *config, bool dpm);
void para_cogvideox_scheduler_close(para_cogvideox_scheduler *s);

/* What a step does: x0 of the prediction; then the next latents. Coefficients in double as diffusers' 0-dimensional tensors, rounded to float32 where
 * they meet latents, as there. */
typedef struct para_cogvideox_step {
    float x0_latents, x0_prediction; /* pred_original_sample = these · latents, prediction */
    float latents, x0, old, noise;   /* latents = these · latents, pred_original_sample, that of the step before, noise */
    int draws;                       /* of noise, the last of which counts */
} para_cogvideox_step;

/* Schedule of so many steps; its values are para_cogvideox_step [steps]. Close it in any case. PARA_ERR_ARGUMENT (more steps than the scheduler has, or
 * a number with which diffusers runs past its timesteps), PARA_ERR_CONFIG (a coefficient is not finite), PARA_ERR_MEMORY. */
para_status para_cogvideox_schedule(const para_cogvideox_scheduler *s, int steps, para_schedule *out);

#endif
