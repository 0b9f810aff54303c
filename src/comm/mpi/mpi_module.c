/* The module's table: opening, closing, naming; the rest is in mpi_data.c and mpi_messages.c. SPDX-License-Identifier: Apache-2.0 */
#include "comm/mpi/mpi_module.h"

#include <stdio.h>
#include <string.h>

#include "comm/mpi/mpi_state.h"

/* MPI as it must be: initialised, by us or by the program, and open to more than one thread. */
static int start_mpi(bool *initialised) {
    int there = 0, level = MPI_THREAD_SINGLE;
    MPI_TRY(MPI_Finalized(&there));
    if (there) return PARA_MPI_WAS_FINALIZED;
    MPI_TRY(MPI_Initialized(&there));
    if (there) {
        MPI_TRY(MPI_Query_thread(&level));
    } else {
        MPI_TRY(MPI_Init_thread(NULL, NULL, MPI_THREAD_SERIALIZED, &level));
        *initialised = true;
        /* Calls without a communicator, such as those for datatypes, are answered by the handler of this one. */
        MPI_TRY(MPI_Comm_set_errhandler(MPI_COMM_WORLD, MPI_ERRORS_RETURN));
    }
    return level < MPI_THREAD_SERIALIZED ? PARA_MPI_THREAD_LEVEL : MPI_SUCCESS;
}

static int duplicate(MPI_Comm *out) {
    MPI_TRY(MPI_Comm_dup(MPI_COMM_WORLD, out));
    return MPI_Comm_set_errhandler(*out, MPI_ERRORS_RETURN);
}

static int open_communicators(para_mpi_state *s) {
    MPI_TRY(duplicate(&s->control));
    MPI_TRY(duplicate(&s->data));
    MPI_TRY(MPI_Comm_rank(s->data, &s->process));
    MPI_TRY(MPI_Comm_size(s->data, &s->processes));
    return para_mpi_messages_open(s);
}

static void close_communicators(para_mpi_state *s) {
    if (s->data != MPI_COMM_NULL) MPI_Comm_free(&s->data);
    if (s->control != MPI_COMM_NULL) MPI_Comm_free(&s->control);
}

static int module_open(const para_mpi_host *host, para_mpi_state **out) {
    bool initialised = false;
    int result = start_mpi(&initialised);
    para_mpi_state *s = NULL;
    if (result == MPI_SUCCESS) {
        s = host->alloc(1, sizeof *s);
        result = s ? MPI_SUCCESS : PARA_MPI_NO_MEMORY;
    }
    if (s) {
        *s = (para_mpi_state){.host = *host, .initialised = initialised};
        s->data = s->control = MPI_COMM_NULL;
        s->incoming = s->renewal = MPI_REQUEST_NULL;
        result = open_communicators(s);
        if (result != MPI_SUCCESS) {
            para_mpi_messages_close(s, false);
            close_communicators(s);
            host->free(s);
        }
    }
    if (result == MPI_SUCCESS) *out = s;
    return result;
}

static void module_close(para_mpi_state *s, bool all_there) {
    para_mpi_messages_close(s, all_there);
    if (all_there) {
        close_communicators(s);
        if (s->initialised) MPI_Finalize();
    }
    s->host.free(s);
}

static int module_process(const para_mpi_state *s) {
    return s->process;
}

static int module_processes(const para_mpi_state *s) {
    return s->processes;
}

static void module_error_text(int result, char text[PARA_MPI_TEXT_MAX]) {
    char long_text[MPI_MAX_ERROR_STRING];
    int n = 0;
    if (MPI_Error_string(result, long_text, &n) == MPI_SUCCESS) {
        snprintf(text, PARA_MPI_TEXT_MAX, "%s", long_text);
    } else {
        snprintf(text, PARA_MPI_TEXT_MAX, "error %d", result);
    }
}

/* "Open MPI v4.1.4": what the library says of itself up to the first comma. */
static void module_version(char text[PARA_MPI_TEXT_MAX]) {
    char long_text[MPI_MAX_LIBRARY_VERSION_STRING];
    int n = 0;
    if (MPI_Get_library_version(long_text, &n) != MPI_SUCCESS) n = 0;
    long_text[n < MPI_MAX_LIBRARY_VERSION_STRING ? n : MPI_MAX_LIBRARY_VERSION_STRING - 1] = '\0';
    snprintf(text, PARA_MPI_TEXT_MAX, "%.*s", (int)strcspn(long_text, ",\n"), long_text);
}

static const para_mpi_module table = {
    .abi = PARA_MPI_ABI,
    .size = sizeof(para_mpi_module),
    .open = module_open,
    .close = module_close,
    .process = module_process,
    .processes = module_processes,
    .error_text = module_error_text,
    .version = module_version,
    .send = para_mpi_data_send,
    .receive = para_mpi_data_receive,
    .test = para_mpi_data_test,
    .abandon = para_mpi_data_abandon,
    .renew = para_mpi_data_renew,
    .control_send = para_mpi_messages_send,
    .control_poll = para_mpi_messages_poll,
};

__attribute__((visibility("default"))) const para_mpi_module *para_mpi_module_table(void);

const para_mpi_module *para_mpi_module_table(void) {
    return &table;
}
