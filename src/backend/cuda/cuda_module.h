/* What the library and the module paraattn-cuda.so know of each other. SPDX-License-Identifier: Apache-2.0 */
#ifndef PARA_CUDA_MODULE_H
#define PARA_CUDA_MODULE_H

#include "backend/backend.h"

enum { PARA_CUDA_ABI = 1 };

/* The name of the function that returns the table. */
#define PARA_CUDA_TABLE_NAME "para_cuda_module_table"

/* What the module uses of the library. */
typedef struct para_cuda_host {
    para_status (*fail)(para_status code, const char *format, ...) __attribute__((format(printf, 2, 3)));
    void *(*alloc)(size_t count, size_t size);
    void *(*realloc)(void *p, size_t count, size_t size);
    void (*free)(void *p);
    para_status (*arena_take)(para_arena *arena, size_t bytes, void **out);
    void (*arena_release)(para_arena *arena, size_t mark);
} para_cuda_host;

typedef struct para_cuda_module {
    int abi;     /* PARA_CUDA_ABI */
    size_t size; /* sizeof(para_cuda_module) */
    /* Opens the index-th GPU of this machine. PARA_ERR_DEVICE (no driver, no GPU, index, capability), PARA_ERR_MEMORY, PARA_ERR_LIBRARY. */
    para_status (*open)(const para_cuda_host *host, int index, para_device **out);
} para_cuda_module;

typedef const para_cuda_module *(*para_cuda_table_function)(void);

#endif
