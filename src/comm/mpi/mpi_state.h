/* What the module knows while MPI is open. SPDX-License-Identifier: Apache-2.0 */
#ifndef PARA_COMM_MPI_STATE_H
#define PARA_COMM_MPI_STATE_H

#include <mpi.h>

#include "comm/mpi/mpi_module.h"

#define MPI_TRY(call)                                                                                                  \
    do {                                                                                                               \
        int try_result_ = (call);                                                                                      \
        if (try_result_ != MPI_SUCCESS) return try_result_;                                                            \
    } while (0)

struct para_mpi_request {
    MPI_Request mpi;
    bool receives;
    struct para_mpi_request *next; /* in para_mpi_state.matched */
};

/* A control message on its way out; its bytes follow. */
typedef struct control_message {
    MPI_Request mpi;
    struct control_message *next;
    char bytes[];
} control_message;

struct para_mpi_state {
    para_mpi_host host;
    MPI_Comm data, control;
    bool initialised;          /* by open */
    int process, processes;
    para_mpi_request *matched; /* receives given up too late to be cancelled: MPI still writes to their tensors */
    MPI_Comm next_data;        /* with `renewal`: the communicator on its way */
    MPI_Request renewal;       /* MPI_REQUEST_NULL: none */
    MPI_Request incoming;      /* the receive that waits for control messages */
    char message[PARA_MPI_MESSAGE_MAX];
    control_message *outgoing; /* oldest first */
};

/* mpi_data.c */
int para_mpi_data_send(para_mpi_state *s, int process, int tag, const para_tensor *t, size_t element, para_mpi_request **request);
int para_mpi_data_receive(para_mpi_state *s, int process, int tag, const para_tensor *t, size_t element, para_mpi_request **request);
int para_mpi_data_test(para_mpi_state *s, para_mpi_request **request, bool *done);
void para_mpi_data_abandon(para_mpi_state *s, para_mpi_request **request);
int para_mpi_data_renew(para_mpi_state *s, bool *done);

/* mpi_messages.c */
int para_mpi_messages_open(para_mpi_state *s);
int para_mpi_messages_send(para_mpi_state *s, int process, const void *bytes, int n);
int para_mpi_messages_poll(para_mpi_state *s, int *process, void *bytes, int *n, bool *came);
/* Takes the waiting receive back. `wait`: until all messages have left; else those under way keep their memory. */
void para_mpi_messages_close(para_mpi_state *s, bool wait);

#endif
