/* Control messages: short, in order, on a connection of their own, so that no data is before them. SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "comm/tcp/tcp_state.h"

enum { LENGTH = sizeof(int32_t) };

int para_tcp_control_send(para_mpi_state *s, int process, const void *bytes, int n) {
    tcp_peer *p = &s->peer[process];
    if (p->silent || p->gone || p->left) return PARA_MPI_DONE; /* which its own end has told, or will */
    tcp_message *m = s->host.alloc(1, sizeof *m + LENGTH + (size_t)n);
    if (!m) return PARA_MPI_NO_MEMORY;
    m->size = LENGTH + n;
    memcpy(m->bytes, &(int32_t){n}, LENGTH);
    memcpy(m->bytes + LENGTH, bytes, (size_t)n);
    tcp_message **end = &p->messages;
    while (*end) end = &(*end)->next;
    *end = m;
    para_tcp_write_messages(s, p);
    return PARA_MPI_DONE;
}

void para_tcp_write_messages(para_mpi_state *s, tcp_peer *p) {
    while (p->messages && !p->silent && p->control >= 0) {
        tcp_message *m = p->messages;
        int64_t moved = para_tcp_write_some(p->control, m->bytes + m->written, m->size - m->written);
        if (moved < 0) p->silent = true; /* what it has said before can still be read */
        if (moved <= 0) return;
        m->written += (int32_t)moved;
        if (m->written < m->size) return;
        p->messages = m->next;
        s->host.free(m);
    }
}

/* Whether a whole message is there. */
static bool read_message(tcp_peer *p) {
    for (;;) {
        int want = p->got < LENGTH ? LENGTH : LENGTH + p->message.length;
        if (p->got >= LENGTH && (p->message.length < 0 || p->message.length > PARA_MPI_MESSAGE_MAX)) p->gone = true; /* none of ours */
        if (p->gone || p->left || p->control < 0) return false;
        if (p->got == want) return true;
        int64_t moved = para_tcp_read_some(p->control, p->message.bytes + p->got, want - p->got);
        if (moved < 0) p->gone = true;
        if (moved <= 0) return false;
        p->got += (int)moved;
        if (p->got == LENGTH && p->message.length == 0) {
            p->left = true;
            return false;
        }
    }
}

void para_tcp_progress(para_mpi_state *s) {
    for (int i = 0; i < s->processes; i++) {
        para_tcp_write_messages(s, &s->peer[i]);
        para_tcp_write_frames(s, &s->peer[i]);
        para_tcp_read_frames(s, &s->peer[i]);
    }
}

int para_tcp_control_poll(para_mpi_state *s, int *process, void *bytes, int *n, bool *came) {
    *came = false;
    para_tcp_progress(s);
    for (int i = 0; i < s->processes && !*came; i++) {
        *process = (s->next + i) % s->processes;
        tcp_peer *p = &s->peer[*process];
        if (read_message(p)) {
            *n = p->message.length;
            memcpy(bytes, p->message.bytes + LENGTH, (size_t)*n);
            p->got = 0;
            *came = true;
        } else if (p->gone && !p->left && !p->told) {
            p->told = *came = true;
            *n = 0;
        }
    }
    if (*came) s->next = (*process + 1) % s->processes;
    return PARA_MPI_DONE;
}

void para_tcp_messages_close(para_mpi_state *s, tcp_peer *p) {
    while (p->messages) {
        tcp_message *m = p->messages;
        p->messages = m->next;
        s->host.free(m);
    }
}
