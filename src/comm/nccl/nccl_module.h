/* What the module paraattn-nccl.so offers: transfers between GPUs of different processes, behind plain types. The library loads it when it is wanted, so
 * that it needs no NCCL to start. SPDX-License-Identifier: Apache-2.0
 *
 * Nothing here waits for another process: what takes time is started, and `ready` tells when it is done. A result is 0, PARA_NCCL_NO_MEMORY, or NCCL's or
 * CUDA's own code, which `error_text` spells out. Calls on one communicator are not for several threads at once. */
#ifndef PARA_COMM_NCCL_MODULE_H
#define PARA_COMM_NCCL_MODULE_H

#include <stdbool.h>
#include <stddef.h>

enum { PARA_NCCL_ABI = 1, PARA_NCCL_ID = 128, PARA_NCCL_TEXT_MAX = 256 };
enum { PARA_NCCL_NO_MEMORY = -1, PARA_NCCL_CUDA = 1000 /* added to CUDA's codes */ };

/* The name of the function that returns the table. */
#define PARA_NCCL_TABLE_NAME "para_nccl_module_table"

typedef struct para_nccl_host {
    void *(*alloc)(size_t count, size_t size); /* zeroed, or NULL */
    void (*free)(void *p);
} para_nccl_host;

/* Bytes to or from a rank's GPU. */
typedef struct para_nccl_piece {
    int rank;
    void *data; /* [bytes], on the communicator's own GPU */
    size_t bytes;
} para_nccl_piece;

/* One rank's. */
typedef struct para_nccl_comm para_nccl_comm;

typedef struct para_nccl_module {
    int abi;     /* PARA_NCCL_ABI */
    size_t size; /* sizeof(para_nccl_module) */

    void (*version)(char text[PARA_NCCL_TEXT_MAX]); /* "NCCL 2.28.9" */
    void (*error_text)(int result, char text[PARA_NCCL_TEXT_MAX]);
    int (*new_id)(unsigned char id[PARA_NCCL_ID]);
    /* Begins to open the communicators of `local` ranks of this process, the first+i-th of `all` on GPU gpu[i]; to be asked with `ready`. */
    int (*open)(const para_nccl_host *host, const unsigned char id[PARA_NCCL_ID], int all, int first, int local, const int *gpu, para_nccl_comm **out);
    int (*ready)(para_nccl_comm *comm, bool *done);
    /* Puts all of them as one on the stream of the communicator's GPU. NCCL may connect first: done when `ready` says so. */
    int (*exchange)(para_nccl_comm *comm, void *stream, int sends, const para_nccl_piece *send, int receives, const para_nccl_piece *receive);
    /* Ends what is under way, which nobody can rely on then, and frees it. */
    void (*end)(para_nccl_comm *comm);
} para_nccl_module;

typedef const para_nccl_module *(*para_nccl_table_function)(void);

#endif
