/* Memory of the GPU, ways in and out of it, and vectors that stay as they are. SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "backend/cuda/cuda.h"
#include "backend/cuda/cuda_kernels.h"
#include "backend/cuda_scratch.h"
#include "core/alloc.h"

enum { STAGING = 8 << 20, STAGES = 2 };

/* A block that alloc gave out. */
typedef struct block {
    char *base;
    size_t bytes;
} block;

/* A constant vector and its BF16 copy. */
typedef struct twin {
    const char *vector;
    void *bf16;
    size_t bytes;
} twin;

enum {
    LIBRARIES = 320 << 20, /* of PARA_CUDA_CONTEXT_BYTES, which count towards a limit: what comes after the device was opened */
};

struct para_cuda_memory {
    size_t taken, ours;           /* bytes given out by alloc; all that this device has allocated */
    char *staging[STAGES];        /* pinned host memory [STAGING] */
    cudaEvent_t free_again[STAGES]; /* when the GPU has read it */
    int next;                     /* stage */
    block *blocks;
    size_t block_count, block_room;
    twin *twins;                  /* in the order of their addresses */
    size_t twin_count, twin_room;
};

para_status para_cuda_memory_open(para_device *dev) {
    para_cuda_memory *m = para_cuda_of(dev)->memory = para_alloc(1, sizeof *m);
    if (!m) return PARA_ERR_MEMORY;
    for (int i = 0; i < STAGES; i++) {
        CUDA_TRY(cudaMallocHost((void **)&m->staging[i], STAGING), "pin host memory");
        CUDA_TRY(cudaEventCreateWithFlags(&m->free_again[i], cudaEventDisableTiming), "create an event");
    }
    return PARA_OK;
}

void para_cuda_memory_close(para_device *dev) {
    para_cuda_memory *m = para_cuda_of(dev)->memory;
    if (!m) return;
    for (int i = 0; i < STAGES; i++) {
        if (m->staging[i]) cudaFreeHost(m->staging[i]);
        if (m->free_again[i]) cudaEventDestroy(m->free_again[i]);
    }
    for (size_t i = 0; i < m->twin_count; i++) cudaFree(m->twins[i].bf16);
    for (size_t i = 0; i < m->block_count; i++) cudaFree(m->blocks[i].base);
    para_free(m->twins);
    para_free(m->blocks);
    para_free(m);
    para_cuda_of(dev)->memory = NULL;
}

static para_status out_of_memory(const para_device *dev, size_t bytes, bool limit) {
    size_t available = 0, total = 0;
    cudaMemGetInfo(&available, &total);
    if (limit)
        return para_fail(PARA_ERR_MEMORY, "the memory limit (--memory-limit) of %.2f GiB is reached: %.2f GiB more are wanted, %.2f are taken",
                         (double)dev->memory_limit / 0x1p30, (double)bytes / 0x1p30, (double)(para_cuda_of(dev)->memory->ours + (size_t)PARA_CUDA_CONTEXT_BYTES) / 0x1p30);
    return para_fail(PARA_ERR_MEMORY, "the GPU is out of memory: %.2f GiB are wanted, %.2f of its %.2f GiB are free", (double)bytes / 0x1p30,
                     (double)available / 0x1p30, (double)total / 0x1p30);
}

para_status para_cuda_take(para_device *dev, size_t bytes, void **out) {
    para_cuda_memory *m = para_cuda_of(dev)->memory;
    size_t limit = (size_t)dev->memory_limit;
    *out = NULL;
    if (limit && (bytes > limit || m->ours + (size_t)PARA_CUDA_CONTEXT_BYTES > limit - bytes)) return out_of_memory(dev, bytes, true);
    cudaError_t error = cudaMalloc(out, bytes ? bytes : 1);
    if (error == cudaErrorMemoryAllocation) {
        (void)cudaGetLastError(); /* this error does not outlast its call */
        return out_of_memory(dev, bytes, false);
    }
    CUDA_TRY(error, "allocate memory on the GPU");
    m->ours += bytes;
    return PARA_OK;
}

void para_cuda_give(para_device *dev, void *p, size_t bytes) {
    if (!p) return;
    cudaFree(p);
    para_cuda_of(dev)->memory->ours -= bytes;
}

para_status para_cuda_alloc(para_device *dev, size_t bytes, void **out) {
    para_cuda_memory *m = para_cuda_of(dev)->memory;
    void *base = NULL;
    PARA_TRY(para_cuda_enter(dev));
    if (!para_grow((void **)&m->blocks, m->block_count, &m->block_room, sizeof *m->blocks)) return PARA_ERR_MEMORY;
    PARA_TRY(para_cuda_take(dev, bytes, &base));
    m->blocks[m->block_count++] = (block){base, bytes};
    m->taken += bytes;
    *out = base;
    return PARA_OK;
}

para_status para_cuda_device_memory(para_device *dev, para_device_memory *out) {
    const para_cuda_memory *m = para_cuda_of(dev)->memory;
    size_t available = 0, total = 0;
    PARA_TRY(para_cuda_enter(dev));
    CUDA_TRY(cudaMemGetInfo(&available, &total), "ask for the GPU's memory");
    *out = (para_device_memory){.total = (int64_t)total, .taken = (int64_t)m->taken, .available = (int64_t)available - LIBRARIES};
    if (dev->memory_limit) {
        int64_t left = dev->memory_limit - PARA_CUDA_CONTEXT_BYTES - (int64_t)m->ours;
        if (left < out->available) out->available = left;
        if (dev->memory_limit < out->total) out->total = dev->memory_limit;
    }
    if (out->available < 0) out->available = 0;
    return PARA_OK;
}

/* The first twin at or behind an address. */
static size_t twin_from(const para_cuda_memory *m, const void *address) {
    size_t low = 0, high = m->twin_count;
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (m->twins[middle].vector < (const char *)address) low = middle + 1;
        else high = middle;
    }
    return low;
}

/* Forgets the constants in [base, base + bytes). */
static void drop_twins(para_device *dev, const char *base, size_t bytes) {
    para_cuda_memory *m = para_cuda_of(dev)->memory;
    size_t first = twin_from(m, base), last = twin_from(m, base + bytes);
    for (size_t i = first; i < last; i++) para_cuda_give(dev, m->twins[i].bf16, m->twins[i].bytes);
    if (last > first) memmove(m->twins + first, m->twins + last, (m->twin_count - last) * sizeof *m->twins);
    m->twin_count -= last - first;
}

/* cudaFree waits for the GPU's own work, but not for a copy between GPUs that is still to begin: that one then ended in "unspecified launch failure" (two H200s). */
static void wait_for_users(const para_cuda *cuda) {
    if (cuda->fetching) cudaStreamSynchronize(cuda->fetching);
    if (cuda->lane) cudaStreamSynchronize(cuda->lane);
    cudaStreamSynchronize(cuda->stream); /* last: it waits for what others fetch from here */
}

void para_cuda_free(para_device *dev, void *p) {
    para_cuda_memory *m = para_cuda_of(dev)->memory;
    if (!p || para_cuda_enter(dev) != PARA_OK) return;
    wait_for_users(para_cuda_of(dev));
    for (size_t i = 0; i < m->block_count; i++)
        if (m->blocks[i].base == p) {
            size_t bytes = m->blocks[i].bytes;
            drop_twins(dev, p, bytes);
            m->blocks[i] = m->blocks[--m->block_count];
            m->taken -= bytes;
            para_cuda_give(dev, p, bytes);
            return;
        }
}

para_status para_cuda_upload(para_device *dev, para_tensor dst, const void *src) {
    para_cuda *cuda = para_cuda_of(dev);
    para_cuda_memory *m = cuda->memory;
    size_t bytes = (size_t)para_tensor_count(&dst) * para_dtype_size(dst.dtype);
    PARA_TRY(para_cuda_enter(dev));
    for (size_t at = 0; at < bytes; at += STAGING) {
        size_t now = bytes - at < STAGING ? bytes - at : STAGING;
        int stage = m->next;
        m->next = (stage + 1) % STAGES;
        CUDA_TRY(cudaEventSynchronize(m->free_again[stage]), "copy to the GPU");
        memcpy(m->staging[stage], (const char *)src + at, now);
        CUDA_TRY(cudaMemcpyAsync((char *)dst.data + at, m->staging[stage], now, cudaMemcpyHostToDevice, cuda->stream), "copy to the GPU");
        CUDA_TRY(cudaEventRecord(m->free_again[stage], cuda->stream), "copy to the GPU");
    }
    return PARA_OK;
}

para_status para_cuda_download(para_device *dev, void *dst, const para_tensor *src) {
    para_cuda *cuda = para_cuda_of(dev);
    para_cuda_memory *m = cuda->memory;
    size_t bytes = (size_t)para_tensor_count(src) * para_dtype_size(src->dtype), before = 0;
    PARA_TRY(para_cuda_enter(dev));
    for (int i = 0; i < STAGES; i++) CUDA_TRY(cudaEventSynchronize(m->free_again[i]), "copy from the GPU");
    /* While the host empties one stage, the GPU fills the other. */
    for (size_t at = 0, turn = 0; before < bytes; turn++) {
        int stage = (int)(turn % STAGES);
        size_t now = bytes - at < STAGING ? bytes - at : STAGING;
        if (at < bytes) {
            CUDA_TRY(cudaMemcpyAsync(m->staging[stage], (const char *)src->data + at, now, cudaMemcpyDeviceToHost, cuda->stream), "copy from the GPU");
            CUDA_TRY(cudaEventRecord(m->free_again[stage], cuda->stream), "copy from the GPU");
            at += now;
        }
        if (turn == 0) continue;
        int done = (int)((turn - 1) % STAGES);
        size_t ready = bytes - before < STAGING ? bytes - before : STAGING;
        CUDA_TRY(cudaEventSynchronize(m->free_again[done]), "copy from the GPU");
        memcpy((char *)dst + before, m->staging[done], ready);
        before += ready;
    }
    return PARA_OK;
}

/* Whether BF16 holds all of the vector's elements: what came back from BF16 is what went there. */
static bool bf16_holds(const float *f, int64_t n) {
    for (int64_t i = 0; i < n; i++) {
        uint32_t bits;
        memcpy(&bits, f + i, 4);
        if (bits & 0xffff) return false;
    }
    return true;
}

static para_status add_twin(para_device *dev, const para_tensor *vector) {
    para_cuda_memory *m = para_cuda_of(dev)->memory;
    para_tensor copy = para_tensor_make(NULL, PARA_BF16, 1, vector->dim);
    if (!para_grow((void **)&m->twins, m->twin_count, &m->twin_room, sizeof *m->twins)) return PARA_ERR_MEMORY;
    size_t bytes = (size_t)vector->dim[0] * 2;
    PARA_TRY(para_cuda_take(dev, bytes, &copy.data));
    para_status status = para_cuda_copy(dev, copy, *vector);
    if (status != PARA_OK) {
        para_cuda_give(dev, copy.data, bytes);
        return status;
    }
    size_t at = twin_from(m, vector->data);
    memmove(m->twins + at + 1, m->twins + at, (m->twin_count - at) * sizeof *m->twins);
    m->twins[at] = (twin){vector->data, copy.data, bytes};
    m->twin_count++;
    return PARA_OK;
}

para_status para_cuda_constant(para_device *dev, para_tensor vector) {
    if (vector.dtype != PARA_F32 || vector.rank != 1 || vector.dim[0] < 1 || vector.stride[0] != 1) return PARA_OK;
    float *values = para_alloc((size_t)vector.dim[0], sizeof *values);
    if (!values) return PARA_ERR_MEMORY;
    para_status status = para_cuda_download(dev, values, &vector);
    bool holds = status == PARA_OK && bf16_holds(values, vector.dim[0]);
    para_free(values);
    drop_twins(dev, vector.data, 1);
    return holds ? add_twin(dev, &vector) : status;
}

const void *para_cuda_bf16_of(const para_device *dev, const void *vector) {
    const para_cuda_memory *m = para_cuda_of(dev)->memory;
    size_t at = twin_from(m, vector);
    return at < m->twin_count && m->twins[at].vector == (const char *)vector ? m->twins[at].bf16 : NULL;
}
