/* Convolutions by cuDNN. SPDX-License-Identifier: Apache-2.0 */
#ifndef PARA_CUDA_CUDNN_H
#define PARA_CUDA_CUDNN_H

#include "backend/cuda/cuda.h"

/* y = conv(x, weight) + bias, where cuDNN has a kernel for it that rounds once; else *done is false. weight: [O, kh, kw, I] in x's type. The first
 * call for a kind of convolution looks for its kernel and takes its time. */
para_status para_cuda_cudnn_conv2d(para_device *dev, const para_conv2d_args *a, const void *weight, bool *done);

void para_cuda_cudnn_close(para_cuda *cuda);

#endif
