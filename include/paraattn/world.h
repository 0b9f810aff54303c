/* A world: the ranks that work on requests. Part of libparaattn; SPDX-License-Identifier: Apache-2.0
 *
 * A rank is one worker: a host thread with a device of its own (a share of the CPU's cores, or a GPU). A process hosts its ranks as threads; under
 * mpirun, or a launcher such as torchrun, the ranks of all processes make one world, numbered host by host, and on each host process by process.
 *
 * Under MPI every call on a world, a mesh or a pipeline is collective: every process makes the same calls in the same order.
 */
#ifndef PARAATTN_WORLD_H
#define PARAATTN_WORLD_H

#include "tensor.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef enum para_device_kind { PARA_CPU = 1, PARA_CUDA = 2 } para_device_kind;

/* Whose kernel computes attention on a GPU. */
typedef enum para_attention_kernel {
    PARA_ATTENTION_AUTO,  /* the fastest that was measured: ours */
    PARA_ATTENTION_PARA,  /* ours */
    PARA_ATTENTION_CUDNN, /* cuDNN's, for attention without a mask; ours for the rest */
} para_attention_kernel;

/* How ranks of one process exchange tokens for heads (Ulysses). Between processes, and where there is a mask or attention is causal, all is copied. */
typedef enum para_exchange_way {
    PARA_EXCHANGE_AUTO,   /* direct */
    PARA_EXCHANGE_COPY,   /* a rank copies what it needs from where another has made it */
    PARA_EXCHANGE_DIRECT, /* a rank stores what it makes where another needs it; but operands that a GPU copies beside other work of the caller's
                           * (para_attention_begin_spread) are copied */
} para_exchange_way;

typedef enum para_log_level { PARA_LOG_WARNING = 1, PARA_LOG_INFO = 2 } para_log_level;

typedef struct para_world para_world;
typedef struct para_rank para_rank;

typedef struct para_world_options {
    size_t size;             /* sizeof(para_world_options), set by PARA_WORLD_OPTIONS_INIT */
    para_device_kind device; /* what the ranks compute on (PARA_CPU) */
    int device_index;        /* which GPU, counted from 0; the first one, where ranks are several. 0 in several processes: LOCAL_RANK's, or the next on its host (0) */
    const int *device_indices; /* the GPU of each rank of this process; ranks may share one (NULL: device_index, device_index + 1, ...) */
    int num_device_indices;  /* of them: as many as ranks (0) */
    int ranks;               /* ranks that this process hosts, 1 to 256 (1) */
    int threads;             /* host threads of all its ranks together, shared evenly, at least 1 each (0: as many as the process may use) */
    bool mpi;                /* join the processes that mpirun, or a launcher, started (false) */
    double timeout;          /* seconds without a sign of life after which a rank counts as lost (120) */
    void (*log)(void *user, para_log_level level, const char *message); /* one line, no newline; any thread (NULL: nowhere) */
    void *log_user;          /* handed to log (NULL) */
    int64_t memory_limit;    /* bytes that each GPU may use, CUDA and its libraries included; on the CPU, that a request's predicted peak may reach (0: all) */
    int num_hosts;           /* its ranks count as being on so many hosts, which decides about meshes and what passes between hosts; for plans and rehearsals (0: those where they are) */
    const int *host_ranks;   /* how many ranks on each, the first ones of the world on the first [num_hosts] (NULL: as even as can be) */
    bool gather;             /* where all processes want it, are on one host and see the same GPUs, as many as all have ranks, and none of them is named, process 0 takes
                              * over the ranks of all, with its own options but the threads of all: as its threads GPUs exchange faster, and weights are loaded once. The
                              * thread that opens its world may use the processors of all of them until it closes it. The others: para_world_handed_over (false) */
} para_world_options;

#define PARA_WORLD_OPTIONS_INIT { sizeof(para_world_options), PARA_CPU, 0, NULL, 0, 1, 0, false, 120.0, NULL, NULL, 0, 0, NULL, false }

/* Opens a world. `options` may be NULL for the defaults. Close with para_world_close, after its pipelines, meshes and layouts.
 * With `mpi`, MPI is initialised unless the program did so already, which must then be with MPI_THREAD_SERIALIZED or more.
 * PARA_ERR_ARGUMENT, PARA_ERR_MEMORY, PARA_ERR_DEVICE, PARA_ERR_LIBRARY (MPI, NCCL or the CUDA module is absent or fails), PARA_ERR_LOST (a process did not come within `timeout` seconds), PARA_ERR_STATE (another world of this process uses MPI, or did so before). */
PARA_API para_status para_world_open(para_world **out, const para_world_options *options);

/* Closes the world and sets *world to NULL; takes NULL in it. No request may be running. MPI that the world initialised is finalised, unless a
 * process was lost. */
PARA_API void para_world_close(para_world **world);

/* Whether mpirun, or what else starts MPI programs, started this process: then `mpi` joins it with the others, over MPI. */
PARA_API bool para_started_by_mpi(void);
/* Whether a launcher did that sets RANK, WORLD_SIZE, MASTER_ADDR and MASTER_PORT, such as torchrun: then `mpi` joins it with the others, over TCP, without MPI.
 * mpirun's own variables come before these, and these before those of PMI. */
PARA_API bool para_started_by_launcher(void);
/* The MPI that `mpi` would use: "Open MPI v4.1.4"; NULL where there is none, and para_last_error says what to install. */
PARA_API const char *para_mpi_info(void);
/* The NCCL that GPUs of several processes would use: "NCCL 2.28.9"; NULL where there is none, and para_last_error says what to install. */
PARA_API const char *para_nccl_info(void);
/* The CUDA module, the driver, and a line for each GPU with its memory, for people; NULL where no GPU can be used, and para_last_error says why. Valid until the
 * thread's next call. */
PARA_API const char *para_cuda_info(void);

/* Ranks of all processes; index of this process and number of processes (0 and 1 without MPI). */
PARA_API int para_world_size(const para_world *world);
PARA_API int para_world_process(const para_world *world);
PARA_API int para_world_processes(const para_world *world);
/* Whether this process has handed its ranks over to process 0 (`gather`): runs and pipelines are refused with PARA_ERR_STATE. para_world_await waits until that one
 * closes its world, whatever came of its work, and para_world_close does so, too. PARA_ERR_LOST: a process ended without closing its own; why process 0 could not open
 * its world. PARA_OK at once where nothing was handed over. */
PARA_API bool para_world_handed_over(const para_world *world);
PARA_API para_status para_world_await(para_world *world);
/* Hosts of all ranks; on which of them, counted from 0, a rank is (-1: there is no such rank). Processes share a host where its name, its start and its network
 * namespace are the same. */
PARA_API int para_world_hosts(const para_world *world);
PARA_API int para_world_host_of(const para_world *world, int rank);

/* What a rank does; user is shared by the ranks of a process. */
typedef para_status (*para_rank_body)(para_rank *rank, void *user);

/* Runs `body` on every rank and waits for all; the process's first rank is the calling thread. When one rank fails, all others leave their waits,
 * and the first error is what every process returns, with "rank 3: " before its sentence. After that the world works as before. PARA_ERR_BUSY while
 * another run or request is going on; PARA_ERR_LOST when a rank gave no sign of life for `timeout` seconds, or its process is gone; PARA_ERR_STATE
 * when all ranks wait for each other, a rank returned with an exchange that it did not wait for, or the world lost a rank before; PARA_ERR_MEMORY;
 * and what `body` returns.
 *
 * A rank that does not come back within `timeout` seconds after a failure, half of them where one was silent for so long already, is lost, and the world with it: close
 * it. para_world_close does not wait for the rank, which frees what it uses when it comes back after all: `user` must stay until then. The calling thread's own rank is always waited for. */
PARA_API para_status para_world_run(para_world *world, para_rank_body body, void *user);

/* Place of a rank among all, 0 to para_world_size() - 1; number of ranks. */
PARA_API int para_rank_index(const para_rank *rank);
PARA_API int para_rank_count(const para_rank *rank);

/* A contiguous tensor in the rank's device memory, not zeroed, until the body returns. PARA_ERR_MEMORY, PARA_ERR_ARGUMENT. */
PARA_API para_status para_rank_tensor(para_rank *rank, para_tensor *out, para_dtype dtype, int dims, const int64_t *dim);

/* Says that the rank is alive, and ends it where the others want to end: PARA_ERR_CANCELLED, or the first error of another rank. To be called now
 * and then by bodies that compute for long. */
PARA_API para_status para_rank_check(para_rank *rank);

#ifdef __cplusplus
}
#endif
#endif
