/* Where the processes of a world agree. SPDX-License-Identifier: Apache-2.0 */
#include "comm/meeting.h"

#include <stdio.h>
#include <string.h>

#include "comm/control.h"
#include "core/alloc.h"
#include "core/error.h"
#include "core/hash.h"

enum { FIRST_NAP = 20 * 1000, LONGEST_NAP = 500 * 1000 }; /* nanoseconds between two looks */

/* Longer each time. */
static void nap(int64_t *length) {
    struct timespec t = {.tv_nsec = *length};
    nanosleep(&t, NULL);
    if ((*length *= 2) > LONGEST_NAP) *length = LONGEST_NAP;
}

/* With the lock held: whether waiting for other processes has become useless. */
static para_status check_loss(para_group *g, int waited_for) {
    if (g->running && atomic_load(&g->failed) && para_now() > para_group_patience(g) && g->loss.status == PARA_OK)
        para_group_lose(g, waited_for, false);
    return g->loss.status == PARA_OK ? PARA_OK : para_fail(g->loss.status, "%s", g->loss.sentence);
}

/* With the lock held: reads a process's note, where it has come. */
static para_status read_note(para_group *g, int process, para_meeting what, int n, void *to, bool *came) {
    para_note *note = &g->peer[process].note[g->meeting & 1];
    *came = note->number == g->meeting;
    if (!*came) return PARA_OK;
    note->number = 0;
    if (note->what != what || note->n != n)
        return para_fail(PARA_ERR_STATE, PARA_OTHER_CALL, process, g->process);
    memcpy(to, note->bytes, (size_t)n);
    return PARA_OK;
}

static para_status read_from(para_group *g, int process, para_meeting what, int n, void *to) {
    for (int64_t length = FIRST_NAP;;) {
        bool came = false;
        para_control_poll(g);
        pthread_mutex_lock(&g->lock);
        para_status status = read_note(g, process, what, n, to, &came);
        if (!came) status = check_loss(g, process);
        pthread_mutex_unlock(&g->lock);
        if (came || status != PARA_OK) return status;
        nap(&length);
    }
}

para_status para_meet(para_group *g, para_meeting what, const void *own, int n, void *all) {
    memcpy((char *)all + (ptrdiff_t)g->process * n, own, (size_t)n);
    if (g->processes == 1) return PARA_OK;
    pthread_mutex_lock(&g->lock);
    g->meeting++;
    g->meets = true;
    para_status status = check_loss(g, 0);
    if (status == PARA_OK && para_control_send_note(g, what, own, n) != PARA_OK) { /* the others wait for what they will never get */
        g->loss = (para_failure){.status = PARA_ERR_LOST, .rank = -1};
        snprintf(g->loss.sentence, sizeof g->loss.sentence, "process %d could not speak to the others: %.900s", g->process, para_last_error());
        status = check_loss(g, 0);
    }
    if (g->watched) pthread_cond_signal(&g->watch_wake);
    pthread_mutex_unlock(&g->lock);
    for (int p = 0; p < g->processes && status == PARA_OK; p++)
        if (p != g->process) status = read_from(g, p, what, n, (char *)all + (ptrdiff_t)p * n);
    pthread_mutex_lock(&g->lock);
    g->meets = false;
    pthread_mutex_unlock(&g->lock);
    return status;
}

/* ---- bytes for all */

enum { BYTES_TAG = 1 << 16 }; /* beyond those of ranks */

static para_status wait_for(para_group *g, int process, para_mpi_request **request) {
    bool done = false;
    for (int64_t length = FIRST_NAP;;) {
        PARA_TRY(para_mpi_test(g->mpi, request, &done));
        if (done) return PARA_OK;
        para_control_poll(g);
        pthread_mutex_lock(&g->lock);
        para_status status = check_loss(g, process);
        pthread_mutex_unlock(&g->lock);
        if (status != PARA_OK) {
            para_mpi_abandon(g->mpi, request);
            return status;
        }
        nap(&length);
    }
}

static para_status move_bytes(para_group *g, void *bytes, size_t size) {
    para_tensor t = para_tensor_make(bytes, PARA_U8, 1, (int64_t[]){(int64_t)size});
    para_mpi_request *request;
    for (int p = 1; p < g->processes && g->process == 0; p++) {
        PARA_TRY(para_mpi_send(g->mpi, p, BYTES_TAG, &t, &request));
        PARA_TRY(wait_for(g, p, &request));
    }
    if (g->process == 0) return PARA_OK;
    PARA_TRY(para_mpi_receive(g->mpi, 0, BYTES_TAG, &t, &request));
    return wait_for(g, 0, &request);
}

/* With g->meets set, so that the watch looks after the others. */
static para_status broadcast(para_group *g, void *bytes, size_t size) {
    pthread_mutex_lock(&g->lock);
    g->meets = true;
    pthread_mutex_unlock(&g->lock);
    return size ? move_bytes(g, bytes, size) : PARA_OK;
}

/* All processes return the first status that is none of the others' doing. */
static para_status agree(para_group *g, para_meeting what, para_status own) {
    int32_t *all = g->room, mine = own;
    para_status status = para_meet(g, what, &mine, sizeof mine, all);
    for (int p = 0; p < g->processes && status == PARA_OK && own == PARA_OK; p++)
        if (all[p] != PARA_OK)
            status = para_fail((para_status)all[p], "process %d could not receive what process 0 sent: %s", p,
                               para_status_text((para_status)all[p]));
    return own == PARA_OK ? status : own;
}

para_status para_meet_broadcast(para_group *g, void **bytes, size_t *size) {
    if (g->processes == 1) return PARA_OK;
    uint64_t *sizes = g->room, own = g->process == 0 ? *size : 0;
    para_status status = para_meet(g, PARA_MEET_BROADCAST, &own, sizeof own, sizes);
    PARA_TRY(status);
    *size = (size_t)sizes[0];
    void *copy = NULL;
    if (g->process && !(copy = para_alloc(*size, 1))) status = PARA_ERR_MEMORY;
    PARA_TRY(agree(g, PARA_MEET_BROADCAST, status)); /* before anything is sent that somebody has no room for */
    status = broadcast(g, g->process ? copy : *bytes, *size);
    status = agree(g, PARA_MEET_BROADCAST_DONE, status);
    if (g->process == 0) return status;
    if (status == PARA_OK) *bytes = copy;
    else para_free(copy);
    return status;
}

para_status para_meet_same(para_group *g, const void *bytes, size_t n, const char *what) {
    if (g->processes == 1) return PARA_OK;
    uint64_t own[2] = {n, para_hash(PARA_HASH_START, bytes, n)}, (*all)[2] = g->room;
    para_status status = para_meet(g, PARA_MEET_SAME, own, sizeof own, all);
    for (int p = 1; p < g->processes && status == PARA_OK; p++)
        if (memcmp(all[p], all[0], sizeof own) != 0)
            status = para_fail(PARA_ERR_ARGUMENT, "process %d was started with another %s than process 0; start all with the same",
                               p, what);
    return status;
}
