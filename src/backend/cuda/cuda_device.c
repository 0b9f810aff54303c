/* The cuda back end: opening and closing a GPU, its table of ops. SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <string.h>

#include "backend/cuda/cuda_cudnn.h"
#include "backend/cuda/cuda_kernels.h"
#include "backend/cuda/cuda_matmul.h"
#include "core/alloc.h"

enum { LEAST_CAPABILITY = 8 }; /* major: bfloat16 and asynchronous copies begin with Ampere */

para_status para_cuda_checked(cudaError_t error, const char *doing) {
    if (error == cudaSuccess) return PARA_OK;
    (void)cudaGetLastError(); /* what can be forgotten is not to be found by the next op */
    return para_fail(error == cudaErrorMemoryAllocation ? PARA_ERR_MEMORY : PARA_ERR_DEVICE, "CUDA failed to %s: %s", doing, cudaGetErrorString(error));
}

para_status para_cuda_enter(const para_device *dev) {
    return para_cuda_checked(cudaSetDevice(para_cuda_of(dev)->index), "use the GPU");
}

para_status para_cuda_launched(const char *op) {
    cudaError_t error = cudaGetLastError();
    if (error == cudaSuccess) return PARA_OK;
    return para_fail(PARA_ERR_DEVICE, "%s failed on the GPU: %s", op, cudaGetErrorString(error));
}

para_status para_cuda_check(bool right, const char *op, const char *rule) {
    return right ? PARA_OK : para_fail(PARA_ERR_SHAPE, "%s: %s", op, rule);
}

/* What keeps the index-th GPU from being used, if anything does. */
static para_status look(int index, struct cudaDeviceProp *found) {
    int count = 0;
    cudaError_t error = cudaGetDeviceCount(&count);
    if (error == cudaErrorInsufficientDriver) {
        int driver = 0, runtime = 0;
        cudaDriverGetVersion(&driver);
        cudaRuntimeGetVersion(&runtime);
        if (driver == 0) return para_fail(PARA_ERR_DEVICE, "there is no NVIDIA driver on this machine: install it, or use --device cpu");
        return para_fail(PARA_ERR_DEVICE, "NVIDIA's driver is for CUDA %d.%d, and this library needs CUDA %d.%d: install a newer driver", driver / 1000,
                         driver % 1000 / 10, runtime / 1000, runtime % 1000 / 10);
    }
    if (error == cudaErrorNoDevice || (error == cudaSuccess && count == 0))
        return para_fail(PARA_ERR_DEVICE, "NVIDIA's driver finds no GPU on this machine (CUDA_VISIBLE_DEVICES may hide it); use --device cpu");
    CUDA_TRY(error, "look for GPUs");
    if (index < 0 || index >= count)
        return para_fail(PARA_ERR_DEVICE, "there is no GPU %d: this machine has %d, counted from 0", index, count);
    CUDA_TRY(cudaGetDeviceProperties(found, index), "look at the GPU");
    if (found->major < LEAST_CAPABILITY)
        return para_fail(PARA_ERR_DEVICE, "GPU %d (%s) has compute capability %d.%d, and %d.0 is the least that is supported; use --device cpu", index,
                         found->name, found->major, found->minor, LEAST_CAPABILITY);
    return PARA_OK;
}

static void cuda_close(para_device *dev) {
    para_cuda *cuda = dev->impl;
    if (cuda && para_cuda_enter(dev) == PARA_OK) {
        if (cuda->stream) cudaStreamSynchronize(cuda->stream);
        para_dnn_close(cuda);
        para_cuda_matmuls_close(cuda);
        para_cuda_copies_close(dev);
        para_choices_close(&cuda->choices);
        para_cuda_stamps_close(cuda);
        para_cuda_memory_close(dev);
        if (cuda->flag) cudaFree(cuda->flag);
        if (cuda->sums) cudaFree(cuda->sums);
        if (cuda->attention_workspace) cudaFree(cuda->attention_workspace);
        if (cuda->fetching) cudaStreamDestroy(cuda->fetching);
        if (cuda->stream) cudaStreamDestroy(cuda->stream);
    }
    para_free(cuda);
    para_free(dev);
}

static const para_ops cuda_ops = {
    .name = "cuda",
    .close = cuda_close,
    .alloc = para_cuda_alloc,
    .free = para_cuda_free,
    .memory = para_cuda_device_memory,
    .copies = &para_cuda_copies,
    .upload = para_cuda_upload,
    .download = para_cuda_download,
    .constant = para_cuda_constant,
    .copy = para_cuda_copy,
    .linear = para_cuda_linear,
    .conv2d = para_cuda_conv2d,
    .embedding = para_cuda_embedding,
    .norm = para_cuda_norm,
    .residual = para_cuda_residual,
    .group_norm = para_cuda_group_norm,
    .head = para_cuda_head,
    .attention = para_cuda_attend,
    .attention_merge = para_cuda_attention_merge,
    .activate = para_cuda_activate,
    .gated = para_cuda_gated,
    .combine = para_cuda_combine,
    .change = para_cuda_change,
    .upsample2x = para_cuda_upsample2x,
    .blend = para_cuda_blend,
    .all_finite = para_cuda_all_finite,
    .mask_columns = para_cuda_mask_columns,
    .stamp = para_cuda_stamp,
    .stamp_seconds = para_cuda_stamp_seconds,
    .range = para_cuda_range,
    .record = para_cuda_record,
    .record_end = para_cuda_record_end,
    .play = para_cuda_play,
    .recording_close = para_cuda_recording_close,
    .reach = para_cuda_reach,
    .fetch = para_cuda_fetch,
    .mark = para_cuda_mark_here,
    .after = para_cuda_after,
    .mark_close = para_cuda_mark_close,
};

static para_status open_state(para_device *dev, const struct cudaDeviceProp *found) {
    para_cuda *cuda = dev->impl;
    cuda->major = found->major, cuda->minor = found->minor, cuda->processors = found->multiProcessorCount;
    PARA_TRY(para_cuda_enter(dev));
    CUDA_TRY(cudaStreamCreateWithFlags(&cuda->stream, cudaStreamNonBlocking), "create a stream");
    CUDA_TRY(cudaMalloc((void **)&cuda->flag, sizeof *cuda->flag), "allocate memory on the GPU");
    CUDA_TRY(cudaMalloc((void **)&cuda->sums, 2 * PARA_CUDA_CHANGE_BLOCKS * sizeof *cuda->sums), "allocate memory on the GPU");
    PARA_TRY(para_cuda_memory_open(dev));
    PARA_TRY(para_cuda_copies_open(dev));
    PARA_TRY(para_cuda_attention_open(dev));
    return para_cuda_matmuls_open(cuda);
}

static para_status cuda_open(const para_cuda_host *host, int index, para_device **out) {
    struct cudaDeviceProp found;
    para_cuda_use_host(host);
    *out = NULL;
    PARA_TRY(look(index, &found));
    para_device *dev = para_alloc(1, sizeof *dev);
    para_cuda *cuda = para_alloc(1, sizeof *cuda);
    if (!dev || !cuda) {
        para_free(dev);
        para_free(cuda);
        return PARA_ERR_MEMORY;
    }
    cuda->index = index;
    *dev = (para_device){.ops = &cuda_ops, .threads = 1, .joins = true, .impl = cuda};
    snprintf(dev->name, sizeof dev->name, "%.*s", (int)sizeof dev->name - 1, found.name);
    para_status status = open_state(dev, &found);
    if (status == PARA_OK) *out = dev;
    else cuda_close(dev);
    return status;
}

static const para_cuda_module table = {.abi = PARA_CUDA_ABI, .size = sizeof table, .host_size = sizeof(para_cuda_host), .open = cuda_open};

__attribute__((visibility("default"))) const para_cuda_module *para_cuda_module_table(void);

const para_cuda_module *para_cuda_module_table(void) {
    return &table;
}
