/* Gaussian noise with PyTorch's generators. SPDX-License-Identifier: Apache-2.0 */
#include "core/rng.h"

#include "core/rng_mt19937.h"
#include "core/rng_philox.h"

void para_rng_seed(para_rng *rng, para_rng_kind kind, uint64_t seed) {
    *rng = (para_rng){.kind = kind};
    if (kind == PARA_RNG_CPU) para_mt19937_seed(rng, seed);
    else para_philox_seed(rng, seed);
}

void para_rng_normal(para_rng *rng, void *out, para_dtype dtype, int64_t n) {
    if (rng->kind == PARA_RNG_CPU) para_mt19937_normal(rng, out, dtype, n);
    else para_philox_normal(rng, out, dtype, n);
}
