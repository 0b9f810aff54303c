/* libparaattn: diffusion transformers from native code. Includes every public header. SPDX-License-Identifier: Apache-2.0 */
#ifndef PARAATTN_PARAATTN_H
#define PARAATTN_PARAATTN_H

#include "attention.h"
#include "bench.h"
#include "cache.h"
#include "comm.h"
#include "output.h"
#include "pipeline.h"
#include "quality.h"
#include "status.h"
#include "tensor.h"
#include "verify.h"
#include "version.h"
#include "world.h"

#endif
