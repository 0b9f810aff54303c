/* Control messages: short, in order, beside the data. SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "comm/mpi/mpi_state.h"

static int wait_for_next(para_mpi_state *s) {
    return MPI_Irecv(s->message, sizeof s->message, MPI_BYTE, MPI_ANY_SOURCE, 0, s->control, &s->incoming);
}

/* Frees the messages that have left. */
static int clear_outgoing(para_mpi_state *s) {
    for (control_message **link = &s->outgoing; *link;) {
        control_message *m = *link;
        int flag = 0;
        MPI_TRY(MPI_Test(&m->mpi, &flag, MPI_STATUS_IGNORE));
        if (flag) {
            *link = m->next;
            s->host.free(m);
        } else {
            link = &m->next;
        }
    }
    return MPI_SUCCESS;
}

int para_mpi_messages_open(para_mpi_state *s) {
    return wait_for_next(s);
}

int para_mpi_messages_send(para_mpi_state *s, int process, const void *bytes, int n) {
    MPI_TRY(clear_outgoing(s));
    control_message *m = s->host.alloc(1, sizeof *m + (size_t)n);
    if (!m) return PARA_MPI_NO_MEMORY;
    memcpy(m->bytes, bytes, (size_t)n);
    int result = MPI_Isend(m->bytes, n, MPI_BYTE, process, 0, s->control, &m->mpi);
    if (result != MPI_SUCCESS) {
        s->host.free(m);
        return result;
    }
    control_message **link = &s->outgoing;
    while (*link) link = &(*link)->next;
    *link = m;
    return MPI_SUCCESS;
}

int para_mpi_messages_poll(para_mpi_state *s, int *process, void *bytes, int *n, bool *came) {
    *came = false;
    MPI_TRY(clear_outgoing(s));
    int flag = 0;
    MPI_Status status;
    MPI_TRY(MPI_Test(&s->incoming, &flag, &status));
    if (!flag) return MPI_SUCCESS;
    MPI_TRY(MPI_Get_count(&status, MPI_BYTE, n));
    *process = status.MPI_SOURCE;
    memcpy(bytes, s->message, (size_t)*n);
    *came = true;
    return wait_for_next(s);
}

void para_mpi_messages_close(para_mpi_state *s, bool wait) {
    if (s->incoming != MPI_REQUEST_NULL) {
        MPI_Cancel(&s->incoming);
        MPI_Wait(&s->incoming, MPI_STATUS_IGNORE); /* local: it is cancelled, or a message has just come */
    }
    do {
        if (clear_outgoing(s) != MPI_SUCCESS) break;
    } while (wait && s->outgoing);
}
