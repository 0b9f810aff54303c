/* Quantiles of a symmetric beta distribution. SPDX-License-Identifier: Apache-2.0
 * Continued fraction of the incomplete beta function: DLMF 8.17.22, https://dlmf.nist.gov/8.17 */
#include "scheduler/beta_quantile.h"

#include <float.h>
#include <math.h>
#include <stdbool.h>

enum { FRACTION_TERMS = 400, NEWTON_STEPS = 200 };

/* 1 / (1 + d1 / (1 + d2 / (1 + …))) from its front, as Lentz computes it. */
static double beta_fraction(double x, double a, double b) {
    const double tiny = 1e-300;
    double c = 1, d = 1 - (a + b) * x / (a + 1);
    d = 1 / (fabs(d) < tiny ? tiny : d);
    double result = d;
    for (int m = 1; m <= FRACTION_TERMS; m++) {
        double even = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m));
        double odd = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1));
        d = 1 + even * d, c = 1 + even / c;
        d = 1 / (fabs(d) < tiny ? tiny : d), c = fabs(c) < tiny ? tiny : c;
        result *= c * d;
        d = 1 + odd * d, c = 1 + odd / c;
        d = 1 / (fabs(d) < tiny ? tiny : d), c = fabs(c) < tiny ? tiny : c;
        result *= c * d;
        if (fabs(c * d - 1) < DBL_EPSILON) break;
    }
    return result;
}

double para_beta_quantile(double p, double a) {
    if (!(p >= 0 && p <= 1)) return NAN;
    if (p > 0.5) return 1 - para_beta_quantile(1 - p, a); /* so the fraction is used where it converges fast */
    if (p == 0) return 0;
    double beta = tgamma(a) * tgamma(a) / tgamma(2 * a), low = 0, high = 0.5;
    double x = fmin(pow(p * a * beta, 1 / a), high); /* exact for small p */
    for (int i = 0; i < NEWTON_STEPS && x > 0; i++) {
        double density = pow(x * (1 - x), a - 1) / beta;
        double error = density * x * (1 - x) / a * beta_fraction(x, a, a) - p; /* I_x(a, a) - p */
        if (error > 0) high = x;
        else low = x;
        double next = x - error / density;
        if (!(next >= low && next <= high)) next = (low + high) / 2;
        bool settled = fabs(next - x) <= DBL_EPSILON * x;
        x = next;
        if (settled) break;
    }
    return x;
}
