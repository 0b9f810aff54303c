/* What the library and the module paraattn-cuda.so know of each other. SPDX-License-Identifier: Apache-2.0 */
#ifndef PARA_CUDA_MODULE_H
#define PARA_CUDA_MODULE_H

#include "backend/choices.h"

enum { PARA_CUDA_ABI = 4 };

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
    void (*note)(const para_device *dev, para_log_level level, const char *format, ...) __attribute__((format(printf, 3, 4)));
    para_status (*choices_open)(para_choices **out, const para_device *dev, const char *machine);
    void (*choices_close)(para_choices **choices);
    const void *(*choices_find)(const para_choices *choices, const char *kind, const void *key, size_t key_bytes, size_t *value_bytes);
    para_status (*choices_add)(para_choices *choices, const char *kind, const void *key, size_t key_bytes, const void *value, size_t value_bytes);
} para_cuda_host;

typedef struct para_cuda_module {
    int abi;          /* PARA_CUDA_ABI */
    size_t size;      /* sizeof(para_cuda_module) */
    size_t host_size; /* sizeof(para_cuda_host) */
    /* Opens the index-th GPU of this machine. PARA_ERR_DEVICE (no driver, no GPU, index, capability), PARA_ERR_MEMORY, PARA_ERR_LIBRARY. */
    para_status (*open)(const para_cuda_host *host, int index, para_device **out);
    /* Versions and GPUs, a line each. PARA_ERR_DEVICE where none can be used. */
    para_status (*describe)(const para_cuda_host *host, char *text, size_t room);
    int (*count)(void); /* GPUs that this process sees */
} para_cuda_module;

typedef const para_cuda_module *(*para_cuda_table_function)(void);

#endif
