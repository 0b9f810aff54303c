/* What convolutions of pictures and of videos share. SPDX-License-Identifier: Apache-2.0 */
#ifndef PARA_CUDA_CONV_H
#define PARA_CUDA_CONV_H

#include "backend/cuda/cuda_cudnn.h"

/* to [O, (kt,) kh, kw, I] of `type` ← the weight [O, I, (kt,) kh, kw] */
para_status para_cuda_turn_weight(para_device *dev, const para_tensor *weight, para_dtype type, void *to);
/* By cuDNN, where it has a kernel: with `channels` of the output, for which the turned weight has room, those above y's own cut off again. */
para_status para_cuda_conv_by_cudnn(para_device *dev, const para_cuda_conv *c, int64_t channels, bool *done);

#endif
