/* The sigmas that MochiPipeline gives its scheduler. SPDX-License-Identifier: Apache-2.0 */
#ifndef PARA_SCHEDULER_LINEAR_QUADRATIC_H
#define PARA_SCHEDULER_LINEAR_QUADRATIC_H

/* sigmas [steps], falling from 1: the first half by even steps to 1 - threshold_noise, the second along a parabola on its way to 0. Source:
 * linear_quadratic_schedule. A single step, where that divides by zero, starts at 1, too. */
void para_linear_quadratic_sigmas(int steps, double threshold_noise, double *sigmas);

#endif
