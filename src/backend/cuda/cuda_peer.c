/* GPUs of one process that read each other's memory, and wait for each other without the host. SPDX-License-Identifier: Apache-2.0 */
#include "backend/cuda/cuda.h"
#include "core/alloc.h"

struct para_mark {
    cudaEvent_t event;
};

para_status para_cuda_reach(para_device *dev, const para_device *other) {
    int own = para_cuda_of(dev)->index, its = para_cuda_of(other)->index, can = 0;
    if (own == its) return PARA_OK;
    PARA_TRY(para_cuda_enter(dev));
    CUDA_TRY(cudaDeviceCanAccessPeer(&can, own, its), "ask whether GPUs reach each other");
    if (!can)
        return para_fail(PARA_ERR_DEVICE, "GPU %d cannot read the memory of GPU %d; choose GPUs joined by NVLink, or on one PCIe switch (--device cuda:N,M)",
                         own, its);
    cudaError_t error = cudaDeviceEnablePeerAccess(its, 0);
    if (error == cudaErrorPeerAccessAlreadyEnabled) {
        (void)cudaGetLastError();
        return PARA_OK;
    }
    return para_cuda_checked(error, "open the memory of another GPU");
}

para_status para_cuda_mark_here(para_device *dev, para_mark **out) {
    PARA_TRY(para_cuda_enter(dev));
    para_mark *mark = para_alloc(1, sizeof *mark);
    if (!mark) return PARA_ERR_MEMORY;
    cudaError_t error = cudaEventCreateWithFlags(&mark->event, cudaEventDisableTiming);
    if (error == cudaSuccess) error = cudaEventRecord(mark->event, para_cuda_of(dev)->stream);
    *out = mark;
    if (error != cudaSuccess) para_cuda_mark_close(out);
    return para_cuda_checked(error, "mark a point of the stream");
}

para_status para_cuda_after(para_device *dev, const para_mark *mark) {
    PARA_TRY(para_cuda_enter(dev));
    CUDA_TRY(cudaStreamWaitEvent(para_cuda_of(dev)->stream, mark->event, 0), "wait for another GPU");
    return PARA_OK;
}

void para_cuda_mark_close(para_mark **mark) {
    if (!*mark) return;
    if ((*mark)->event) cudaEventDestroy((*mark)->event); /* its memory goes once it has passed */
    para_free(*mark);
    *mark = NULL;
}
