/* What carries bytes between processes, behind plain types. The module paraattn-mpi.so offers it over MPI; the library loads that when it is wanted, so
 * that it needs no MPI to start. src/comm/tcp offers it over TCP. SPDX-License-Identifier: Apache-2.0
 *
 * The caller lets one thread in at a time. Only `open` and `close` wait for other processes. A result below 0 is one of para_mpi_result, 0 success,
 * and above 0 the module's own error code; `error_text` spells out those above 0 and those that say so. */
#ifndef PARA_COMM_MPI_MODULE_H
#define PARA_COMM_MPI_MODULE_H

#include <paraattn/tensor.h>

enum { PARA_MPI_ABI = 2, PARA_MPI_TEXT_MAX = 256, PARA_MPI_MESSAGE_MAX = 2048 };

/* The name of the function that returns the table. */
#define PARA_MPI_TABLE_NAME "para_mpi_module_table"

typedef enum para_mpi_result {
    PARA_MPI_DONE = 0,
    PARA_MPI_NO_MEMORY = -1,    /* host.alloc gave none */
    PARA_MPI_WAS_FINALIZED = -2, /* MPI cannot start twice in a process */
    PARA_MPI_THREAD_LEVEL = -3, /* less than MPI_THREAD_SERIALIZED */
    PARA_MPI_ABSENT = -4,       /* a process did not come in time; `error_text` says which */
    PARA_MPI_REFUSED = -5,      /* what the processes were started with does not fit together; `error_text` says what */
} para_mpi_result;

/* Where the module takes its memory from, and how long `open` may wait, where the module can limit that. */
typedef struct para_mpi_host {
    void *(*alloc)(size_t count, size_t size); /* zeroed, or NULL */
    void (*free)(void *p);
    double timeout;                            /* seconds */
} para_mpi_host;

typedef struct para_mpi_state para_mpi_state;
typedef struct para_mpi_request para_mpi_request;

typedef struct para_mpi_module {
    int abi;     /* PARA_MPI_ABI */
    size_t size; /* sizeof(para_mpi_module) */

    /* Initialises MPI unless the program did; two communicators of all processes. On failure nothing is left to close. */
    int (*open)(const para_mpi_host *host, para_mpi_state **out);
    /* `all_there`: frees the communicators, and finalises MPI where open initialised it. Else only takes back what MPI would write to. */
    void (*close)(para_mpi_state *s, bool all_there);
    int (*process)(const para_mpi_state *s);
    int (*processes)(const para_mpi_state *s);
    void (*error_text)(int result, char text[PARA_MPI_TEXT_MAX]);
    void (*version)(char text[PARA_MPI_TEXT_MAX]);

    /* A tensor with elements of `element` bytes, 1, 2, 4 or 8. */
    int (*send)(para_mpi_state *s, int process, int tag, const para_tensor *t, size_t element, para_mpi_request **request);
    int (*receive)(para_mpi_state *s, int process, int tag, const para_tensor *t, size_t element, para_mpi_request **request);
    /* What is done, or failed, is freed; *request is NULL then. */
    int (*test)(para_mpi_state *s, para_mpi_request **request, bool *done);
    void (*abandon)(para_mpi_state *s, para_mpi_request **request);
    /* One step on the way to a new communicator for data; to be called until it is done. */
    int (*renew)(para_mpi_state *s, bool *done);

    int (*control_send)(para_mpi_state *s, int process, const void *bytes, int n);
    /* bytes [PARA_MPI_MESSAGE_MAX]. *n 0: the process has ended, where the module can know. */
    int (*control_poll)(para_mpi_state *s, int *process, void *bytes, int *n, bool *came);
} para_mpi_module;

typedef const para_mpi_module *(*para_mpi_table_function)(void);

#endif
