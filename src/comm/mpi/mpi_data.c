/* Tensors between processes. SPDX-License-Identifier: Apache-2.0 */
#include "comm/mpi/mpi_datatype.h"
#include "comm/mpi/mpi_state.h"

/* A request for what `result` says has started, or not. */
static int keep(para_mpi_state *s, para_mpi_request *r, int result, para_mpi_request **request) {
    if (result == MPI_SUCCESS) {
        *request = r;
    } else {
        s->host.free(r);
    }
    return result;
}

int para_mpi_data_send(para_mpi_state *s, int process, int tag, const para_tensor *t, size_t element,
                       para_mpi_request **request) {
    para_mpi_request *r = s->host.alloc(1, sizeof *r);
    if (!r) return PARA_MPI_NO_MEMORY;
    para_mpi_shape shape;
    int result = para_mpi_shape_open(&shape, t, element);
    if (result == MPI_SUCCESS) result = MPI_Isend(t->data, shape.count, shape.type, process, tag, s->data, &r->mpi);
    para_mpi_shape_close(&shape);
    return keep(s, r, result, request);
}

int para_mpi_data_receive(para_mpi_state *s, int process, int tag, const para_tensor *t, size_t element,
                          para_mpi_request **request) {
    para_mpi_request *r = s->host.alloc(1, sizeof *r);
    if (!r) return PARA_MPI_NO_MEMORY;
    r->receives = true;
    para_mpi_shape shape;
    int result = para_mpi_shape_open(&shape, t, element);
    if (result == MPI_SUCCESS) result = MPI_Irecv(t->data, shape.count, shape.type, process, tag, s->data, &r->mpi);
    para_mpi_shape_close(&shape);
    return keep(s, r, result, request);
}

int para_mpi_data_test(para_mpi_state *s, para_mpi_request **request, bool *done) {
    int flag = 0;
    int result = MPI_Test(&(*request)->mpi, &flag, MPI_STATUS_IGNORE);
    *done = flag || result != MPI_SUCCESS;
    if (*done) {
        s->host.free(*request);
        *request = NULL;
    }
    return result;
}

void para_mpi_data_abandon(para_mpi_state *s, para_mpi_request **request) {
    para_mpi_request *r = *request;
    *request = NULL;
    int flag = 0;
    if (!r->receives) {
        MPI_Request_free(&r->mpi);
        s->host.free(r);
        return;
    }
    MPI_Cancel(&r->mpi);
    if (MPI_Test(&r->mpi, &flag, MPI_STATUS_IGNORE) != MPI_SUCCESS || flag) {
        s->host.free(r);
        return;
    }
    r->next = s->matched;
    s->matched = r;
}

int para_mpi_data_renew(para_mpi_state *s, bool *done) {
    *done = false;
    /* Their senders are here, too: what has begun comes to its end, and nothing writes to these tensors later. */
    while (s->matched) {
        int flag = 0;
        para_mpi_request *r = s->matched;
        if (MPI_Test(&r->mpi, &flag, MPI_STATUS_IGNORE) == MPI_SUCCESS && !flag) return MPI_SUCCESS;
        s->matched = r->next;
        s->host.free(r);
    }
    if (s->renewal == MPI_REQUEST_NULL) MPI_TRY(MPI_Comm_idup(s->control, &s->next_data, &s->renewal));
    int flag = 0;
    MPI_TRY(MPI_Test(&s->renewal, &flag, MPI_STATUS_IGNORE));
    if (!flag) return MPI_SUCCESS;
    /* The old communicator stays: were it freed, its number would be given anew, and what is still under way to it would match again. */
    s->data = s->next_data;
    *done = true;
    return MPI_SUCCESS;
}
