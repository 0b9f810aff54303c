/* The noise levels of CogVideoX's schedulers. SPDX-License-Identifier: Apache-2.0 */
#ifndef PARA_SCHEDULER_COGVIDEOX_ALPHAS_H
#define PARA_SCHEDULER_COGVIDEOX_ALPHAS_H

#include "io/config.h"

/* alphas_cumprod [n] of a scheduler_config.json: from beta_schedule (scaled_linear) between beta_start (0.00085) and beta_end (0.012), or trained_betas;
 * then snr_shift_scale (3.0) and rescale_betas_zero_snr (false). In float64 after scaled_linear, else in float32, as torch has them. PARA_ERR_CONFIG. */
para_status para_cogvideox_alphas(const para_config *config, int64_t n, double *out);

#endif
