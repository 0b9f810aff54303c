/* MPI behind plain types, from a module that is loaded when it is wanted. SPDX-License-Identifier: Apache-2.0
 *
 * All functions are safe from any thread: calls into MPI take turns. None waits for another process, but those that say so; and these return
 * PARA_ERR_LOST soon after para_mpi_give_up.
 *
 * A process that goes on after an error must not wait for MPI: after para_mpi_close(&m, false) it may return from main or call exit(), which end at
 * once (MPI is not finalised then; mpirun sees that, ends the other processes and returns an exit status that is not 0). */
#ifndef PARA_COMM_MPI_LINK_H
#define PARA_COMM_MPI_LINK_H

#include <paraattn/tensor.h>

typedef struct para_mpi para_mpi;

/* Loads the module, initialises MPI (or takes it as the program initialised it, which must be with MPI_THREAD_SERIALIZED or more). Collective, waits:
 * `timeout` seconds, then PARA_ERR_LOST. PARA_ERR_LIBRARY with what to install or how to start; PARA_ERR_MEMORY. One at a time in a process:
 * PARA_ERR_STATE; once MPI was finalised it cannot be opened again. */
para_status para_mpi_open(para_mpi **out, double timeout);
/* Finalises MPI where open initialised it and `all_there`: collective, waits, `timeout` seconds; else leaves it to the end of the process. Sets NULL,
 * takes NULL. Requests that are open are lost. */
void para_mpi_close(para_mpi **m, bool all_there);
int para_mpi_process(const para_mpi *m);
int para_mpi_processes(const para_mpi *m);
/* "Open MPI v4.1.4". */
const char *para_mpi_version(const para_mpi *m);

/* From now on no function waits any more: another process is lost. Any thread. */
void para_mpi_give_up(para_mpi *m);

/* Data: starts sending or receiving a tensor of any strides (derived datatypes: no staging). Same tag and pair of processes: in order. *request is set. */
typedef struct para_mpi_request para_mpi_request;
para_status para_mpi_send(para_mpi *m, int process, int tag, const para_tensor *t, para_mpi_request **request);
para_status para_mpi_receive(para_mpi *m, int process, int tag, const para_tensor *t, para_mpi_request **request);
/* Whether it is done; then, and on failure, *request is freed and NULL. */
para_status para_mpi_test(para_mpi *m, para_mpi_request **request, bool *done);
/* Gives up what was started: a receive is cancelled, a send left to itself. *request is freed and NULL. Where the other side has begun already,
 * MPI still reads or writes the tensor: its memory must stay until para_mpi_renew, or the end. */
void para_mpi_abandon(para_mpi *m, para_mpi_request **request);
/* After a failed run: data that is still under way will match nothing any more. Collective, waits: only when every process is known to call it. */
para_status para_mpi_renew(para_mpi *m);

/* Control: short messages beside the data, delivered in order. send returns at once; poll makes MPI progress and tells whether one came.
 * bytes: n, 1 to PARA_MPI_CONTROL_MAX; room for as many in poll. */
enum { PARA_MPI_CONTROL_MAX = 2048 };
para_status para_mpi_control_send(para_mpi *m, int process, const void *bytes, int n);
para_status para_mpi_control_poll(para_mpi *m, int *process, void *bytes, int *n, bool *came);

#endif
