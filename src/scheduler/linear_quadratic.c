/* The sigmas that MochiPipeline gives its scheduler. SPDX-License-Identifier: Apache-2.0 */
#include "scheduler/linear_quadratic.h"

void para_linear_quadratic_sigmas(int steps, double threshold_noise, double *sigmas) {
    int linear_steps = steps / 2, quadratic_steps = steps - linear_steps;
    sigmas[0] = 1;
    if (linear_steps == 0) return;
    double linear = linear_steps, squared = (double)quadratic_steps * quadratic_steps;
    double difference = linear - threshold_noise * steps;
    double quadratic_coef = difference / (linear * squared);
    double linear_coef = threshold_noise / linear - 2 * difference / squared;
    double constant = quadratic_coef * (linear * linear);
    for (int i = 0; i < linear_steps; i++) sigmas[i] = 1.0 - i * threshold_noise / linear;
    for (int i = linear_steps; i < steps; i++)
        sigmas[i] = 1.0 - (quadratic_coef * ((double)i * i) + linear_coef * i + constant);
}
