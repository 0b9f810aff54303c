/* The table: opening, closing, naming. SPDX-License-Identifier: Apache-2.0 */
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

#include "comm/tcp/tcp_state.h"
#include "core/clock.h"

/* Seconds that a process which leaves an error behind gives its last words. */
static const double farewell = 0.5;

char para_tcp_sentence[PARA_MPI_TEXT_MAX];

int para_tcp_says(int result, const char *format, ...) {
    va_list args;
    va_start(args, format);
    vsnprintf(para_tcp_sentence, sizeof para_tcp_sentence, format, args);
    va_end(args);
    return result;
}

static void close_peer(para_mpi_state *s, tcp_peer *p) {
    para_tcp_data_close(s, p);
    para_tcp_messages_close(s, p);
    if (p->control >= 0) close(p->control);
    if (p->out >= 0) close(p->out);
    if (p->in >= 0 && p->in != p->out) close(p->in);
}

static void close_all(para_mpi_state *s) {
    for (int i = 0; s->peer && i < s->processes; i++) close_peer(s, &s->peer[i]);
    s->host.free(s->peer);
    s->host.free(s);
}

/* The way to itself. */
static int join_self(tcp_peer *p) {
    int pair[2];
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair) != 0)
        return para_tcp_says(PARA_TCP_SYSTEM, "a socket could not be made; raise the limit of open files");
    p->out = pair[0];
    p->in = pair[1];
    return PARA_MPI_DONE;
}

static int open_peers(para_mpi_state *s, const para_launch *launch) {
    s->peer = s->host.alloc((size_t)s->processes, sizeof *s->peer);
    if (!s->peer) return PARA_MPI_NO_MEMORY;
    for (int i = 0; i < s->processes; i++) s->peer[i].control = s->peer[i].in = s->peer[i].out = -1;
    for (int i = 0; i < s->processes; i++) {
        s->peer[i].writes.stage = s->host.alloc(PARA_TCP_STAGE, 1);
        s->peer[i].reads.stage = s->host.alloc(PARA_TCP_STAGE, 1);
        if (!s->peer[i].writes.stage || !s->peer[i].reads.stage) return PARA_MPI_NO_MEMORY;
    }
    int result = join_self(&s->peer[s->process]);
    return result == PARA_MPI_DONE && s->processes > 1 ? para_tcp_join(s, launch) : result;
}

static int table_open(const para_mpi_host *host, para_mpi_state **out) {
    para_launch launch;
    para_mpi_state *s = host->alloc(1, sizeof *s);
    if (!s) return PARA_MPI_NO_MEMORY;
    if (para_launch_read(&launch) != PARA_OK) { /* its sentence stands */
        host->free(s);
        return PARA_MPI_REFUSED;
    }
    *s = (para_mpi_state){.host = *host, .process = launch.process, .processes = launch.processes};
    int result = open_peers(s, &launch);
    if (result == PARA_MPI_DONE) *out = s;
    else close_all(s);
    return result;
}

static bool all_said(const para_mpi_state *s) {
    for (int i = 0; i < s->processes; i++)
        if (s->peer[i].messages && !s->peer[i].silent) return false;
    return true;
}

/* Until the others have ended, too: a connection that is closed while something comes in takes back what it has sent. */
static void hear_out(para_mpi_state *s, double deadline) {
    char bytes[PARA_MPI_MESSAGE_MAX];
    for (;;) {
        int process, n, there = 0;
        bool came = true;
        while (came) para_tcp_control_poll(s, &process, bytes, &n, &came);
        for (int i = 0; i < s->processes; i++) there += i != s->process && !s->peer[i].gone && !s->peer[i].left;
        if ((!there && all_said(s)) || para_seconds() > deadline) return;
        poll(NULL, 0, 1);
    }
}

static void table_close(para_mpi_state *s, bool all_there) {
    double deadline = para_seconds() + (all_there ? s->host.timeout : farewell);
    for (int i = 0; i < s->processes && all_there; i++)
        if (i != s->process) (void)para_tcp_control_send(s, i, "", 0);
    while (!all_said(s) && para_seconds() < deadline) {
        para_tcp_progress(s);
        poll(NULL, 0, 1);
    }
    for (int i = 0; i < s->processes && !all_there; i++)
        if (s->peer[i].control >= 0) shutdown(s->peer[i].control, SHUT_WR);
    hear_out(s, deadline);
    close_all(s);
}

static int table_process(const para_mpi_state *s) {
    return s->process;
}

static int table_processes(const para_mpi_state *s) {
    return s->processes;
}

static void table_error_text(int result, char text[PARA_MPI_TEXT_MAX]) {
    const char *says = result == PARA_TCP_TRUNCATED ? "a tensor was truncated: what came has another size than what was expected"
                       : result == PARA_TCP_NO_RANK ? "no process has that rank"
                                                    : para_tcp_sentence;
    snprintf(text, PARA_MPI_TEXT_MAX, "%s", says);
}

static void table_version(char text[PARA_MPI_TEXT_MAX]) {
    snprintf(text, PARA_MPI_TEXT_MAX, "TCP");
}

const para_mpi_module para_tcp_table = {
    .abi = PARA_MPI_ABI,
    .size = sizeof(para_mpi_module),
    .open = table_open,
    .close = table_close,
    .process = table_process,
    .processes = table_processes,
    .error_text = table_error_text,
    .version = table_version,
    .send = para_tcp_send,
    .receive = para_tcp_receive,
    .test = para_tcp_test,
    .abandon = para_tcp_abandon,
    .renew = para_tcp_renew,
    .control_send = para_tcp_control_send,
    .control_poll = para_tcp_control_poll,
};
