/* GPUs that wait for each other without the host: those of one process read each other's memory. SPDX-License-Identifier: Apache-2.0 */
#include "backend/cuda/cuda.h"
#include "backend/cuda/cuda_kernels.h"
#include "core/alloc.h"

struct para_mark {
    cudaEvent_t event;
};

static para_status open_stream(cudaStream_t *stream) {
    if (*stream) return PARA_OK;
    CUDA_TRY(cudaStreamCreateWithFlags(stream, cudaStreamNonBlocking), "create a stream");
    return PARA_OK;
}

para_status para_cuda_reach(para_device *dev, const para_device *other) {
    para_cuda *cuda = para_cuda_of(dev);
    int its = para_cuda_of(other)->index, can = 0;
    if (dev == other) return PARA_OK;
    PARA_TRY(para_cuda_enter(dev));
    PARA_TRY(open_stream(&cuda->fetching));
    if (cuda->index == its) return PARA_OK;
    CUDA_TRY(cudaDeviceCanAccessPeer(&can, cuda->index, its), "ask whether GPUs reach each other");
    if (!can)
        return para_fail(PARA_ERR_DEVICE, "GPU %d cannot read the memory of GPU %d; choose GPUs joined by NVLink, or on one PCIe switch (--device cuda:N,M)",
                         cuda->index, its);
    cudaError_t error = cudaDeviceEnablePeerAccess(its, 0);
    if (error == cudaErrorPeerAccessAlreadyEnabled) {
        (void)cudaGetLastError();
        return PARA_OK;
    }
    return para_cuda_checked(error, "open the memory of another GPU");
}

static para_status mark_on(para_device *dev, cudaStream_t stream, para_mark **out) {
    para_mark *mark = para_alloc(1, sizeof *mark);
    if (!mark) return PARA_ERR_MEMORY;
    cudaError_t error = cudaEventCreateWithFlags(&mark->event, cudaEventDisableTiming);
    if (error == cudaSuccess) error = cudaEventRecord(mark->event, stream);
    *out = mark;
    if (error != cudaSuccess) para_cuda_mark_close(dev, out);
    return para_cuda_checked(error, "mark a point of the stream");
}

para_status para_cuda_mark_here(para_device *dev, para_mark **out) {
    PARA_TRY(para_cuda_enter(dev));
    return mark_on(dev, para_cuda_of(dev)->stream, out);
}

/* Rows of the same length at one distance in each tensor: what the copy engine moves without any multiprocessor. */
static bool copy_rows(const para_walk *w, cudaStream_t stream, cudaError_t *error) {
    int last = w->rank - 1;
    size_t size = para_dtype_size(w->type[0]), row = (size_t)w->dim[last] * size;
    bool fits = w->rank <= 2 && w->stride[0][last] == 1 && w->stride[1][last] == 1;
    if (!fits) return false;
    if (w->rank == 1) *error = cudaMemcpyAsync(w->data[0], w->data[1], row, cudaMemcpyDefault, stream);
    else
        *error = cudaMemcpy2DAsync(w->data[0], (size_t)w->stride[0][0] * size, w->data[1], (size_t)w->stride[1][0] * size, row, (size_t)w->dim[0],
                                   cudaMemcpyDefault, stream);
    return true;
}

static para_status fetch_one(para_cuda *cuda, const para_tensor *dst, const para_tensor *src) {
    cudaError_t error = cudaSuccess;
    if (para_tensor_count(dst) == 0) return PARA_OK;
    para_walk w = para_walk_of(2, (const para_tensor *[]){dst, src});
    if (copy_rows(&w, cuda->fetching, &error)) CUDA_TRY(error, "copy from another GPU");
    else para_cuda_launch_copy(&w, cuda->fetching);
    return para_cuda_launched("fetch");
}

static bool can_fetch(const para_tensor *dst, const para_tensor *src) {
    return para_cuda_same_sizes(dst, src) && dst->dtype == src->dtype && para_cuda_aligned(dst) && para_cuda_aligned(src);
}

/* One wait before all copies and one mark behind them: each costs the copy engine as much as a megabyte. */
para_status para_cuda_fetch(para_device *dev, const para_fetch_args *a) {
    para_cuda *cuda = para_cuda_of(dev);
    bool fits = true;
    for (int i = 0; i < a->count; i++) fits = fits && can_fetch(&a->dst[i], &a->src[i]);
    CUDA_BEGIN(dev, fits, "fetch", "source and destination must have the same sizes and type, and elements lie at multiples of their size");
    CUDA_TRY(cudaStreamWaitEvent(cuda->fetching, a->filled->event, 0), "wait for another GPU");
    CUDA_TRY(cudaStreamWaitEvent(cuda->fetching, a->free->event, 0), "wait for the GPU");
    for (int i = 0; i < a->count; i++) PARA_TRY(fetch_one(cuda, &a->dst[i], &a->src[i]));
    PARA_TRY(mark_on(dev, cuda->fetching, a->arrived));
    return mark_on(dev, cuda->fetching, a->taken);
}

para_status para_cuda_after(para_device *dev, const para_mark *mark) {
    PARA_TRY(para_cuda_enter(dev));
    CUDA_TRY(cudaStreamWaitEvent(para_cuda_of(dev)->stream, mark->event, 0), "wait for another GPU");
    return PARA_OK;
}

para_status para_cuda_lane(para_device *dev, const para_mark *after, void **stream) {
    para_cuda *cuda = para_cuda_of(dev);
    PARA_TRY(para_cuda_enter(dev));
    PARA_TRY(open_stream(&cuda->lane));
    CUDA_TRY(cudaStreamWaitEvent(cuda->lane, after->event, 0), "wait for the GPU");
    *stream = cuda->lane;
    return PARA_OK;
}

para_status para_cuda_lane_mark(para_device *dev, para_mark **out) {
    PARA_TRY(para_cuda_enter(dev));
    return mark_on(dev, para_cuda_of(dev)->lane, out);
}

void para_cuda_mark_close(para_device *dev, para_mark **mark) {
    (void)dev;
    if (!*mark) return;
    if ((*mark)->event) cudaEventDestroy((*mark)->event); /* its memory goes once it has passed */
    para_free(*mark);
    *mark = NULL;
}
