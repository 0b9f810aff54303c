/* A world: the ranks that work on requests. Part of libparaattn; SPDX-License-Identifier: Apache-2.0 */
#ifndef PARAATTN_WORLD_H
#define PARAATTN_WORLD_H

#include "tensor.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef enum para_device_kind { PARA_CPU = 1 } para_device_kind;

typedef enum para_log_level { PARA_LOG_WARNING = 1, PARA_LOG_INFO = 2 } para_log_level;

typedef struct para_world para_world;

typedef struct para_world_options {
    size_t size;             /* sizeof(para_world_options), set by PARA_WORLD_OPTIONS_INIT */
    para_device_kind device; /* what the rank computes on (PARA_CPU) */
    int threads;             /* host threads of the rank (0: as many as the process may use) */
    void (*log)(void *user, para_log_level level, const char *message); /* one line, no newline (NULL: nowhere) */
    void *log_user;          /* handed to log (NULL) */
} para_world_options;

#define PARA_WORLD_OPTIONS_INIT { sizeof(para_world_options), PARA_CPU, 0, NULL, NULL }

/* Opens a world. `options` may be NULL for the defaults. Close with para_world_close, after its pipelines.
 * PARA_ERR_ARGUMENT, PARA_ERR_MEMORY, PARA_ERR_DEVICE. */
PARA_API para_status para_world_open(para_world **out, const para_world_options *options);

/* Closes the world and sets *world to NULL; takes NULL in it. No request may be running. */
PARA_API void para_world_close(para_world **world);

#ifdef __cplusplus
}
#endif
#endif
