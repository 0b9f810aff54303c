/* How the processes find each other: all come to process 0, which tells each where the others listen. SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <netdb.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "comm/tcp/tcp_state.h"
#include "core/clock.h"

enum { VERSION = 1, ADDRESS = 64 };
enum { COMES = 1, CONTROL, DATA }; /* what a connection is for */

static const uint64_t magic = 0x504152414a4f494eu; /* "PARAJOIN" */
static const double grace = 2; /* seconds that a process may take to say who it is */

typedef struct hello {
    uint64_t magic, token;
    int32_t version, kind, process, processes, port;
} hello;

/* Where a process listens. */
typedef struct place {
    char address[ADDRESS]; /* "": on the host of process 0 */
    int32_t port;
} place;

/* Process 0's answer; a place for each process follows where result is PARA_MPI_DONE. */
typedef struct answer {
    uint64_t magic, token;
    int32_t result;
    char says[PARA_MPI_TEXT_MAX];
} answer;

static bool is_loopback(const char *address) {
    return strncmp(address, "127.", 4) == 0 || strcmp(address, "::1") == 0 || strcmp(address, "localhost") == 0 || strncmp(address, "::ffff:127.", 11) == 0;
}

static void address_of(int socket, char text[ADDRESS]) {
    struct sockaddr_storage a;
    socklen_t n = sizeof a;
    *text = '\0';
    if (getpeername(socket, (struct sockaddr *)&a, &n) == 0) getnameinfo((struct sockaddr *)&a, n, text, ADDRESS, NULL, 0, NI_NUMERICHOST);
    if (is_loopback(text)) *text = '\0';
}

static void nap(void) {
    nanosleep(&(struct timespec){0, 20000000}, NULL);
}

/* ---- process 0 */

/* PARA_MPI_REFUSED where what it was started with does not fit. */
static int admit(para_mpi_state *s, const hello *h, int socket, place *places) {
    if (h->version != VERSION) return para_tcp_says(PARA_MPI_REFUSED, "the processes run different versions of this library; start the same on all hosts");
    if (h->processes != s->processes)
        return para_tcp_says(PARA_MPI_REFUSED, "process %d was started with WORLD_SIZE=%d, process 0 with WORLD_SIZE=%d; start all with the same",
                             h->process, h->processes, s->processes);
    if (h->process < 1 || h->process >= s->processes || s->peer[h->process].control >= 0)
        return para_tcp_says(PARA_MPI_REFUSED, "two processes were started with RANK=%d; each needs its own, from 0 to %d", h->process, s->processes - 1);
    s->peer[h->process].control = socket;
    address_of(socket, places[h->process].address);
    places[h->process].port = h->port;
    return PARA_MPI_DONE;
}

static bool read_hello(int socket, hello *h) {
    return para_tcp_read_all(socket, h, sizeof *h, para_seconds() + grace) && h->magic == magic;
}

static void send_answer(int socket, const answer *a, const place *places, int n) {
    if (para_tcp_write_all(socket, a, sizeof *a, para_seconds() + grace) && a->result == PARA_MPI_DONE)
        (void)para_tcp_write_all(socket, places, (size_t)n * sizeof *places, para_seconds() + grace);
}

static int missing(const para_mpi_state *s) {
    for (int i = 1; i < s->processes; i++)
        if (s->peer[i].control < 0) return i;
    return 0;
}

static int gather(para_mpi_state *s, int listener, place *places, double deadline) {
    while (missing(s)) {
        hello h;
        int socket = para_tcp_accept(listener, deadline);
        if (socket < 0 && para_seconds() < deadline) continue;
        if (socket < 0)
            return para_tcp_says(PARA_MPI_ABSENT, "process %d of %d (RANK=%d) did not come to process 0 within %g seconds", missing(s), s->processes,
                                 missing(s), s->host.timeout);
        if (!read_hello(socket, &h) || h.kind != COMES) {
            close(socket); /* a stranger */
            continue;
        }
        int result = admit(s, &h, socket, places);
        if (result == PARA_MPI_DONE) continue;
        answer no = {.magic = magic, .result = result};
        memcpy(no.says, para_tcp_sentence, sizeof no.says);
        send_answer(socket, &no, NULL, 0);
        close(socket);
        return result;
    }
    return PARA_MPI_DONE;
}

/* All get the same answer. */
static int lead(para_mpi_state *s, int listener, place *places, uint64_t *token, double deadline) {
    answer a = {.magic = magic};
    if (getrandom(token, sizeof *token, 0) != sizeof *token) *token = (uint64_t)getpid();
    a.token = *token;
    a.result = gather(s, listener, places, deadline);
    if (a.result != PARA_MPI_DONE) memcpy(a.says, para_tcp_sentence, sizeof a.says);
    for (int i = 1; i < s->processes; i++)
        if (s->peer[i].control >= 0) send_answer(s->peer[i].control, &a, places, s->processes);
    return a.result;
}

/* ---- the others */

static int follow(para_mpi_state *s, const para_launch *l, int port, place *places, uint64_t *token, double deadline) {
    hello h = {.magic = magic, .version = VERSION, .kind = COMES, .process = s->process, .processes = s->processes, .port = port};
    answer a;
    for (; para_seconds() < deadline; nap()) {
        int socket = para_tcp_connect(l->address, l->port, deadline);
        if (socket < 0) continue;
        /* Process 0 may have come later, and may wait for others so much longer. */
        if (para_tcp_write_all(socket, &h, sizeof h, deadline) && para_tcp_read_all(socket, &a, sizeof a, deadline + s->host.timeout) && a.magic == magic) {
            s->peer[0].control = socket;
            a.says[sizeof a.says - 1] = '\0';
            if (a.result != PARA_MPI_DONE) return para_tcp_says(a.result, "%s", a.says);
            *token = a.token;
            if (para_tcp_read_all(socket, places, (size_t)s->processes * sizeof *places, para_seconds() + grace)) return PARA_MPI_DONE;
            return para_tcp_says(PARA_MPI_ABSENT, "process 0 ended while the processes were joined");
        }
        close(socket); /* process 0 is not there yet, and somebody else is */
    }
    return para_tcp_says(PARA_MPI_ABSENT, "process 0 does not answer at %s:%d (MASTER_ADDR, MASTER_PORT) within %g seconds", l->address, l->port,
                         s->host.timeout);
}

/* ---- the rest of the connections */

static int reach(para_mpi_state *s, const para_launch *l, const place *at, int process, int kind, uint64_t token, double deadline) {
    hello h = {.magic = magic, .token = token, .version = VERSION, .kind = kind, .process = s->process, .processes = s->processes};
    const char *address = process == 0 || !*at->address ? l->address : at->address;
    int port = process == 0 ? l->port : at->port, socket = para_tcp_connect(address, port, deadline);
    if (socket < 0 || !para_tcp_write_all(socket, &h, sizeof h, deadline)) {
        if (socket >= 0) close(socket);
        return para_tcp_says(PARA_MPI_ABSENT, "process %d cannot reach process %d at %s:%d; let the hosts connect to each other", s->process, process,
                             address, port);
    }
    tcp_peer *p = &s->peer[process];
    if (kind == CONTROL) p->control = socket;
    else p->in = p->out = socket;
    return PARA_MPI_DONE;
}

static int reach_lower(para_mpi_state *s, const para_launch *l, const place *places, uint64_t token, double deadline) {
    for (int i = 0; i < s->process; i++) {
        int result = i > 0 ? reach(s, l, &places[i], i, CONTROL, token, deadline) : PARA_MPI_DONE;
        if (result == PARA_MPI_DONE) result = reach(s, l, &places[i], i, DATA, token, deadline);
        if (result != PARA_MPI_DONE) return result;
    }
    return PARA_MPI_DONE;
}

static int absent(const para_mpi_state *s) {
    for (int i = s->process + 1; i < s->processes; i++)
        if (s->peer[i].control < 0 || s->peer[i].out < 0) return i;
    return -1;
}

static int let_higher_in(para_mpi_state *s, int listener, uint64_t token, double deadline) {
    while (absent(s) >= 0) {
        hello h;
        int socket = para_tcp_accept(listener, deadline);
        if (socket < 0 && para_seconds() < deadline) continue;
        if (socket < 0) return para_tcp_says(PARA_MPI_ABSENT, "process %d did not reach process %d; let the hosts connect to each other", absent(s), s->process);
        bool ours = read_hello(socket, &h) && h.token == token && h.process > s->process && h.process < s->processes;
        tcp_peer *p = ours ? &s->peer[h.process] : NULL;
        if (ours && h.kind == CONTROL && p->control < 0) p->control = socket;
        else if (ours && h.kind == DATA && p->out < 0) p->in = p->out = socket;
        else close(socket);
    }
    return PARA_MPI_DONE;
}

static int meet(para_mpi_state *s, const para_launch *l, int listener, int port, place *places) {
    double deadline = para_seconds() + s->host.timeout;
    uint64_t token = 0;
    int result = s->process ? follow(s, l, port, places, &token, deadline) : lead(s, listener, places, &token, deadline);
    deadline = para_seconds() + (s->host.timeout > grace ? s->host.timeout : grace);
    if (result == PARA_MPI_DONE) result = reach_lower(s, l, places, token, deadline);
    if (result == PARA_MPI_DONE) result = let_higher_in(s, listener, token, deadline);
    return result;
}

/* Process 0 where MASTER_ADDR says, which may be a name that only others know it by; the others anywhere. On one host nobody else can reach them. */
static int open_listener(const para_mpi_state *s, const para_launch *l, int *port) {
    *port = s->process ? 0 : l->port;
    return para_tcp_listen(is_loopback(l->address) ? l->address : NULL, port, 2 * s->processes + 8);
}

int para_tcp_join(para_mpi_state *s, const para_launch *l) {
    int port, listener = open_listener(s, l, &port);
    if (listener < 0)
        return para_tcp_says(PARA_TCP_SYSTEM, "process %d cannot listen at port %d (MASTER_PORT): %s; choose another", s->process, port, strerror(errno));
    place *places = s->host.alloc((size_t)s->processes, sizeof *places);
    int result = places ? meet(s, l, listener, port, places) : PARA_MPI_NO_MEMORY;
    s->host.free(places);
    close(listener);
    return result;
}
