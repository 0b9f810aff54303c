/* Messages between processes beside the data. SPDX-License-Identifier: Apache-2.0 */
#include "comm/control.h"

#include <string.h>

#include "core/error.h"

typedef enum message_kind { MESSAGE_BEAT = 1, MESSAGE_FAILURE, MESSAGE_NOTE } message_kind;

/* All processes run the same program on the same kind of machine. */
typedef struct message {
    int32_t kind;
    int32_t flag;     /* beat: idle; failure: rank; note: what for */
    int64_t number;   /* of the run, or of the meeting */
    int32_t status;   /* failure */
    int32_t n;        /* bytes that follow */
    char bytes[PARA_NOTE_MAX];
} message;

enum { HEAD = offsetof(message, bytes) };
_Static_assert((int)sizeof(message) <= (int)PARA_MPI_CONTROL_MAX, "a message fits");
_Static_assert((int)PARA_SENTENCE <= (int)PARA_NOTE_MAX, "a failure's sentence fits into a message");

static para_status send_to_all(para_group *g, const message *m) {
    para_status status = PARA_OK;
    for (int p = 0; p < g->processes; p++) {
        if (p == g->process) continue;
        para_status sent = para_mpi_control_send(g->mpi, p, m, HEAD + m->n);
        if (status == PARA_OK) status = sent;
    }
    return status;
}

/* A beat, or a failure, that cannot be sent shows on the other side: nothing comes from here. */
void para_control_beat(para_group *g, bool idle) {
    message m = {.kind = MESSAGE_BEAT, .flag = idle, .number = g->run};
    send_to_all(g, &m);
}

void para_control_tell_failure(para_group *g) {
    const para_failure *f = &g->failure;
    message m = {.kind = MESSAGE_FAILURE, .flag = f->rank, .number = g->run, .status = f->status};
    m.n = (int32_t)strlen(f->sentence) + 1;
    memcpy(m.bytes, f->sentence, (size_t)m.n);
    send_to_all(g, &m);
}

para_status para_control_send_note(para_group *g, para_meeting what, const void *bytes, int n) {
    message m = {.kind = MESSAGE_NOTE, .flag = what, .number = g->meeting, .n = n};
    memcpy(m.bytes, bytes, (size_t)n);
    return send_to_all(g, &m);
}

/* ---- what comes in */

static void take_failure(para_group *g, const message *m) {
    para_failure f = {.status = (para_status)m->status, .rank = m->flag};
    memcpy(f.sentence, m->bytes, (size_t)m->n < sizeof f.sentence ? (size_t)m->n : sizeof f.sentence);
    f.sentence[sizeof f.sentence - 1] = '\0';
    if (g->running && m->number == g->run) {
        para_group_take_failure(g, &f);
    } else if (m->number > g->run && g->early_run < m->number) {
        g->early = f;
        g->early_run = m->number;
    }
}

static void take_note(para_group *g, int process, const message *m) {
    para_note *note = &g->peer[process].note[m->number & 1];
    note->number = m->number;
    note->what = (para_meeting)m->flag;
    note->n = m->n;
    memcpy(note->bytes, m->bytes, (size_t)m->n);
    /* It has left the run, or never was in it: nothing that ranks here wait for will come. */
    if (g->running && !g->ending && note->what != PARA_MEET_END && m->number > g->meeting)
        para_group_fail(g, PARA_ERR_STATE, -1, PARA_OTHER_CALL, process, g->process);
}

static void take(para_group *g, int process, const message *m, int n) {
    if (n == 0 && process >= 0 && process < g->processes) para_group_lose(g, process, true);
    if (process < 0 || process >= g->processes || n < (int)HEAD || m->n < 0 || n < (int)HEAD + m->n) return;
    para_process *peer = &g->peer[process];
    peer->heard = para_now();
    if (m->kind == MESSAGE_BEAT) peer->idle = m->flag && m->number == g->run;
    if (m->kind == MESSAGE_FAILURE) take_failure(g, m);
    if (m->kind == MESSAGE_NOTE) take_note(g, process, m);
}

void para_control_poll(para_group *g) {
    union {
        message m;
        char room[PARA_MPI_CONTROL_MAX];
    } in;
    pthread_mutex_lock(&g->intake);
    for (;;) {
        int process, n;
        bool came;
        if (para_mpi_control_poll(g->mpi, &process, &in, &n, &came) != PARA_OK || !came) break;
        pthread_mutex_lock(&g->lock);
        take(g, process, &in.m, n);
        pthread_mutex_unlock(&g->lock);
    }
    pthread_mutex_unlock(&g->intake);
}
