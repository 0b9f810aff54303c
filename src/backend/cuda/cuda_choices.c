/* The choices of a GPU. SPDX-License-Identifier: Apache-2.0 */
#include <cublasLt.h>
#include <cudnn.h>
#include <stdio.h>

#include "backend/cuda/cuda.h"

para_status para_cuda_choices(para_device *dev, para_choices **out) {
    para_cuda *cuda = para_cuda_of(dev);
    char machine[200];
    if (!cuda->choices) {
        snprintf(machine, sizeof machine, "%s with %d multiprocessors, cuBLASLt %zu, cuDNN %zu", dev->name, cuda->processors, cublasLtGetVersion(),
                 cudnnGetVersion());
        PARA_TRY(para_choices_open(&cuda->choices, dev, machine));
    }
    *out = cuda->choices;
    return PARA_OK;
}
