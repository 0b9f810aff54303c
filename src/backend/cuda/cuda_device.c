/* The cuda back end: opening and closing a GPU, its table of ops. SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <string.h>

#include "backend/cuda/cuda_cudnn.h"
#include "backend/cuda/cuda_kernels.h"
#include "backend/cuda/cuda_matmul.h"
#include "backend/gpu_facts.h"
#include "core/alloc.h"

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

/* What CUDA says of this machine: driver, versions, how many GPUs. */
static para_status look_around(para_gpu_facts *out) {
    *out = (para_gpu_facts){0};
    cudaError_t error = cudaGetDeviceCount(&out->count);
    cudaDriverGetVersion(&out->driver);
    cudaRuntimeGetVersion(&out->runtime);
    if (error == cudaSuccess) return PARA_OK;
    out->count = 0;
    (void)cudaGetLastError(); /* this error does not outlast its call */
    if (error == cudaErrorInsufficientDriver || error == cudaErrorNoDevice) return PARA_OK;
    return para_cuda_checked(error, "look for GPUs");
}

/* What keeps the index-th GPU from being used, if anything does. */
static para_status look(int index, struct cudaDeviceProp *found) {
    para_gpu_facts f;
    PARA_TRY(look_around(&f));
    PARA_TRY(para_gpu_refuse(&f, index));
    CUDA_TRY(cudaGetDeviceProperties(found, index), "look at the GPU");
    f.name = found->name, f.major = found->major, f.minor = found->minor;
    return para_gpu_refuse(&f, index);
}

static int cuda_count(void) {
    para_gpu_facts f;
    return look_around(&f) == PARA_OK ? f.count : 0;
}

/* Versions, and a line for each GPU. */
static para_status cuda_describe(const para_cuda_host *host, char *text, size_t room) {
    para_gpu_facts f;
    struct cudaDeviceProp p;
    para_cuda_use_host(host);
    PARA_TRY(look_around(&f));
    PARA_TRY(para_gpu_refuse(&f, 0));
    size_t n = (size_t)snprintf(text, room, "CUDA %d.%d, driver for CUDA %d.%d", f.runtime / 1000, f.runtime % 1000 / 10, f.driver / 1000, f.driver % 1000 / 10);
    for (int i = 0; i < f.count && n < room; i++) {
        CUDA_TRY(cudaGetDeviceProperties(&p, i), "look at a GPU");
        n += (size_t)snprintf(text + n, room - n, "\nGPU %d: %s, compute capability %d.%d, %.1f GiB%s", i, p.name, p.major, p.minor, (double)p.totalGlobalMem / 0x1p30,
                              p.major < PARA_GPU_LEAST_CAPABILITY ? ", too old to be used" : "");
    }
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
        if (cuda->lane) cudaStreamDestroy(cuda->lane);
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
    .conv3d = para_cuda_conv3d,
    .embedding = para_cuda_embedding,
    .norm = para_cuda_norm,
    .residual = para_cuda_residual,
    .group_norm = para_cuda_group_norm,
    .heads = para_cuda_heads,
    .attention = para_cuda_attend,
    .attention_parts = para_cuda_attend_parts,
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
    .lane = para_cuda_lane,
    .lane_mark = para_cuda_lane_mark,
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
    *dev = (para_device){.ops = &cuda_ops, .threads = 1, .joins = true, .copies_beside = true, .impl = cuda};
    snprintf(dev->name, sizeof dev->name, "%.*s", (int)sizeof dev->name - 1, found.name);
    para_status status = open_state(dev, &found);
    if (status == PARA_OK) *out = dev;
    else cuda_close(dev);
    return status;
}

static const para_cuda_module table = {.abi = PARA_CUDA_ABI, .size = sizeof table, .host_size = sizeof(para_cuda_host), .open = cuda_open, .describe = cuda_describe,
    .count = cuda_count,};

__attribute__((visibility("default"))) const para_cuda_module *para_cuda_module_table(void);

const para_cuda_module *para_cuda_module_table(void) {
    return &table;
}
