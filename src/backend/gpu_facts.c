/* What keeps a GPU from being used. SPDX-License-Identifier: Apache-2.0 */
#include "backend/gpu_facts.h"

#include "core/error.h"

para_status para_gpu_refuse(const para_gpu_facts *f, int index) {
    if (f->driver == 0)
        return para_fail(PARA_ERR_DEVICE, "there is no NVIDIA driver on this machine: install it, or use --device cpu");
    if (f->driver / 1000 < f->runtime / 1000) /* within a major version older drivers do */
        return para_fail(PARA_ERR_DEVICE, "NVIDIA's driver is for CUDA %d.%d, and this library needs CUDA %d.%d: install a newer driver",
                         f->driver / 1000, f->driver % 1000 / 10, f->runtime / 1000, f->runtime % 1000 / 10);
    if (f->count == 0)
        return para_fail(PARA_ERR_DEVICE,
                         "NVIDIA's driver finds no GPU on this machine (CUDA_VISIBLE_DEVICES may hide it); use --device cpu");
    if (index < 0 || index >= f->count)
        return para_fail(PARA_ERR_DEVICE, "there is no GPU %d: this machine has %d, counted from 0", index, f->count);
    if (f->name && f->major < PARA_GPU_LEAST_CAPABILITY)
        return para_fail(PARA_ERR_DEVICE,
                         "GPU %d (%s) has compute capability %d.%d, and %d.0 is the least that is supported; use --device cpu", index,
                         f->name, f->major, f->minor, PARA_GPU_LEAST_CAPABILITY);
    return PARA_OK;
}
