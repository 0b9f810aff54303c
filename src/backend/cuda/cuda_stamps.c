/* Moments on the GPU's own clock, and the ranges that NVIDIA's profilers show. SPDX-License-Identifier: Apache-2.0 */
#include <nvtx3/nvToolsExt.h>

#include "backend/cuda/cuda.h"
#include "core/alloc.h"

struct para_cuda_stamps {
    cudaEvent_t *event;
    int count;
};

void para_cuda_stamps_close(para_cuda *cuda) {
    struct para_cuda_stamps *s = cuda->stamps;
    for (int i = 0; s && i < s->count; i++) cudaEventDestroy(s->event[i]);
    if (s) para_free(s->event);
    para_free(s);
    cuda->stamps = NULL;
}

static para_status one_more(struct para_cuda_stamps *s) {
    if (s->count % 1024 == 0) {
        cudaEvent_t *grown = para_realloc(s->event, (size_t)s->count + 1024, sizeof *grown);
        if (!grown) return PARA_ERR_MEMORY;
        s->event = grown;
    }
    CUDA_TRY(cudaEventCreate(&s->event[s->count]), "make an event");
    s->count++;
    return PARA_OK;
}

para_status para_cuda_stamp(para_device *dev, int i) {
    para_cuda *cuda = dev->impl;
    if (!cuda->stamps && !(cuda->stamps = para_alloc(1, sizeof *cuda->stamps))) return PARA_ERR_MEMORY;
    PARA_TRY(para_cuda_enter(dev));
    while (cuda->stamps->count <= i) PARA_TRY(one_more(cuda->stamps));
    CUDA_TRY(cudaEventRecord(cuda->stamps->event[i], cuda->stream), "take the time");
    return PARA_OK;
}

para_status para_cuda_stamp_seconds(para_device *dev, int from, int to, double *out) {
    const struct para_cuda_stamps *s = para_cuda_of(dev)->stamps;
    float ms;
    PARA_TRY(para_cuda_enter(dev));
    CUDA_TRY(cudaEventSynchronize(s->event[to]), "wait for the GPU");
    CUDA_TRY(cudaEventElapsedTime(&ms, s->event[from], s->event[to]), "take the time");
    *out = 1e-3 * (double)ms;
    return PARA_OK;
}

void para_cuda_range(para_device *dev, const char *name) {
    (void)dev;
    if (name) nvtxRangePushA(name);
    else nvtxRangePop();
}
