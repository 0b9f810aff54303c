/* Copies to the GPU that go on beside the ops, from host memory that it reads by itself. SPDX-License-Identifier: Apache-2.0 */
#include "backend/cuda/cuda.h"
#include "core/alloc.h"

struct para_cuda_copy_state {
    cudaStream_t stream;
    cudaEvent_t arrived[PARA_COPY_SLOTS], used[PARA_COPY_SLOTS];
};

para_status para_cuda_copies_open(para_device *dev) {
    struct para_cuda_copy_state *c = para_cuda_of(dev)->copy = para_alloc(1, sizeof *c);
    if (!c) return PARA_ERR_MEMORY;
    CUDA_TRY(cudaStreamCreateWithFlags(&c->stream, cudaStreamNonBlocking), "create a stream");
    for (int i = 0; i < PARA_COPY_SLOTS; i++) {
        CUDA_TRY(cudaEventCreateWithFlags(&c->arrived[i], cudaEventDisableTiming), "create an event");
        CUDA_TRY(cudaEventCreateWithFlags(&c->used[i], cudaEventDisableTiming), "create an event");
    }
    return PARA_OK;
}

void para_cuda_copies_close(para_device *dev) {
    struct para_cuda_copy_state *c = para_cuda_of(dev)->copy;
    if (!c) return;
    if (c->stream) cudaStreamSynchronize(c->stream);
    for (int i = 0; i < PARA_COPY_SLOTS; i++) {
        if (c->arrived[i]) cudaEventDestroy(c->arrived[i]);
        if (c->used[i]) cudaEventDestroy(c->used[i]);
    }
    if (c->stream) cudaStreamDestroy(c->stream);
    para_free(c);
    para_cuda_of(dev)->copy = NULL;
}

static para_status pin(para_device *dev, size_t bytes, void **out) {
    *out = NULL;
    PARA_TRY(para_cuda_enter(dev));
    cudaError_t error = cudaMallocHost(out, bytes ? bytes : 1);
    if (error == cudaErrorMemoryAllocation) {
        (void)cudaGetLastError(); /* this error does not outlast its call */
        return para_fail(PARA_ERR_MEMORY, "the system gives no %.2f GiB of pinned host memory", (double)bytes / 0x1p30);
    }
    return para_cuda_checked(error, "pin host memory");
}

static void unpin(para_device *dev, void *p) {
    if (!p || para_cuda_enter(dev) != PARA_OK) return;
    cudaStreamSynchronize(para_cuda_of(dev)->copy->stream);
    cudaFreeHost(p);
}

static para_status begin(para_device *dev, int slot, void *dst, const void *pinned, size_t bytes) {
    struct para_cuda_copy_state *c = para_cuda_of(dev)->copy;
    PARA_TRY(para_cuda_enter(dev));
    CUDA_TRY(cudaStreamWaitEvent(c->stream, c->used[slot], 0), "copy to the GPU");
    CUDA_TRY(cudaMemcpyAsync(dst, pinned, bytes, cudaMemcpyHostToDevice, c->stream), "copy to the GPU");
    return para_cuda_checked(cudaEventRecord(c->arrived[slot], c->stream), "copy to the GPU");
}

static para_status arrived(para_device *dev, int slot) {
    const para_cuda *cuda = para_cuda_of(dev);
    PARA_TRY(para_cuda_enter(dev));
    return para_cuda_checked(cudaStreamWaitEvent(cuda->stream, cuda->copy->arrived[slot], 0), "wait for a copy to the GPU");
}

static para_status used(para_device *dev, int slot) {
    const para_cuda *cuda = para_cuda_of(dev);
    PARA_TRY(para_cuda_enter(dev));
    return para_cuda_checked(cudaEventRecord(cuda->copy->used[slot], cuda->stream), "mark what was used");
}

static para_status done(para_device *dev, int slot) {
    PARA_TRY(para_cuda_enter(dev));
    return para_cuda_checked(cudaEventSynchronize(para_cuda_of(dev)->copy->arrived[slot]), "copy to the GPU");
}

const para_copies para_cuda_copies = {.pin = pin, .unpin = unpin, .begin = begin, .arrived = arrived, .used = used, .done = done};
