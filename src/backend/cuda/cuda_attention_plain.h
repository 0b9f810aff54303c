/* Attention where no fused kernel serves. SPDX-License-Identifier: Apache-2.0 */
#ifndef PARA_CUDA_ATTENTION_PLAIN_H
#define PARA_CUDA_ATTENTION_PLAIN_H

#include "backend/cuda/cuda.h"

/* Arguments were checked; q, k and v have one type. */
para_status para_cuda_attention_plain(para_device *dev, const para_attention_args *a);

#endif
