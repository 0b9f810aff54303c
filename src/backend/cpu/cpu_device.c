/* The cpu back end: opening, closing and memory. SPDX-License-Identifier: Apache-2.0 */
#include <omp.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>

#include "backend/cpu/cpu.h"
#include "core/alloc.h"
#include "core/error.h"

enum { HUGE_PAGE = 2 << 20 };

static void cpu_free(para_device *dev, void *p) {
    (void)dev;
    if (p) para_free(((void **)p)[-1]);
}

/* Aligned for the arena; what the allocator gave is kept just before. */
static para_status cpu_alloc(para_device *dev, size_t bytes, void **out) {
    (void)dev;
    size_t align = bytes >= HUGE_PAGE ? HUGE_PAGE : PARA_ARENA_ALIGN;
    if (bytes > SIZE_MAX - 2 * align)
        return para_fail(PARA_ERR_MEMORY, "out of memory: %zu bytes could not be allocated", bytes);
    char *raw = para_alloc_aligned(bytes + align + sizeof(void *));
    if (!raw) return PARA_ERR_MEMORY;
    char *p = raw + sizeof(void *);
    p += (align - (uintptr_t)p % align) % align;
    ((void **)p)[-1] = raw;
    if (bytes >= HUGE_PAGE)
        madvise(p, bytes / HUGE_PAGE * HUGE_PAGE, MADV_HUGEPAGE); /* fewer TLB misses; refusal is harmless */
    *out = p;
    return PARA_OK;
}

static para_status cpu_upload(para_device *dev, para_tensor dst, const void *src) {
    (void)dev;
    memcpy(dst.data, src, (size_t)para_tensor_count(&dst) * para_dtype_size(dst.dtype));
    return PARA_OK;
}

static para_status cpu_download(para_device *dev, void *dst, const para_tensor *src) {
    (void)dev;
    memcpy(dst, src->data, (size_t)para_tensor_count(src) * para_dtype_size(src->dtype));
    return PARA_OK;
}

static void cpu_close(para_device *dev) {
    para_cpu *cpu = dev->impl;
    para_onednn_close(&cpu->onednn);
    para_free(cpu);
    para_free(dev);
}

static const para_ops cpu_ops = {
    .name = "cpu",
    .close = cpu_close,
    .alloc = cpu_alloc,
    .free = cpu_free,
    .upload = cpu_upload,
    .download = cpu_download,
    .copy = para_cpu_copy,
    .linear = para_cpu_linear,
    .conv2d = para_cpu_conv2d,
    .conv3d = para_cpu_conv3d,
    .embedding = para_cpu_embedding,
    .norm = para_cpu_norm,
    .residual = para_cpu_residual,
    .group_norm = para_cpu_group_norm,
    .heads = para_cpu_heads,
    .attention = para_cpu_attention,
    .attention_parts = para_cpu_attention_parts,
    .attention_merge = para_cpu_attention_merge,
    .activate = para_cpu_activate,
    .gated = para_cpu_gated,
    .combine = para_cpu_combine,
    .change = para_cpu_change,
    .upsample2x = para_cpu_upsample2x,
    .blend = para_cpu_blend,
    .all_finite = para_cpu_all_finite,
    .mask_columns = para_cpu_mask_columns,
};

para_status para_cpu_open(para_device **out, int threads) {
    *out = NULL;
    if (threads < 1) return para_fail(PARA_ERR_ARGUMENT, "a CPU device needs at least one thread, not %d", threads);
    para_device *dev = para_alloc(1, sizeof *dev);
    para_cpu *cpu = dev ? para_alloc(1, sizeof *cpu) : NULL;
    para_status status = PARA_ERR_MEMORY;
    if (!cpu) goto fail;
    PARA_TRY_GOTO(status, fail, para_onednn_open(&cpu->onednn));
    cpu->simd = para_simd_select();
    *dev = (para_device){.ops = &cpu_ops, .threads = threads, .impl = cpu};
    *out = dev;
    return PARA_OK;
fail:
    para_free(cpu);
    para_free(dev);
    return status;
}
