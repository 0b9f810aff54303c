/* What all back ends share: a device's arena. SPDX-License-Identifier: Apache-2.0 */
#include "backend/backend.h"

#include <stdarg.h>
#include <stdio.h>

#include "core/error.h"

para_status para_device_open(para_device_kind kind, int index, int threads, para_device **out) {
    *out = NULL;
    switch (kind) {
    case PARA_CPU: return para_cpu_open(out, threads);
    case PARA_CUDA: return para_cuda_open(out, index);
    }
    return para_fail(PARA_ERR_DEVICE, "there is no device of kind %d; use PARA_CPU or PARA_CUDA", (int)kind);
}

void para_device_close(para_device **dev) {
    if (!dev || !*dev) return;
    para_device *d = *dev;
    *dev = NULL;
    para_arena_release(&d->arena, 0);
    d->ops->free(d, d->arena.base);
    d->ops->close(d);
}

para_status para_device_check(const para_device *dev) {
    return dev->check ? dev->check(dev->check_user) : PARA_OK;
}

void para_device_note(const para_device *dev, para_log_level level, const char *format, ...) {
    if (!dev->note) return;
    char line[512];
    va_list args;
    va_start(args, format);
    vsnprintf(line, sizeof line, format, args);
    va_end(args);
    dev->note(dev->note_user, level, line);
}

para_status para_device_reserve(para_device *dev, size_t bytes) {
    para_arena_release(&dev->arena, 0);
    dev->arena.peak = 0;
    if (dev->arena.size < bytes || !dev->arena.base) {
        void *base;
        para_device_drop_arena(dev);
        PARA_TRY(dev->ops->alloc(dev, bytes, &base));
        dev->arena.base = base;
        dev->arena.size = bytes;
    }
    return PARA_OK;
}

void para_device_drop_arena(para_device *dev) {
    para_arena_release(&dev->arena, 0);
    dev->ops->free(dev, dev->arena.base);
    dev->arena.base = NULL;
    dev->arena.size = 0;
}

static para_status take_more(void *dev, size_t bytes, void **out) {
    return ((para_device *)dev)->ops->alloc(dev, bytes, out);
}

static void give_back(void *dev, void *p) {
    ((para_device *)dev)->ops->free(dev, p);
}

para_status para_device_let_grow(para_device *dev, bool grow) {
    size_t peak = dev->arena.peak;
    para_arena_release(&dev->arena, 0);
    dev->arena.more = grow ? (para_arena_source){take_more, give_back, dev} : (para_arena_source){0};
    return grow && peak > dev->arena.size ? para_device_reserve(dev, peak) : PARA_OK;
}

para_status para_new(para_device *dev, para_tensor *out, para_dtype dtype, int rank, const int64_t *dim) {
    *out = para_tensor_make(NULL, dtype, rank, dim);
    size_t bytes = (size_t)para_tensor_count(out) * para_dtype_size(dtype);
    return para_arena_take(&dev->arena, bytes ? bytes : 1, &out->data); /* NULL would mean "no tensor" */
}

para_status para_trace_stage(para_device *dev, const para_tensor *t, const char *format, ...) {
    if (!dev->trace) return PARA_OK;
    char name[128];
    va_list args;
    va_start(args, format);
    vsnprintf(name, sizeof name, format, args);
    va_end(args);
    return dev->trace->fn(dev->trace->user, name, t);
}
