/* FlowMatchEulerDiscreteScheduler of diffusers. SPDX-License-Identifier: Apache-2.0 */
#ifndef PARA_SCHEDULER_FLOW_MATCH_EULER_H
#define PARA_SCHEDULER_FLOW_MATCH_EULER_H

#include "io/config.h"
#include "scheduler/schedule.h"

typedef enum para_sigma_schedule {
    PARA_SIGMAS_PLAIN,
    PARA_SIGMAS_KARRAS,
    PARA_SIGMAS_EXPONENTIAL,
    PARA_SIGMAS_BETA
} para_sigma_schedule;

/* Every config value that diffusers reads, with its default. */
typedef struct para_flow_match_euler {
    int64_t num_train_timesteps;                   /* 1000 */
    double shift;                                  /* 1.0 */
    bool use_dynamic_shifting;                     /* false */
    double base_shift, max_shift;                  /* 0.5, 1.15 */
    int64_t base_image_seq_len, max_image_seq_len; /* 256, 4096 */
    bool invert_sigmas;                            /* false */
    double shift_terminal;                         /* 0: none */
    para_sigma_schedule schedule;
    bool time_shift_linear;   /* time_shift_type "linear" instead of "exponential" */
    bool stochastic_sampling; /* false: a step draws noise; for the pipeline to carry out or refuse */
    double sigma_min,
        sigma_max;        /* ends of the karras, exponential and beta schedules; NaN: those of the shifted sigmas */
    bool use_flow_sigmas; /* false: FluxPipeline then leaves the spacing to the scheduler (user_sigmas NULL) */
} para_flow_match_euler;

/* Reads and checks scheduler_config.json. Unknown or contradictory values: PARA_ERR_CONFIG. */
para_status para_flow_match_euler_read(para_flow_match_euler *out, const para_config *config);

/* mu of FluxPipeline's calculate_shift for a sequence of `image_seq_len` packed tokens. */
double para_flow_match_euler_mu(const para_flow_match_euler *s, int64_t image_seq_len);

/* set_timesteps: sigmas[0..steps] (the last is the terminal one) and timesteps[0..steps), float32 as diffusers computes
 * them. `user_sigmas` [steps] or NULL for the scheduler's own spacing; FluxPipeline passes linspace(1, 1/steps, steps).
 * `mu` is used with dynamic shifting. PARA_ERR_ARGUMENT (no steps), PARA_ERR_CONFIG (a sigma comes out not finite), PARA_ERR_MEMORY. */
para_status para_flow_match_euler_sigmas(const para_flow_match_euler *s, int steps, const double *user_sigmas,
                                         double mu, float *sigmas, float *timesteps);

/* The same as a schedule, whose steps are those of FlowMatchEulerDiscreteScheduler.step. Close it in any case. */
para_status para_flow_match_euler_schedule(const para_flow_match_euler *s, int steps, const double *user_sigmas, double mu, para_schedule *out);

#endif
