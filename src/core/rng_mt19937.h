/* torch.Generator("cpu"). SPDX-License-Identifier: Apache-2.0 */
#ifndef PARA_CORE_RNG_MT19937_H
#define PARA_CORE_RNG_MT19937_H

#include "core/rng.h"

void para_mt19937_seed(para_rng *rng, uint64_t seed);
/* As para_rng_normal, for a PARA_RNG_CPU generator. */
void para_mt19937_normal(para_rng *rng, void *out, para_dtype dtype, int64_t n);

#endif
